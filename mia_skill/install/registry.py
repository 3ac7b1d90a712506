"""`server.json` for the MCP registry (schema of 2025-12-11)."""

import tomllib
from pathlib import Path
from typing import Any

from mia_skill.install.manifest import Manifest

__all__ = ["SCHEMA", "server_json"]

SCHEMA = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
LONGEST = 100
"""Characters of a description in the registry."""
FORMATS = {"number": "number", "boolean": "boolean", "path": "filepath"}


def server_json(manifest: Manifest, pyproject: Path) -> dict[str, Any]:
    """The registry's entry; the package runs as `uvx mia-skill`."""
    name = tomllib.loads(pyproject.read_text(encoding="utf-8"))["tool"]["mia"]["registry_name"]
    return {
        "$schema": SCHEMA,
        "name": name,
        "title": manifest.display_name,
        "description": manifest.description.split(". ")[0][:LONGEST].rstrip("."),
        "version": manifest.version,
        "packages": [
            {
                "registryType": "pypi",
                "identifier": manifest.name,
                "version": manifest.version,
                "runtimeHint": "uvx",
                "transport": {"type": "stdio"},
                "environmentVariables": [
                    {
                        "name": one.name,
                        "description": one.description,
                        "isRequired": one.required,
                        "isSecret": one.secret,
                        "format": FORMATS.get(one.kind, "string"),
                    }
                    | ({"default": one.default} if one.default else {})
                    for one in manifest.common()
                ],
            }
        ],
    }
