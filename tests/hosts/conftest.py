"""What the tests in real hosts share: the installed hosts, a server to start, a scripted model, a line per scenario."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOSTS = ROOT / ".hosts"
PATIENCE_S = 300
"""For one command of a host: a turn of OpenClaw takes 20 to 60 s on two busy cores."""
CORPUS = (
    {"id": "p1", "title": "Arvel Tomm", "text": "Arvel Tomm was born in Quessel in 1902."},
    {"id": "p2", "title": "Quessel", "text": "Quessel is a town. The river Lethra flows through Quessel."},
    {"id": "p3", "title": "Lethra", "text": "The Lethra is a river of 212 kilometres."},
)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """One line per host and scenario."""
    if "tests/hosts/" not in report.nodeid or not (report.when == "call" or report.failed or report.skipped):
        return
    file, _, name = report.nodeid.rpartition("/")[2].partition("::")
    host = file.removeprefix("test_host_").removesuffix(".py").replace("_", " ")
    scenario = name.removeprefix("test_").replace("_", " ")
    word = {"passed": "PASS", "failed": "FAIL", "skipped": "SKIP"}[report.outcome]
    sys.stderr.write(f"{word}  {host:<12} {scenario}  ({report.duration:.1f} s)\n")
    sys.stderr.flush()


def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """No dots among those lines."""
    shown = "tests/hosts/" in report.nodeid and report.when == "call" and report.passed
    return ("passed", "", "PASSED") if shown else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The overall result."""
    ours = {
        outcome: sum("tests/hosts/" in report.nodeid for report in terminalreporter.stats.get(outcome, []))
        for outcome in ("passed", "failed", "error", "skipped")
    }
    if any(ours.values()):
        bad = ours["failed"] + ours["error"] + ours["skipped"]
        verdict = "FAIL" if bad else "PASS"
        terminalreporter.write_line(f"{verdict}  all hosts: {ours['passed']} scenarios passed, {bad} did not")


@dataclass(frozen=True)
class Host:
    """Runs the installed hosts on the node installed with them, in a home of their own."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the user's, and no traffic that is not asked for."""
        node = next((HOSTS / "node_modules").glob("node-*-*/bin/node"))
        return {
            "HOME": str(self.home),
            "PATH": os.pathsep.join([str(node.parent), os.environ["PATH"]]),
            "CI": "1",
            "DO_NOT_TRACK": "1",
            "DISABLE_TELEMETRY": "1",
            "NO_COLOR": "1",
            "CLAUDE_CONFIG_DIR": str(self.home / "claude"),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "OPENCLAW_STATE_DIR": str(self.home / "openclaw"),
            "OPENCLAW_CONFIG_PATH": str(self.home / "openclaw.json"),
            "OPENCLAW_NO_AUTO_UPDATE": "1",
        }

    def run(self, script: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """`script`, a path under node_modules, with `arguments`; its outcome, whatever it is."""
        return subprocess.run(
            ["node", str(HOSTS / "node_modules" / script), *arguments],
            env=self.environment,
            cwd=cwd or self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """The hosts, with an empty home."""
    if not (HOSTS / "installed").is_file():
        pytest.fail("the hosts are not installed: run `make test-hosts`")
    home = tmp_path / "home"
    home.mkdir()
    return Host(home)


@dataclass(frozen=True)
class Served:
    """How a host starts our server, and where it keeps its memory."""

    command: Sequence[str]
    environment: dict[str, str]
    home: Path


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """The server of this checkout over a small corpus. Hosts drop PYTHONPATH, so a launcher says where it is."""
    launcher = tmp_path / "server.py"
    launcher.write_text(
        f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom mcp_server.__main__ import main\nmain()\n"
    )
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(passage) + "\n" for passage in CORPUS))
    home = tmp_path / "memory"
    environment = {"MIA_HOME": str(home), "MIA_SEARCH__CORPUS": json.dumps([str(corpus)]), "MIA_SEARCH__DENSE": "false"}
    return Served((sys.executable, str(launcher)), environment, home)


@pytest.fixture
def url(served: Served) -> Iterator[str]:
    """The server over HTTP on loopback."""
    process = subprocess.Popen(
        [*served.command, "--http", "--port", "0"],
        env={**os.environ, **served.environment},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "http://" in line, line
        yield line.split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=30)


Results = list[str]
"""What the tools of a turn have answered so far."""
Move = Callable[[Results], tuple[str, dict[str, Any]]]
"""The next tool call: its name and arguments."""


@dataclass
class ScriptedModel:
    """An OpenAI-compatible endpoint on loopback whose model makes the scripted moves, then says that it is done."""

    script: list[Move] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    base_url: str = ""

    @property
    def results(self) -> Results:
        """The tool results that the model was shown in its last turn."""
        return tool_texts(self.requests[-1]) if self.requests else []

    def reply(self, request: dict[str, Any]) -> dict[str, Any]:
        """The message to answer a request with."""
        self.requests.append(request)
        results = tool_texts(request)
        if not request.get("tools") or len(results) >= len(self.script):
            return {"role": "assistant", "content": "The river is the Lethra."}
        name, arguments = self.script[len(results)](results)
        function = {"name": name, "arguments": json.dumps(arguments)}
        call = {"index": 0, "id": f"call_{len(results)}", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}


def tool_texts(request: dict[str, Any]) -> Results:
    """The tool messages of a request as texts."""
    found = []
    for message in request["messages"]:
        if message["role"] == "tool":
            content = message["content"]
            found.append(content if isinstance(content, str) else "".join(part.get("text", "") for part in content))
    return found


@pytest.fixture
def model() -> Iterator[ScriptedModel]:
    """A scripted model that is listening."""
    scripted = ScriptedModel()

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            message = scripted.reply(request)
            kind = "tool_calls" if message.get("tool_calls") else "stop"
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            start = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "fake-1"}
            chunks = [
                {**start, "choices": [{"index": 0, "delta": message, "finish_reason": None}]},
                {**start, "choices": [{"index": 0, "delta": {}, "finish_reason": kind}]},
                {**start, "choices": [], "usage": usage},
            ]
            body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    scripted.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield scripted
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def skill(tmp_path: Path) -> Path:
    """A folder `mia` with the published SKILL.md, or with a minimal one while there is none."""
    folder = tmp_path / "skills" / "mia"
    published = ROOT / "skills" / "mia"
    if published.is_dir():
        shutil.copytree(published, folder)
        return folder
    folder.mkdir(parents=True)
    (folder / "SKILL.md").write_text(
        "---\nname: mia\ndescription: Recall how similar tasks were solved with the MIA tools.\n---\n\n# MIA\n\n"
        "Call `mia__memory_retrieve`; where it is not listed, `tool_call` with that id.\n"
    )
    return folder
