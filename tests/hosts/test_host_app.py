"""The MCP App views, run on node: they greet their host, show results, and show markup as text."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mcp_server.pages import page

pytestmark = pytest.mark.hosts
HERE = Path(__file__).resolve().parent
MARKUP = "<img src=x onerror=alert(1)>"
VERDICT = {
    "label": "incorrect",
    "p_correct": 0.12,
    "reasons": [MARKUP],
    "claims": [
        {"text": "it is the Lethra", "support": "refuted", "quotes": [{"source_id": "p2", "text": "the river Orm"}]}
    ],
    "judged_by": "evidence",
}
LISTED = {"id": "u1", "outcome": "correct", "question": f"Where was {MARKUP} born?"}
WHOLE = {**LISTED, "workflow": f"1. find the page {MARKUP}", "uses": 3, "wins": 2, "origins": ["own_run"]}
GREETING = ["ui/initialize", "ui/notifications/initialized", "ui/notifications/size-changed"]


def shown(host: Any, folder: Path, name: str, result: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    document = folder / name
    document.write_text(page(name))
    done = subprocess.run(
        ["node", str(HERE / "page.js"), str(document), json.dumps(result), json.dumps(answer)],
        env=host.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    read: dict[str, Any] = json.loads(done.stdout)
    return read


def result_of(value: dict[str, Any], structured: bool) -> dict[str, Any]:
    text = {"content": [{"type": "text", "text": json.dumps(value)}]}
    return {**text, "structuredContent": value} if structured else text


@pytest.mark.parametrize("structured", [True, False])
def test_shows_a_verdict_and_markup_as_text(host: Any, tmp_path: Path, structured: bool) -> None:
    told = shown(host, tmp_path, "trust.html", result_of(VERDICT, structured), {})
    assert "Contradicted by the evidence, 12% sure" in told["text"]
    assert "refuted: it is the Lethra" in told["text"]
    assert "the river Orm" in told["text"]
    assert MARKUP in told["text"]
    assert "img" not in told["kinds"]
    assert told["called"] == GREETING


@pytest.mark.parametrize("name", ["trust.html", "memory.html"])
def test_shows_why_a_call_was_refused(host: Any, tmp_path: Path, name: str) -> None:
    refused = {"isError": True, "content": [{"type": "text", "text": "answer: is required"}]}
    assert shown(host, tmp_path, name, refused, {})["text"] == "answer: is required"


def test_shows_recalled_memories_with_their_workflows_and_markup_as_text(host: Any, tmp_path: Path) -> None:
    recalled = {"memories": [WHOLE, {**WHOLE, "id": "u2", "outcome": "incorrect", "quarantined": True}], "note": "ok"}
    told = shown(host, tmp_path, "memory.html", result_of(recalled, True), {})
    assert "2 remembered" in told["text"]
    assert "quarantined" in told["text"]
    assert f"1. find the page {MARKUP}" in told["text"]
    assert "2 of 3 uses went well" in told["text"]
    assert "img" not in told["kinds"]
    assert told["wanted"] == []


def test_a_listed_memory_is_read_whole_through_the_host_when_it_is_opened(host: Any, tmp_path: Path) -> None:
    page_of_list = {"memories": [LISTED], "total": 40}
    told = shown(host, tmp_path, "memory.html", result_of(page_of_list, True), {"result": result_of(WHOLE, True)})
    assert "1 of 40 memories" in told["text"]
    assert told["wanted"] == [{"name": "memory_show", "arguments": {"id": "u1"}}]
    assert "1. find the page" in told["text"]


def test_a_host_that_lets_no_view_call_tools_is_told_as_such(host: Any, tmp_path: Path) -> None:
    page_of_list = {"memories": [LISTED], "total": 1}
    refused = {"error": {"code": -32601, "message": ""}}
    told = shown(host, tmp_path, "memory.html", result_of(page_of_list, True), refused)
    assert "does not let this view read memories" in told["text"]
