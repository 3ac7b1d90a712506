"""The hostile run: hundreds of inputs per tool that nobody should send. Every call is answered, nothing dies, nothing
hangs, nothing leaks, no file is read, no address is called."""

import json
import os
import random
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from mcp_server.server import build_server
from mia_skill.core.config import load_config

pytestmark = pytest.mark.slow
PATIENCE_S = 60
PER_TOOL = 300
LONGEST_ANSWER = 80_000
"""Characters: a result of 32,000 is sent as text and as structure."""
MOST_MEMORY = 700 * 1024 * 1024
ENV_CANARY = "sk-canary-77ab"
FILE_CANARY = "canary-in-a-file-5d1e"
STEPS = [{"query": "s", "found": "a is it"}]
GOOD: dict[str, dict[str, Any]] = {
    "memory_retrieve": {"question": "q", "caption": "", "namespace": "", "k": 2, "min_score": 0.1},
    "plan": {"question": "q", "caption": "", "form": {"steps": ["one"]}},
    "replan": {"question": "q", "plan": "1. a", "steps": STEPS, "answer": "a", "form": None},
    "search": {"queries": ["q"], "k": 2, "source": "auto"},
    "judge": {"question": "q", "answer": "a", "steps": STEPS, "as_of": "", "form": None},
    "memory_list": {"outcome": "correct", "text": "q", "limit": 5, "cursor": ""},
    "memory_show": {"id": "mem_x"},
    "memory_store": {
        "question": "q",
        "answer": "a",
        "steps": STEPS,
        "plan": "p",
        "outcome": None,
        "memory_ids": [],
        "receipt": "",
    },
    "memory_feedback": {"id": "mem_x", "good": True, "note": "n"},
    "memory_forget": {"ids": ["mem_x"]},
}
MORE: dict[str, dict[str, Any]] = {
    "visit": {"source": "p1", "question": "q", "start": 0},
    "image_search": {"image": "x", "question": "q"},
    "research": {"question": "q", "caption": ""},
    "research_start": {"question": "q", "caption": ""},
    "research_status": {"handle": "h", "wait_s": 0},
    "research_cancel": {"handle": "h"},
}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
}
Send = Callable[[str, Any], str]
"""Calls a tool; returns the whole answer as text."""


def deep(levels: int) -> Any:
    """Objects in objects."""
    return {"a": deep(levels - 1)} if levels else "bottom"


def hostile(port: int, file: Path) -> list[Any]:
    """Values that no tool wants."""
    return [
        *(None, True, 0, -1, 2**31, 2**63, 10**30, 1.5, 1e308, -0.0, 5e-324, "NaN", "Infinity", "null", "true"),
        *("", " ", "\x00", "a\x00b", "\ud83d", "\udc00x", "a\ud83d\ud83d", "\u202egnp.exe", "\u200b\u2060", "\ufeff"),
        *("e\u0301" * 2000, "😀" * 3000, "x" * 4001, "x" * 100_001, "\n" * 5000, "\x1b[31mred", "\r\n\r\nGET /"),
        *("../../../etc/passwd", "/etc/passwd", "/proc/self/environ", "..\\..\\win.ini", "~/.ssh/id_rsa", str(file)),
        *(f"file://{file}", "file:///etc/passwd", f"http://127.0.0.1:{port}/x", f"http://2130706433:{port}/"),
        *(f"http://[::1]:{port}/", f"http://0x7f.1:{port}", f"ftp://127.0.0.1:{port}", f"//127.0.0.1:{port}/a"),
        *("${HOME}", "$(id)", "`id`", "; id", "| id", "' OR 1=1 --", '"; DROP TABLE units; --', "%s%n%x", "{{7*7}}"),
        *("<script>alert(1)</script>", "]]>", "__class__", "{0.__class__}", "*", "NEAR(", '"', "a AND", "-", "(((((("),
        *([], {}, [[]], [None], [{}], [1] * 2000, ["x"] * 101, [""] * 50, [STEPS] * 3, {"a": 1}, {"": {}}, deep(60)),
        *("[1,2", '{"a":1}', "[" * 10_000, '["a"]', '{"__proto__": {}}', {"__proto__": {}}, {"\ud83d": "\ud83d"}),
    ]  # fmt: skip


def noise(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON."""
    kind = chance.randrange(8 if depth < 3 else 5)
    if kind == 0:
        return chance.choice([None, True, False, 10 ** chance.randrange(40), -chance.random() * 1e9])
    if kind <= 4:
        return "".join(chr(chance.randrange(0xE000)) for _ in range(chance.randrange(40)))
    if kind <= 6:
        return [noise(chance, depth + 1) for _ in range(chance.randrange(6))]
    return {str(noise(chance, 3)): noise(chance, depth + 1) for _ in range(chance.randrange(5))}


def inputs(tool: str, good: dict[str, Any], values: list[Any]) -> list[Any]:
    """What `tool` is sent: each argument spoilt in turn, wrong shapes, unknown names, and noise."""
    chance = random.Random(tool)
    given: list[Any] = [{**good, name: value} for name in good for value in values]
    given += [{name: value for name in good} for value in values]
    given += [None, [], "text", 7, {}, {"\ud83d": 1}, {**good, "surprise": 1}, {**good, "x" * 50_000: 1}]
    given += [{**good, f"extra{number}": number} for number in range(20)]
    chance.shuffle(given)
    given = given[:PER_TOOL] if len(given) > PER_TOOL else given
    while len(given) < PER_TOOL:
        name = chance.choice([*good, "other"])
        given.append({**good, name: noise(chance)})
    return given


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """Where nobody should call."""
    with socket.create_server(("127.0.0.1", 0)) as open_socket:
        yield open_socket


def settings(tmp_path: Path, **more: str) -> dict[str, str]:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"id": "p1", "title": "t", "text": "a is it"}\n')
    (tmp_path / "secret.txt").write_text(FILE_CANARY)
    given = {"MIA_SEARCH__CORPUS": json.dumps([str(corpus)]), "MIA_SEARCH__DENSE": "false", "CANARY": ENV_CANARY}
    return {**os.environ, **given, **more}


@contextmanager
def over_stdio(tmp_path: Path, environment: dict[str, str]) -> Iterator[tuple[Send, psutil.Process]]:
    """A server on pipes."""
    with (tmp_path / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "mcp_server", "--home", str(tmp_path / "home")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
        )
    count = 0

    def ask(method: str, params: Any) -> str:
        nonlocal count
        count += 1
        assert process.stdin is not None
        assert process.stdout is not None
        message = {"jsonrpc": "2.0", "id": count, "method": method, "params": params}
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        while True:
            assert select.select([process.stdout], [], [], PATIENCE_S)[0], f"no answer to {str(params)[:300]}"
            line = process.stdout.readline()
            assert line, f"the server ended at {str(params)[:300]}"
            answer = json.loads(line)
            if "id" in answer:
                assert answer["id"] == count
                return line.decode()

    try:
        ask("initialize", {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": META_CLIENT})
        yield lambda tool, given: ask("tools/call", {"name": tool, "arguments": given}), psutil.Process(process.pid)
    finally:
        process.kill()
        process.communicate()


META_CLIENT = {"name": "t", "version": "1"}


@contextmanager
def over_http(tmp_path: Path, environment: dict[str, str]) -> Iterator[tuple[Send, psutil.Process]]:
    """A server on loopback."""
    errors = (tmp_path / "stderr").open("wb+")
    process = subprocess.Popen(
        [sys.executable, "-m", "mcp_server", "--http", "--port", "0", "--home", str(tmp_path / "home")],
        stderr=errors,
        env=environment | {"MIA_SERVER__AUDIT": "off"},
    )
    try:
        url = ""
        while not url.endswith("/mcp\n"):
            assert process.poll() is None
            url = (tmp_path / "stderr").read_text()
        with httpx.Client(timeout=PATIENCE_S, trust_env=False) as client:

            def ask(tool: str, given: Any) -> str:
                params = {"name": tool, "arguments": given, "_meta": META}
                body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
                headers = {
                    "content-type": "application/json",
                    "accept": "application/json, text/event-stream",
                    "mcp-protocol-version": "2026-07-28",
                    "mcp-method": "tools/call",
                    "mcp-name": tool,
                }
                answer = client.post(url.split()[-1], content=json.dumps(body).encode(), headers=headers)
                assert answer.status_code < 500, (tool, str(given)[:300], answer.text[:300])
                return answer.text

            yield ask, psutil.Process(process.pid)
    finally:
        process.kill()
        process.communicate()
        errors.close()


def torment(
    send: Send, process: psutil.Process, tools: dict[str, dict[str, Any]], tmp_path: Path, listener: socket.socket
) -> int:
    """Send everything; how many calls were answered."""
    values = hostile(listener.getsockname()[1], tmp_path / "secret.txt")
    secrets = (str(tmp_path), str(Path.home()), ENV_CANARY, FILE_CANARY, "Traceback", "site-packages", "root:x:")
    answered = 0
    for tool, good in tools.items():
        for given in inputs(tool, good, values):
            text = send(tool, given)
            answered += 1
            assert len(text) < LONGEST_ANSWER, (tool, str(given)[:300])
            echoed = json.dumps(given)
            leaked = [secret for secret in secrets if secret in text and secret not in echoed]
            assert not leaked, (tool, str(given)[:300], leaked)
    assert '"total"' in send("memory_list", {}).replace("\\", "")
    assert process.memory_info().rss < MOST_MEMORY
    assert not select.select([listener], [], [], 0)[0], "an address in an argument was called"
    log = (tmp_path / "stderr").read_text(errors="replace")
    assert "Traceback" not in log, log[-3000:]
    assert ENV_CANARY not in log
    return answered


def test_over_stdio(tmp_path: Path, listener: socket.socket) -> None:
    with over_stdio(tmp_path, settings(tmp_path)) as (send, process):
        assert torment(send, process, GOOD, tmp_path, listener) >= PER_TOOL * len(GOOD)


def test_over_http(tmp_path: Path, listener: socket.socket) -> None:
    with over_http(tmp_path, settings(tmp_path)) as (send, process):
        assert torment(send, process, GOOD, tmp_path, listener) >= PER_TOOL * len(GOOD)


DEAD = {"BASE_URL": "http://127.0.0.1:9/v1", "MODEL": "none", "MAX_RETRIES": "0"}


def everything_on(tmp_path: Path) -> dict[str, str]:
    """Settings with which every tool is listed: an endpoint that does not answer, pages, prepared images."""
    (tmp_path / "images").mkdir()
    more = {f"MIA_MODELS__DEFAULT__{key}": value for key, value in DEAD.items()}
    more |= {"MIA_VISIT__MODE": "on", "MIA_IMAGES__CACHE": json.dumps([str(tmp_path / "images")])}
    return settings(tmp_path, **more)


@pytest.mark.parametrize("over", [over_stdio, over_http])
def test_the_tools_that_need_an_endpoint_pages_or_images(tmp_path: Path, listener: socket.socket, over: Any) -> None:
    with over(tmp_path, everything_on(tmp_path)) as (send, process):
        assert torment(send, process, MORE, tmp_path, listener) >= PER_TOOL * len(MORE)


async def test_every_tool_is_in_this_run(tmp_path: Path) -> None:
    names = everything_on(tmp_path)
    config = load_config(environment={key: value for key, value in names.items() if key.startswith("MIA_")})
    served = {tool.name: tool.input_schema for tool in await build_server(config).list_tools()}
    assert served.keys() == (GOOD | MORE).keys()
    for name, schema in served.items():
        assert schema["properties"].keys() == (GOOD | MORE)[name].keys(), name
