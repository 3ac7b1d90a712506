"""The trust report as an MCP App view, run on node: it greets its host, shows a verdict, and shows markup as text."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.hosts
HERE = Path(__file__).resolve().parent
PAGE = HERE.parents[1] / "mcp_server" / "pages" / "trust.html"
VERDICT = {
    "label": "incorrect",
    "p_correct": 0.12,
    "reasons": ["<img src=x onerror=alert(1)>"],
    "claims": [
        {"text": "it is the Lethra", "support": "refuted", "quotes": [{"source_id": "p2", "text": "the river Orm"}]}
    ],
    "judged_by": "evidence",
}


def shown(host: Any, result: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        ["node", str(HERE / "page.js"), str(PAGE), json.dumps(result)],
        env=host.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    read: dict[str, Any] = json.loads(done.stdout)
    return read


@pytest.mark.parametrize("structured", [True, False])
def test_shows_a_verdict_and_markup_as_text(host: Any, structured: bool) -> None:
    text = {"content": [{"type": "text", "text": json.dumps(VERDICT)}]}
    told = shown(host, {**text, "structuredContent": VERDICT} if structured else text)
    assert "Contradicted by the evidence, 12% sure" in told["text"]
    assert "refuted: it is the Lethra" in told["text"]
    assert "the river Orm" in told["text"]
    assert "<img src=x onerror=alert(1)>" in told["text"]
    assert "img" not in told["kinds"]
    assert told["called"] == ["ui/initialize", "ui/notifications/initialized", "ui/notifications/size-changed"]


def test_shows_why_a_call_was_refused(host: Any) -> None:
    told = shown(host, {"isError": True, "content": [{"type": "text", "text": "answer: is required"}]})
    assert told["text"] == "answer: is required"
