"""The hosts we can write ourselves into: where each keeps its configuration and what an entry looks like there.

Sources: the hosts' own documentation as of late 2026. Claude Desktop and VS Code differ by operating system.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mia_skill.core.types import Value
from mia_skill.install.json5 import Json

__all__ = ["HOSTS", "Host", "Launch", "Place"]


class Launch(Value):
    """How a host is to start the server."""

    command: str
    """Absolute: hosts reorder PATH, so a bare `python3` can be another one."""
    args: tuple[str, ...]
    env: dict[str, str]
    """All that the server gets to see, next to HOME and PATH."""


@dataclass(frozen=True)
class Place:
    """A user's machine, as far as paths depend on it."""

    home: Path
    platform: str
    """`sys.platform`."""
    environment: Mapping[str, str]

    def folder(self, variable: str, default: Path) -> Path:
        """The folder named by `variable`, if it is set."""
        return Path(self.environment[variable]).expanduser() if self.environment.get(variable) else default

    @property
    def application_data(self) -> Path:
        """Where desktop programs keep their settings."""
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        if self.platform == "win32":
            return self.folder("APPDATA", self.home / "AppData" / "Roaming")
        return self.folder("XDG_CONFIG_HOME", self.home / ".config")


@dataclass(frozen=True)
class Host:
    """One host."""

    name: str
    title: str
    config: Callable[[Place], Path]
    servers: tuple[str, ...]
    """Keys above the server's entry."""
    fixed: Mapping[str, Json]
    """What an entry says in this host beside command, args and env."""
    env: Mapping[str, str]
    """Variables that suit this host; what the user wrote in their place counts more."""
    skills: Callable[[Place], Path] | None
    """Folder for skills that all sessions see, where the host knows skills."""
    after: str
    """What the user does next."""

    def entry(self, launch: Launch, existing: Json) -> dict[str, Json]:
        """The entry to write. Keys and variables that the user added to an older one stay."""
        kept = dict(existing) if isinstance(existing, dict) else {}
        env = kept.get("env")
        merged: dict[str, Json] = {**self.env, **(env if isinstance(env, dict) else {}), **launch.env}
        for remote in ("url", "transport", "headers"):
            kept.pop(remote, None)
        return kept | dict(self.fixed) | {"command": launch.command, "args": list(launch.args), "env": merged}


def openclaw_state(place: Place) -> Path:
    return place.folder("OPENCLAW_STATE_DIR", place.home / ".openclaw")


HOSTS: Mapping[str, Host] = {
    host.name: host
    for host in (
        Host(
            name="openclaw",
            title="OpenClaw",
            config=lambda place: place.folder("OPENCLAW_CONFIG_PATH", openclaw_state(place) / "openclaw.json"),
            servers=("mcp", "servers"),
            fixed={},
            # Each costs the model two tools there, and OpenClaw shows neither.
            env={"MIA_SERVER__PROMPTS": "false", "MIA_SERVER__RESOURCES": "false"},
            skills=lambda place: openclaw_state(place) / "skills",
            after="Check with: openclaw mcp probe mia; openclaw skills info mia. Then start a new session.",
        ),
        Host(
            name="claude-code",
            title="Claude Code",
            config=lambda place: place.folder("CLAUDE_CONFIG_DIR", place.home) / ".claude.json",
            servers=("mcpServers",),
            fixed={"type": "stdio"},
            env={},
            skills=lambda place: place.folder("CLAUDE_CONFIG_DIR", place.home / ".claude") / "skills",
            after="Check with: claude mcp list. Sessions that are open see it after a restart.",
        ),
        Host(
            name="claude-desktop",
            title="Claude Desktop",
            config=lambda place: place.application_data / "Claude" / "claude_desktop_config.json",
            servers=("mcpServers",),
            fixed={},
            env={},
            skills=None,
            after="Quit Claude Desktop wholly and start it again.",
        ),
        Host(
            name="cursor",
            title="Cursor",
            config=lambda place: place.home / ".cursor" / "mcp.json",
            servers=("mcpServers",),
            fixed={},
            env={},
            skills=None,
            after="Open Settings > MCP in Cursor and switch mia on.",
        ),
        Host(
            name="vscode",
            title="VS Code",
            config=lambda place: place.application_data / "Code" / "User" / "mcp.json",
            servers=("servers",),
            fixed={"type": "stdio"},
            env={},
            skills=None,
            after='Run "MCP: List Servers" in VS Code and start mia.',
        ),
    )
}
