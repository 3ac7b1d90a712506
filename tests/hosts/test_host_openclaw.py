"""OpenClaw: the server is probed, the skill is eligible, and an agent's turn goes through the tools."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.hosts
OPENCLAW = "openclaw/openclaw.mjs"
QUESTION = "Which river flows through the birthplace of Arvel Tomm?"
STEPS = [{"query": "river through Quessel", "found": "The river Lethra flows through Quessel."}]
CALLS: tuple[tuple[str, dict[str, Any], str], ...] = (
    ("memory_retrieve", {"question": QUESTION}, "nothing relevant"),
    ("plan", {"question": QUESTION}, "submit_with"),
    ("search", {"queries": ["birthplace of Arvel Tomm"]}, "born in Quessel"),
    ("judge", {"question": QUESTION, "answer": "the Lethra", "steps": STEPS}, "p_correct"),
    ("memory_store", {"question": QUESTION, "answer": "the Lethra", "steps": STEPS, "outcome": "correct"}, "mem_"),
    ("memory_retrieve", {"question": QUESTION}, "workflow"),
)
"""Tool, arguments, and what the model must find in the answer."""


def configured(model: Any, served: Any, **tools: Any) -> dict[str, Any]:
    """A configuration with our server and the scripted model."""
    zero = {"input": 0, "output": 0, "cacheRead": 0, "cacheWrite": 0}
    one = {"id": "fake-1", "name": "Fake", "reasoning": False, "input": ["text"], "cost": zero}
    provider = {
        "baseUrl": model.base_url,
        "apiKey": "x",
        "api": "openai-completions",
        "models": [one | {"contextWindow": 128000, "maxTokens": 4096}],
    }
    return {
        "models": {"providers": {"fake": provider}},
        "agents": {"defaults": {"model": {"primary": "fake/fake-1"}}},
        **({"mcp": {"servers": {"mia": entry(served)}}} if served else {}),
        **({"tools": tools} if tools else {}),
    }


def entry(served: Any) -> dict[str, Any]:
    """Our server as an entry of a configuration."""
    command, *arguments = served.command
    return {"command": command, "args": arguments, "env": served.environment}


def turn(host: Any, tmp_path: Path, config: dict[str, Any]) -> dict[str, Any]:
    """One headless agent turn; its envelope."""
    file = tmp_path / "openclaw.json"
    file.write_text(json.dumps(config))
    work = tmp_path / "work"
    work.mkdir()
    done = host.run(OPENCLAW, "agent", "exec", QUESTION, "--config", str(file), "--cwd", str(work), "--json")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    envelope: dict[str, Any] = json.loads(done.stdout)
    assert envelope["ok"], envelope
    return envelope


def unwrapped(text: str) -> str:
    """A result without JSON escapes, however deep it was wrapped."""
    return text.replace("\\n", "\n").replace('\\"', '"')


def assert_readable_and_not_doubled(results: list[str]) -> None:
    assert len(results) == len(CALLS), results
    for (tool, _, expected), given in zip(CALLS, results, strict=True):
        text = unwrapped(given)
        assert expected in text, (tool, text)
        assert "Error executing" not in text, (tool, text)
        assert "structuredContent" not in text, (tool, text)
        keys = re.findall(r'^\s*"(memories|status|results|label|ids|note|brief)":', text, re.M)
        assert keys, (tool, text)
        assert len(keys) == len(set(keys)), f"{tool} reached the model twice: {text}"


def test_the_server_is_probed_and_its_tools_are_listed(host: Any, served: Any, model: Any) -> None:
    Path(host.environment["OPENCLAW_CONFIG_PATH"]).write_text(json.dumps(configured(model, served)))
    done = host.run(OPENCLAW, "mcp", "probe", "mia", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["servers"]["mia"]["tools"] == 11
    assert "approvalHint" not in found["servers"]["mia"]
    assert found["diagnostics"] == []


def test_the_skill_is_eligible_and_shown_to_the_model(host: Any, skill: Path) -> None:
    installed = host.run(OPENCLAW, "skills", "install", str(skill), "--global")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    told = json.loads(host.run(OPENCLAW, "skills", "info", "mia", "--json").stdout)
    assert (told["eligible"], told["modelVisible"]) == (True, True), told


def test_a_turn_calls_every_tool_directly(host: Any, served: Any, model: Any, tmp_path: Path) -> None:
    model.script = [lambda _seen, tool=tool, given=given: (f"mia__{tool}", given) for tool, given, _ in CALLS]
    told = turn(host, tmp_path, configured(model, served, toolSearch=False))
    assert {f"mia__{tool}" for tool, _, _ in CALLS} <= offered(model)
    assert_readable_and_not_doubled(model.results)
    assert told["toolSummary"]["failures"] == 0


def test_a_turn_calls_every_tool_through_tool_search(host: Any, served: Any, model: Any, tmp_path: Path) -> None:
    model.script = [lambda _seen: ("tool_search", {"query": "memory retrieve recall similar tasks"})]
    model.script += [
        lambda _seen, tool=tool, given=given: ("tool_call", {"id": f"mia__{tool}", "args": given})
        for tool, given, _ in CALLS
    ]
    turn(host, tmp_path, configured(model, served))
    assert not any(name.startswith("mia__") for name in offered(model))
    assert "mia__memory_retrieve" in model.results[0]
    assert_readable_and_not_doubled(model.results[1:])


def test_a_turn_survives_a_tool_that_refuses(host: Any, served: Any, model: Any, tmp_path: Path) -> None:
    model.script = [lambda _seen: ("mia__memory_show", {"id": "mem_none"}), lambda _seen: ("mia__memory_list", {})]
    turn(host, tmp_path, configured(model, served, toolSearch=False))
    refused, listed = model.results
    assert "mem_none" in refused
    assert "Traceback" not in refused
    assert '"total"' in unwrapped(listed)


@pytest.mark.parametrize(("bundle", "file"), [("claude-plugin", ".mcp.json"), ("agent-plugin", "mcp.json")])
def test_a_turn_calls_every_tool_of_a_bundle(
    host: Any, served: Any, model: Any, tmp_path: Path, bundle: str, file: str
) -> None:
    folder = bundled(tmp_path, bundle, file, served)
    installed = host.run(OPENCLAW, "plugins", "install", str(folder), "--force", "--accept-capabilities")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    model.script = [lambda _seen, tool=tool, given=given: (f"mia__{tool}", given) for tool, given, _ in CALLS]
    turn(host, tmp_path, configured(model, None, toolSearch=False))
    assert_readable_and_not_doubled(model.results)


def bundled(tmp_path: Path, bundle: str, file: str, served: Any) -> Path:
    """A bundle as `mia bundle` writes it, whose server is that of this checkout."""
    root = Path(__file__).resolve().parents[2]
    subprocess.run(
        [sys.executable, "-m", "mia_skill.cli", "bundle", "--out", str(tmp_path / "dist")],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=True,
        capture_output=True,
    )
    folder = tmp_path / "dist" / bundle
    start = folder / "start"
    start.write_text(f"#!/bin/sh\nexec {shlex.join(served.command)}\n")
    start.chmod(0o755)
    described = json.loads((folder / file).read_text())
    own = described["mcpServers"]["mia"]
    own |= {"command": "./start" if bundle == "agent-plugin" else str(start), "args": [], "env": served.environment}
    (folder / file).write_text(json.dumps(described))
    return folder


def offered(model: Any) -> set[str]:
    """Names of the tools that the model was shown first."""
    return {tool["function"]["name"] for tool in model.requests[0]["tools"]}
