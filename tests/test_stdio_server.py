"""The server as a host starts it: a separate process on pipes."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import pytest
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters

CANARY = "sk-canary-1f9a"
PATIENCE_S = 60
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
RUN = {"question": "q one", "answer": "a", "steps": [{"query": "s", "found": "a is it"}], "outcome": "correct"}


def command(home: Path, *more: str) -> list[str]:
    return ["-m", "mcp_server", "--stdio", "--home", str(home), *more]


class Server:
    """A server process, spoken to line by line."""

    def __init__(self, home: Path, *more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *command(home, *more)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "MIA_MODELS__JUDGE__API_KEY": CANARY, "MIA_MEMORY__EMBEDDER": "hash"} | JUDGE,
        )
        self.number = 0
        self.seen: list[bytes] = []

    def __enter__(self) -> "Server":
        with ExitStack() as on_failure:
            on_failure.callback(self.stop)
            self.call("initialize", HELLO)
            self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
            on_failure.pop_all()
        return self

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()

    def __exit__(self, _kind: type | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.stop()

    def send(self, line: dict[str, Any] | bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        assert ready, "the server gave no answer"
        line = self.process.stdout.readline()
        assert line, "the server has ended"
        self.seen.append(line)
        read = json.loads(line)
        assert read["jsonrpc"] == "2.0"
        return dict(read)

    def call(self, method: str, params: Any) -> dict[str, Any]:
        self.number += 1
        self.send({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        answer = self.receive()
        assert answer["id"] == self.number
        return answer

    def tool(self, name: str, arguments: Any) -> dict[str, Any]:
        return self.call("tools/call", {"name": name, "arguments": arguments})

    def end(self) -> tuple[bytes, bytes]:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        return out, err

    @property
    def lives(self) -> bool:
        return "result" in self.tool("memory_list", {}) and self.process.poll() is None


JUDGE = {"MIA_MODELS__JUDGE__BASE_URL": "http://127.0.0.1:9/v1", "MIA_MODELS__JUDGE__MODEL": "none"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as running:
        yield running


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_the_official_client_lists_and_calls_over_stdio(tmp_path: Path, era: Literal["auto", "legacy"]) -> None:
    parameters = StdioServerParameters(command=sys.executable, args=command(tmp_path), env=dict(os.environ))
    async with Client(parameters, mode=era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert len(tools) == 10
        for name, given in (("memory_store", RUN), ("memory_retrieve", {"question": "q one"}), ("memory_list", {})):
            result = await client.call_tool(name, given)
            assert not result.is_error, result.content
            Draft202012Validator(tools[name].output_schema or {}).validate(result.structured_content)


HOSTILE: list[tuple[str, Any]] = [
    ("memory_retrieve", {"question": "NUL \x00 and \x1b[31m"}),
    ("memory_retrieve", {"question": "q", "k": -5}),
    ("memory_retrieve", {"question": "q", "k": 10**30}),
    ("memory_retrieve", {"question": ["q"]}),
    ("memory_retrieve", {"question": "q", "surprise": 1}),
    ("memory_retrieve", "not an object"),
    ("memory_retrieve", None),
    ("memory_show", {"id": "../../etc/passwd"}),
    ("memory_show", {"id": "mem_none"}),
    ("memory_forget", {"ids": ["mem_none"]}),
    ("memory_feedback", {"id": "mem_none", "good": "perhaps"}),
    ("memory_list", {"cursor": "no cursor of ours", "limit": 0}),
    ("memory_list", {"cursor": "no cursor of ours"}),
    ("search", {"queries": []}),
    ("search", {"queries": [{"a": 1}]}),
    ("judge", {"question": "q", "answer": "a", "steps": [{"passage_ids": ["none"]}], "form": {"x": 1}}),
    ("judge", {"question": "q", "answer": "a", "steps": {}}),
    ("plan", {"question": "q", "form": []}),
    ("plan", {"question": "q", "form": {"steps": [""]}}),
    ("replan", {"question": "q", "plan": 7, "steps": []}),
    ("memory_store", {"question": "q", "answer": "", "steps": []}),
    ("memory_store", {"question": "q", "answer": "a", "steps": [], "outcome": "maybe"}),
    ("no_such_tool", {}),
    ("", {}),
]
RAW = [
    b'{"jsonrpc":"2.0","id":901,',
    b'{"jsonrpc":"2.0","id":902,"method":"tools/call","params":[1,2]}',
    b'{"id":903,"method":"tools/list"}',
    b'{"jsonrpc":"2.0","id":904,"method":"tools/call","params":{"name":"memory_show","arguments":{"id":"a\\ud83d"}}}',
    b'{"jsonrpc":"2.0","id":905,"method":"tools/call","params":{"name":"\\udc00","arguments":{"\\udc00":1}}}',
    b'{"jsonrpc":"2.0","id":906,"method":"no/such","params":{}}',
    b'{"jsonrpc":"2.0","id":907,"method":"tools/call","params":{"name":"plan","arguments":{"n":' + b"9" * 5000 + b"}}}",
    b'{"jsonrpc":"2.0","id":908,"method":"resources/read","params":{"uri":"file:///etc/passwd"}}',
    b'{"jsonrpc":"2.0","id":909,"method":"prompts/get","params":{"name":"plan","arguments":{"question":7}}}',
    b'{"jsonrpc":"2.0","id":910,"method":"tools/call","params":{"name":"plan","arguments":{"question":'
    + b"[" * 300 + b"]" * 300 + b"}}}",
    b'{"jsonrpc":"2.0","id":911,"method":"tools/call","params":{"name":"memory_show","arguments":{"id":"\xff\xfe"}}}',
]  # fmt: skip


def test_every_hostile_call_is_answered_and_nothing_leaks(server: Server, tmp_path: Path) -> None:
    for name, arguments in HOSTILE:
        answer = server.tool(name, arguments)
        assert "error" in answer or "result" in answer
        assert len(server.seen[-1]) < 40_000
    for line in RAW:
        server.send(line)
        asked = int(line.split(b'"id":')[1][:3])
        assert server.receive()["id"] == asked
    assert server.lives
    for secret in (str(tmp_path), str(Path.home()), CANARY, "Traceback", "site-packages", sys.prefix):
        assert all(secret.encode() not in line for line in server.seen), secret


def test_what_is_stored_with_a_cut_emoji_does_not_kill_a_later_session(tmp_path: Path) -> None:
    line = json.dumps(RUN).replace("q one", "cut \\\\ud83d").replace("\\\\", "\\")
    with Server(tmp_path) as first:
        first.send(
            b'{"jsonrpc":"2.0","id":50,"method":"tools/call","params":{"name":"memory_store","arguments":%s}}'
            % line.encode()
        )
        assert not first.receive()["result"].get("isError")
    with Server(tmp_path) as second:
        shown = second.tool("memory_list", {})["result"]["structuredContent"]["memories"]
        assert shown[0]["question"].startswith("cut ")


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["memory_retrieve", "judge", "memory_store", "search"])
def test_ten_megabytes_are_answered(server: Server, tool: str) -> None:
    big = "x" * 10_000_000
    given = {
        "memory_retrieve": {"question": big},
        "judge": {"question": "q", "answer": "a", "steps": [{"found": "word " * 19_000}] * 100},
        "memory_store": {"question": "q", "answer": big, "steps": []},
        "search": {"queries": [big]},
    }[tool]
    server.tool(tool, given)
    assert len(server.seen[-1]) < 70_000
    assert server.lives


@pytest.mark.slow
def test_a_hundred_thousand_nested_lists_are_answered(server: Server) -> None:
    deep = b"[" * 100_000 + b"]" * 100_000
    server.send(
        b'{"jsonrpc":"2.0","id":77,"method":"tools/call","params":{"name":"plan","arguments":{"question":%s}}}' % deep
    )
    assert server.receive()["id"] == 77
    assert server.lives


def test_stdout_carries_json_rpc_only_and_the_end_of_input_is_a_quiet_end(tmp_path: Path) -> None:
    with Server(tmp_path) as running:
        running.tool("memory_store", RUN)
        running.tool("memory_retrieve", {"question": "q one"})
        out, err = running.end()
    assert out == b""
    assert b"Traceback" not in err
    assert running.process.returncode == 0


@pytest.mark.parametrize("ordered", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_a_quiet_end(server: Server, ordered: signal.Signals) -> None:
    server.tool("memory_list", {})
    server.process.send_signal(ordered)
    code = server.process.wait(timeout=PATIENCE_S)
    assert server.process.stderr is not None
    assert (code, server.process.stderr.read()) == (0, b"")


def test_a_server_ends_when_its_parent_dies_without_closing_the_pipe(tmp_path: Path) -> None:
    source, sink = os.pipe()
    script = (
        "import subprocess, sys, os\n"
        f"args = {command(tmp_path)!r}\n"
        f"child = subprocess.Popen([sys.executable, *args], stdin={source}, stdout=subprocess.DEVNULL)\n"
        "print(child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(source,)
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    gone = os.pidfd_open(child)
    os.write(sink, b"\n")
    ready_after(tmp_path, sink)
    parent.communicate()
    try:
        assert select.select([gone], [], [], PATIENCE_S)[0], "the orphan lives on"
    finally:
        for one in (gone, source, sink):
            os.close(one)


def ready_after(home: Path, sink: int) -> None:
    """Let the orphan-to-be make its bank, so that its parent watch certainly runs."""
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": HELLO}
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "memory_list", "arguments": {}}}
    for message in (hello, {"jsonrpc": "2.0", "method": "notifications/initialized"}, call):
        os.write(sink, json.dumps(message).encode() + b"\n")
    made = threading.Event()
    for _ in range(PATIENCE_S * 20):
        if (home / "memory.sqlite3").exists():
            return
        made.wait(0.05)
    raise AssertionError("the server never opened its bank")


def test_help_is_enough_to_start() -> None:
    done = subprocess.run([sys.executable, "-m", "mcp_server", "--help"], capture_output=True, check=True)
    for word in (b"--stdio", b"--http", b"--config", b"--read-only", b"MIA_", b"stdout carries JSON-RPC only"):
        assert word in done.stdout


def test_an_unknown_setting_is_told_with_the_nearest_and_ends_the_start() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mcp_server", "--set", "server.prompt=false"], capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stdout == b""
    assert b"server.prompts" in done.stderr


def test_a_list_setting_is_given_as_json_as_the_command_line_takes_it() -> None:
    flags = ["--print-tools", "--set", 'search.corpus=["/nowhere/wiki.jsonl"]']
    done = subprocess.run([sys.executable, "-m", "mcp_server", *flags], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"about" in done.stderr
