"""MCP Inspector's CLI: list with portable schemas and call, in both protocol eras, over stdio and HTTP."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

pytestmark = pytest.mark.hosts
INSPECTOR = "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
ERAS = ("legacy", "modern")
PATIENT = ("--connect-timeout", "120000")
"""Milliseconds: its usual 15 s are short for node and Python starting on a busy machine."""


def inspect(host: Any, era: str, method: str, target: Sequence[str], *options: str) -> dict[str, Any]:
    """The result of one method; the exit code tells a tool's error, an unreachable server and a schema apart."""
    given = ("--cli", *PATIENT, "--protocol-era", era, "--method", method, "--format", "json", *options)
    done = host.run(INSPECTOR, *given, *target)
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-2000:])
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


def over_stdio(served: Any) -> Sequence[str]:
    return ("--", *served.command, "--home", str(served.home))


@pytest.mark.parametrize("era", ERAS)
def test_lists_portable_schemas_over_stdio(host: Any, served: Any, era: str) -> None:
    listed = inspect(host, era, "tools/list", over_stdio(served), "--strict")
    assert len(listed["tools"]) == 10


@pytest.mark.parametrize("era", ERAS)
def test_lists_portable_schemas_over_http(host: Any, url: str, era: str) -> None:
    listed = inspect(host, era, "tools/list", ("--transport", "http", "--server-url", url), "--strict")
    assert len(listed["tools"]) == 11, "ten, and visit where there is a corpus"


@pytest.mark.parametrize("era", ERAS)
def test_calls_a_tool_and_reads_its_result(host: Any, served: Any, era: str) -> None:
    named = ("--tool-name", "memory_retrieve", "--tool-args-json", json.dumps({"question": "q"}))
    result = inspect(host, era, "tools/call", over_stdio(served), *named)
    assert "nothing relevant" in result["structuredContent"]["note"]
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


@pytest.mark.parametrize("era", ERAS)
def test_a_refused_call_is_an_error_and_not_a_result(host: Any, served: Any, era: str) -> None:
    given = ("--cli", *PATIENT, "--protocol-era", era, "--method", "tools/call", "--tool-name", "memory_show")
    done = host.run(INSPECTOR, *given, "--tool-args-json", '{"id": "mem_none"}', *over_stdio(served))
    assert done.returncode == 5, (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("era", ERAS)
def test_lists_prompts_and_resource_templates(host: Any, served: Any, era: str) -> None:
    prompts = inspect(host, era, "prompts/list", over_stdio(served))["prompts"]
    assert {prompt["name"] for prompt in prompts} == {"plan", "review"}
    templates = inspect(host, era, "resources/templates/list", over_stdio(served))["resourceTemplates"]
    assert [template["uriTemplate"] for template in templates] == ["mia://memory/{id}"]
