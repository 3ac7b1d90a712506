"""mcporter: list and call, over stdio and over HTTP."""

import json
import shlex
from collections.abc import Sequence
from typing import Any

import pytest

pytestmark = pytest.mark.hosts
MCPORTER = "mcporter/dist/cli.js"


def over_stdio(served: Any) -> Sequence[str]:
    return ("--stdio", shlex.join([*served.command, "--home", str(served.home)]), "--name", "mia")


def over_http(url: str) -> Sequence[str]:
    return ("--http-url", url, "--allow-http", "--name", "mia")


def told(host: Any, *arguments: str) -> dict[str, Any]:
    """What a command printed."""
    done = host.run(MCPORTER, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def test_lists_the_tools_over_stdio(host: Any, served: Any) -> None:
    listed = told(host, "list", *over_stdio(served), "--json", "--exit-code")
    assert (listed["status"], len(listed["tools"])) == ("ok", 10)


def test_calls_a_tool_over_stdio(host: Any, served: Any) -> None:
    result = told(host, "call", *over_stdio(served), "memory_retrieve", "question=q", "--output", "json")
    assert "nothing relevant" in result["note"]


def test_lists_and_calls_over_http(host: Any, url: str) -> None:
    names = {tool["name"] for tool in told(host, "list", *over_http(url), "--json", "--exit-code")["tools"]}
    assert len(names) == 11
    assert "visit" in names, "with a corpus, as this server has, its passages can be read on"
    assert told(host, "call", *over_http(url), "memory_list", "--output", "json") == {"memories": [], "total": 0}
