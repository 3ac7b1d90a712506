"""Claude Code: a server that is added is connected, over stdio and over HTTP. No login, nothing leaves the machine."""

from typing import Any

import pytest

pytestmark = pytest.mark.hosts
CLAUDE = "@anthropic-ai/claude-code/cli-wrapper.cjs"


def connected(host: Any) -> str:
    """What `claude mcp list` says."""
    done = host.run(CLAUDE, "mcp", "list")
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def test_a_server_added_over_stdio_is_connected(host: Any, served: Any) -> None:
    environment = [part for name, value in served.environment.items() for part in ("-e", f"{name}={value}")]
    added = host.run(CLAUDE, "mcp", "add", "-s", "user", "mia", *environment, "--", *served.command)
    assert added.returncode == 0, added.stderr
    assert "✔ Connected" in connected(host)


def test_a_server_added_over_http_is_connected(host: Any, url: str) -> None:
    added = host.run(CLAUDE, "mcp", "add", "-s", "user", "--transport", "http", "mia", url)
    assert added.returncode == 0, added.stderr
    assert "✔ Connected" in connected(host)


def test_a_server_that_does_not_start_is_told_apart(host: Any) -> None:
    host.run(CLAUDE, "mcp", "add", "-s", "user", "mia", "--", "/no/such/mia-mcp")
    said = connected(host)
    assert "✔ Connected" not in said
    assert "Failed to connect" in said
