"""`skill.json`: what this skill is, written from pyproject and the live tool listing, read by `mia install`.

No host reads such a file. It is our own contract: one place that names tools, entry points and variables, from
which every host's configuration and every bundle is made, and which a test holds against the running server.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from mia_skill.core.errors import InputError
from mia_skill.core.types import Value
from mia_skill.install.assets import asset
from mia_skill.install.settings import Variable, variables

__all__ = ["COMMON", "EntryPoint", "Manifest", "ToolEntry", "build_manifest", "read_manifest", "rendered"]

COMMON = (
    "MIA_HOME",
    "MIA_MODELS__DEFAULT__BASE_URL",
    "MIA_MODELS__DEFAULT__MODEL",
    "MIA_MODELS__DEFAULT__API_KEY",
    "MIA_SEARCH__CORPUS",
    "MIA_SEARCH__WEB",
    "MIA_SEARCH__WEB_KEY",
    "MIA_MEMORY__NAMESPACE",
    "MIA_CONFIG",
)
"""The variables that a form in a host should ask for; the others are for files."""


class ToolEntry(Value):
    """A tool as the server lists it."""

    name: str
    title: str
    description: str
    parameters: dict[str, Any]
    """JSON Schema of the arguments."""
    output: dict[str, Any]
    annotations: dict[str, bool]


class EntryPoint(Value):
    """How something of ours is started."""

    command: str
    """The console script; an installer writes the interpreter and `module` instead."""
    args: tuple[str, ...] = ()
    module: str | None = None
    transport: str | None = None


class Manifest(Value):
    """The whole file."""

    name: str
    display_name: str
    version: str
    description: str
    author: str
    license: str
    keywords: tuple[str, ...]
    entry: str
    skills: tuple[str, ...]
    requires: dict[str, str | tuple[str, ...]]
    entrypoints: dict[str, EntryPoint]
    env: tuple[Variable, ...]
    tools: tuple[ToolEntry, ...]

    def common(self) -> tuple[Variable, ...]:
        """The variables worth asking for."""
        by_name = {one.name: one for one in self.env}
        return tuple(by_name[name] for name in COMMON)


def build_manifest(pyproject: Path, version: str, listing: Sequence[Mapping[str, Any]]) -> Manifest:
    """The manifest of a checkout. `listing` is the server's own `tools/list`, as sent.

    Raises:
        InputError: pyproject cannot be read.
    """
    try:
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    except (OSError, tomllib.TOMLDecodeError, KeyError) as cause:
        raise InputError(f"{pyproject} has no [project] to read: {cause}") from None
    skills = sorted(path.parent.name for path in (pyproject.parent / "skills").glob("*/SKILL.md"))
    return Manifest(
        name=project["name"],
        display_name="MIA",
        version=version,
        description=project["description"],
        author=project["authors"][0]["name"],
        license=project["license"],
        keywords=tuple(project["keywords"]),
        entry="skills/mia/SKILL.md",
        skills=tuple(f"skills/{name}/SKILL.md" for name in skills),
        requires={"python": project["requires-python"], "bins": ("mia-mcp",)},
        entrypoints={
            "mcp": EntryPoint(command="mia-mcp", module="mcp_server", transport="stdio"),
            "http": EntryPoint(command="mia-mcp", args=("--http",), module="mcp_server", transport="streamable-http"),
            "cli": EntryPoint(command="mia", module="mia_skill.cli"),
        },
        env=variables(),
        tools=tuple(tool_entry(one) for one in listing),
    )


def tool_entry(listed: Mapping[str, Any]) -> ToolEntry:
    """A tool of the listing."""
    return ToolEntry(
        name=listed["name"],
        title=listed["title"],
        description=listed["description"],
        parameters=listed["inputSchema"],
        output=listed["outputSchema"],
        annotations=listed["annotations"],
    )


def rendered(value: Value | Mapping[str, Any]) -> str:
    """A JSON file as we write it: without empty fields, indented, ending with a newline."""
    plain = value.model_dump(mode="json", exclude_none=True) if isinstance(value, Value) else value
    return orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode()


def read_manifest(path: Path | None = None) -> Manifest:
    """The manifest that is shipped with this installation.

    Raises:
        InputError: it is missing or not of this version.
    """
    path = path or asset("skill.json")
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as cause:
        raise InputError(
            f"{path.name} cannot be used ({type(cause).__name__}): write it again with mia manifest"
        ) from None
