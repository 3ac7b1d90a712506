"""Bundles of server and skills: a Claude plugin (Claude Code and OpenClaw read it), an Agent Plugin, an `.mcpb`.

Forms: Claude Code plugin reference; agent-plugins.org 1.0.0; MCPB manifest 0.4 with the uv server type.
"""

import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mia_skill.core.errors import InputError
from mia_skill.install.assets import asset, checkout
from mia_skill.install.config_file import SERVER
from mia_skill.install.manifest import Manifest, rendered
from mia_skill.install.settings import Variable

__all__ = ["build_bundles", "mcpb_manifest"]

AGENT_PLUGINS = "https://agent-plugins.org/schemas/1.0.0"
PACKAGES = ("mia_skill", "mcp_server", "trust", "retrieval", "training")
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Same content, same bytes."""
MCPB_TYPES = {"number": "number", "boolean": "boolean", "path": "directory"}


def build_bundles(manifest: Manifest, out: Path, *, command: str | None) -> tuple[Path, ...]:
    """Write all bundles below `out`, which keeps whatever else it holds.

    `command` starts the server in place of `mia-mcp`, as an interpreter. The `.mcpb` carries the sources, so it is
    left out where there are none.

    Raises:
        InputError: the skills are not part of this installation.
        OSError: `out` cannot be written.
    """
    entry = start(manifest, command)
    made = [claude_plugin(manifest, fresh(out / "claude-plugin"), entry)]
    made.append(agent_plugin(manifest, fresh(out / "agent-plugin"), entry))
    try:
        root = checkout()
    except InputError:
        return tuple(made)
    return (*made, mcpb(manifest, out / f"{manifest.name}-{manifest.version}.mcpb", root))


def start(manifest: Manifest, command: str | None) -> dict[str, Any]:
    """How a bundle starts the server."""
    point = manifest.entrypoints["mcp"]
    if command is None:
        return {"command": point.command, "args": list(point.args)}
    return {"command": command, "args": ["-P", "-m", point.module, *point.args]}


def fresh(folder: Path) -> Path:
    """An empty folder in place of an older bundle."""
    if folder.exists():
        shutil.rmtree(folder)
    shutil.copytree(asset("skills"), folder / "skills", ignore=shutil.ignore_patterns(".*", "__pycache__"))
    return folder


def claude_plugin(manifest: Manifest, folder: Path, entry: dict[str, Any]) -> Path:
    """The form that Claude Code and OpenClaw both install."""
    about = identity(manifest) | {
        "description": manifest.description,
        "author": {"name": manifest.author},
        "license": manifest.license,
        "keywords": list(manifest.keywords),
    }
    (folder / ".claude-plugin").mkdir()
    (folder / ".claude-plugin" / "plugin.json").write_text(rendered(about), encoding="utf-8")
    (folder / ".mcp.json").write_text(rendered({"mcpServers": {SERVER: entry}}), encoding="utf-8")
    return folder


def agent_plugin(manifest: Manifest, folder: Path, entry: dict[str, Any]) -> Path:
    """The Agent Plugins form, whose keys are exact; memory lies in the plugin's own data folder."""
    plugin = {"$schema": f"{AGENT_PLUGINS}/plugin.schema.json"} | identity(manifest)
    server = {"type": "stdio", **entry, "env": {"MIA_HOME": "${PLUGIN_DATA}"}}
    servers = {"$schema": f"{AGENT_PLUGINS}/mcp.schema.json", "mcpServers": {SERVER: server}}
    (folder / "plugin.json").write_text(rendered(plugin), encoding="utf-8")
    (folder / "mcp.json").write_text(rendered(servers), encoding="utf-8")
    return folder


def identity(manifest: Manifest) -> dict[str, Any]:
    """What every plugin form says."""
    return {"name": SERVER, "version": manifest.version}


def mcpb_manifest(manifest: Manifest) -> dict[str, Any]:
    """The manifest of the `.mcpb`: uv brings Python and the wheels, the user is asked for the common settings."""
    asked = {one.name.lower(): question(one) for one in manifest.common() if one.name != "MIA_CONFIG"}
    return {
        "manifest_version": "0.4",
        "name": manifest.name,
        "display_name": manifest.display_name,
        "version": manifest.version,
        "description": manifest.description,
        "author": {"name": manifest.author},
        "license": manifest.license,
        "keywords": list(manifest.keywords),
        "server": {
            "type": "uv",
            "entry_point": "mcp_server/__main__.py",
            "mcp_config": {
                "command": "uv",
                "args": ["run", "--directory", "${__dirname}", "--no-dev", manifest.entrypoints["mcp"].command],
                "env": {name.upper(): f"${{user_config.{name}}}" for name in asked},
            },
        },
        "tools": [{"name": tool.name, "description": tool.description} for tool in manifest.tools],
        "compatibility": {
            "platforms": ["darwin", "linux", "win32"],
            "runtimes": {"python": str(manifest.requires["python"])},
        },
        "user_config": asked,
    }


def question(one: Variable) -> dict[str, Any]:
    """A variable as a field of the installation form. Empty ones arrive as empty text, which means "not set"."""
    title = one.name.removeprefix("MIA_").replace("__", " ").replace("_", " ").capitalize()
    kind = MCPB_TYPES.get(one.kind, "string")
    default = one.default or ""
    return {
        "type": kind,
        "title": title,
        "description": one.description,
        "required": one.required,
        "sensitive": one.secret,
        "default": default.replace("~", "${HOME}") if kind == "directory" else default,
    }


def mcpb(manifest: Manifest, path: Path, root: Path) -> Path:
    """Pack manifest and sources."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as packed:
        add(packed, "manifest.json", rendered(mcpb_manifest(manifest)).encode())
        for file in sources(root):
            add(packed, file.relative_to(root).as_posix(), file.read_bytes())
    return path


def add(packed: zipfile.ZipFile, name: str, content: bytes) -> None:
    """One file, always with the same date and permissions."""
    info = zipfile.ZipInfo(name, date_time=EPOCH)
    info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
    packed.writestr(info, content)


def sources(root: Path) -> Iterator[Path]:
    """What `uv run` needs to build and start the package."""
    yield from (root / name for name in ("pyproject.toml", "README.md", "LICENSE", "skill.json"))
    for package in (*PACKAGES, "skills"):
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                yield path
