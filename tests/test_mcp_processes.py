"""Several hosts, restarts and slow models: what only real processes can show."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

pytestmark = pytest.mark.slow
PATIENCE_S = 60
APART = {"MIA_MEMORY__MERGE_SIMILARITY": "1.0"}
"""Nothing merges, so every run can be counted."""
WRITES = 20
QUESTION = "Who founded Velmora Works?"
REPLIES = {
    "planner": ['{"steps": ["find the founder"]}', '{"need_replan": false, "reason": "stated"}'],
    "executor": [
        '<tool_call>{"name": "search", "arguments": {"query": "Velmora Works founder"}}</tool_call>',
        "<answer>Aldric Tesh</answer>",
    ],
}


def run_of(name: str, number: int) -> dict[str, Any]:
    """A run of its own."""
    words = " ".join(f"{name}{number * factor}" for factor in range(1, 12))
    return {
        "question": f"what about {words}?",
        "answer": "a",
        "steps": [{"query": words, "found": f"{words} is a"}],
        "outcome": "correct" if number % 2 else "incorrect",
    }


def parameters(home: Path, **environment: str) -> StdioServerParameters:
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "mcp_server", "--home", str(home)],
        env={**os.environ, **APART, **environment},
    )


async def units(client: Client) -> set[str]:
    """Ids of everything in the bank."""
    listed = (await client.call_tool("memory_list", {"limit": 200})).structured_content or {}
    return {one["id"] for one in listed["memories"]}


async def test_two_servers_on_one_bank_lose_nothing(tmp_path: Path) -> None:
    kept: set[str] = set()

    async def write(client: Client, name: str) -> None:
        for number in range(1, WRITES + 1):
            result = await client.call_tool("memory_store", run_of(name, number))
            assert not result.is_error, result.content
            kept.update((result.structured_content or {})["ids"])

    async with Client(parameters(tmp_path)) as one, Client(parameters(tmp_path), mode="legacy") as two:
        async with anyio.create_task_group() as group:
            group.start_soon(write, one, "ant")
            group.start_soon(write, two, "bee")
        assert len(kept) == 2 * WRITES
        assert await units(one) == await units(two) == kept
        recalled = (await one.call_tool("memory_retrieve", {"question": run_of("bee", 7)["question"]})).content
        assert recalled


def test_what_was_acknowledged_survives_a_kill_and_the_next_server_goes_on(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    for start in range(3):
        process = subprocess.Popen(
            [sys.executable, "-m", "mcp_server", "--home", str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **APART},
        )
        try:
            hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
            ask(process, 1, "initialize", hello)
            before = ask(process, 2, "tools/call", {"name": "memory_list", "arguments": {"limit": 200}})
            assert acknowledged <= {one["id"] for one in before["structuredContent"]["memories"]}
            for number in range(1, 6):
                arguments = run_of(f"cat{start}", number)
                stored = ask(process, number + 2, "tools/call", {"name": "memory_store", "arguments": arguments})
                acknowledged.update(stored["structuredContent"]["ids"])
            send(process, 99, "tools/call", {"name": "memory_store", "arguments": run_of(f"cut{start}", 1)})
            process.send_signal(signal.SIGKILL)
        finally:
            process.kill()
            process.communicate()
    assert len(acknowledged) == 15


def send(process: subprocess.Popen[bytes], number: int, method: str, params: Any) -> None:
    assert process.stdin is not None
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    process.stdin.write(json.dumps(message).encode() + b"\n")
    process.stdin.flush()


def ask(process: subprocess.Popen[bytes], number: int, method: str, params: Any) -> dict[str, Any]:
    send(process, number, method, params)
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], PATIENCE_S)[0], "no answer"
    answer = json.loads(process.stdout.readline())
    assert answer["id"] == number
    return dict(answer["result"])


@dataclass
class Endpoint:
    """An OpenAI-compatible endpoint whose planner replies only once it is let go."""

    go: threading.Event = field(default_factory=threading.Event)
    asked: threading.Event = field(default_factory=threading.Event)
    seen: dict[str, int] = field(default_factory=dict)
    url: str = ""

    def reply(self, model: str) -> str:
        """The next reply of a model."""
        self.asked.set()
        assert self.go.wait(PATIENCE_S)
        turn = self.seen.get(model, 0)
        self.seen[model] = turn + 1
        return REPLIES[model][turn]

    def environment(self, corpus: Path) -> dict[str, str]:
        """Settings of a server that uses it."""
        corpus.write_text('{"id": "p1", "title": "Velmora Works", "text": "It was set up by Aldric Tesh."}\n')
        models = {
            f"MIA_MODELS__{role.upper()}__{key}": value
            for role in REPLIES
            for key, value in (("BASE_URL", self.url), ("MODEL", role))
        }
        return models | {"MIA_SEARCH__CORPUS": json.dumps([str(corpus)]), "MIA_SEARCH__DENSE": "false"}


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    scripted = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            choice = {"index": 0, "message": {"role": "assistant", "content": scripted.reply(request["model"])}}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            told = {"id": "c", "object": "chat.completion", "model": request["model"], "usage": usage}
            body = json.dumps(told | {"choices": [choice | {"finish_reason": "stop"}]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    scripted.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield scripted
    scripted.go.set()
    server.shutdown()
    server.server_close()
    thread.join()


async def test_a_slow_model_keeps_a_call_alive_by_progress(tmp_path: Path, endpoint: Endpoint) -> None:
    beats: list[float] = []

    async def progress(done: float, _total: float | None, message: str | None) -> None:
        if "still at work" in (message or ""):
            beats.append(done)
        if len(beats) == 5:
            endpoint.go.set()

    given = endpoint.environment(tmp_path / "corpus.jsonl") | {"MIA_SERVER__HEARTBEAT_S": "0.2"}
    async with Client(parameters(tmp_path / "home", **given)) as client:
        result = await client.call_tool("research", {"question": QUESTION}, progress_callback=progress)
    assert not result.is_error, result.content
    assert (result.structured_content or {})["answer"] == "Aldric Tesh"
    assert len(beats) >= 5
    assert beats == sorted(beats)


@contextmanager
def serving(home: Path, environment: dict[str, str]) -> Iterator[str]:
    """A server over HTTP; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mcp_server", "--http", "--port", "0", "--home", str(home)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )
    try:
        assert process.stderr is not None
        yield process.stderr.readline().split()[-1]
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


async def test_a_handle_is_good_after_a_reconnect_and_not_after_a_restart(tmp_path: Path, endpoint: Endpoint) -> None:
    given = endpoint.environment(tmp_path / "corpus.jsonl")
    with serving(tmp_path / "home", given) as url:
        async with Client(url) as client:
            started = (await client.call_tool("research_start", {"question": QUESTION})).structured_content or {}
        assert await anyio.to_thread.run_sync(endpoint.asked.wait, PATIENCE_S)
        async with Client(url, mode="legacy") as client:
            handle = {"handle": started["handle"], "wait_s": 0}
            running = (await client.call_tool("research_status", handle)).structured_content or {}
            assert running["state"] == "running"
        endpoint.go.set()
        async with Client(url) as client:
            done = (await client.call_tool("research_status", handle | {"wait_s": 50})).structured_content or {}
            assert (done["state"], done["result"]["answer"]) == ("done", "Aldric Tesh")
            assert len(await units(client)) == 1
    with serving(tmp_path / "home", given) as url:
        async with Client(url) as client:
            gone = await client.call_tool("research_status", handle)
            assert gone.is_error
            assert "not beyond a restart" in str(gone.content)
            assert len(await units(client)) == 1
