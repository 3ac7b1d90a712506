"""The server over real HTTP on loopback: who may come in, and what comes back to whom who misbehaves."""

import json
import os
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
import httpx2
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from pydantic import SecretStr

from mcp_server.http import allowed_names, build_app, is_loopback, listen
from mcp_server.server import build_server
from mia_skill.core.config import MiaConfig, ServerConfig
from mia_skill.core.errors import ConfigError

TOKEN = "correct-horse"
PATIENCE_S = 60
Era = Literal["auto", "legacy"]
ERAS: tuple[Era, ...] = ("auto", "legacy")
RUN = {"question": "q one", "answer": "a", "steps": [{"query": "s", "found": "a is it"}], "outcome": "correct"}
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "t", "version": "1"},
}


def serve(home: Path, **environment: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "mcp_server", "--http", "--port", "0", "--home", str(home)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        assert process.stderr is not None
        assert select.select([process.stderr], [], [], PATIENCE_S)[0], "the server said nothing"
        line = process.stderr.readline().decode()
        assert "http://127.0.0.1:" in line, line + process.stderr.read().decode()
        yield line.split()[-1]
        process.terminate()
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out) == (0, b"")
        assert b"Traceback" not in err, err.decode()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("http"))


@pytest.fixture(scope="module")
def guarded_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield from serve(tmp_path_factory.mktemp("guarded"), MIA_SERVER__TOKEN=TOKEN)


def post(url: str, body: Any, **headers: str) -> httpx.Response:
    """One request of the modern era, as bytes or as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    usual = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
    }
    return httpx.post(url, content=content, headers=usual | headers, timeout=PATIENCE_S, trust_env=False)


def call(url: str, name: str, arguments: Any, **headers: str) -> httpx.Response:
    body = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "tools/call",
        "params": {"name": name, "arguments": arguments, "_meta": META},
    }
    try:
        named = {"mcp-method": "tools/call", "mcp-name": name.encode("ascii").decode()}
    except UnicodeEncodeError:
        named = {}
    return post(url, body, **named, **headers)


@pytest.mark.parametrize("era", ERAS)
async def test_the_official_client_lists_and_calls_over_http(url: str, era: Era) -> None:
    async with Client(url, mode=era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert len(tools) == 10
        for name, given in (("memory_store", RUN), ("memory_retrieve", {"question": "q one"}), ("memory_list", {})):
            result = await client.call_tool(name, given)
            assert not result.is_error, result.content
            Draft202012Validator(tools[name].output_schema or {}).validate(result.structured_content)


@pytest.mark.parametrize("era", ERAS)
async def test_with_the_token_a_client_gets_in(guarded_url: str, era: Era) -> None:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=PATIENCE_S) as http,
        Client(streamable_http_client(guarded_url, http_client=http), mode=era) as client,
    ):
        assert len((await client.list_tools()).tools) == 10


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", "Basic correct-horse", f"bearer  {TOKEN} x"])
def test_without_the_token_nobody_gets_in(guarded_url: str, given: str) -> None:
    answer = call(guarded_url, "memory_list", {}, **({"authorization": given} if given else {}))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_blanks_around_the_value_of_a_header_do_not_count(url: str) -> None:
    host, _, port = url.removeprefix("http://").partition("/")[0].rpartition(":")
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": META}}).encode()
    head = (
        f"POST /mcp HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\nConnection: close\r\n"
        "Accept: application/json, text/event-stream\r\nMCP-Protocol-Version: 2026-07-28\r\n"
        f"Mcp-Method: \t tools/list \t \r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(head.encode() + body)
        answer = connection.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    assert b"memory_retrieve" in answer


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example:80"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"content-type": "text/plain"}, 400),
    ],
)
def test_a_page_in_a_browser_cannot_reach_the_server(url: str, headers: dict[str, str], status: int) -> None:
    assert call(url, "memory_list", {}, **headers).status_code == status


def test_a_body_over_four_megabytes_is_refused(url: str) -> None:
    assert call(url, "memory_retrieve", {"question": "x" * 5_000_000}).status_code == 413


HOSTILE: list[tuple[str, Any]] = [
    ("memory_retrieve", {"question": "NUL \x00"}),
    ("memory_retrieve", {"question": "q", "k": -5}),
    ("memory_retrieve", {"question": "q", "surprise": 1}),
    ("memory_retrieve", {"question": "cut \ud83d"}),
    ("memory_retrieve", "no object"),
    ("memory_show", {"id": "../../etc/passwd"}),
    ("memory_show", {"id": "cut \ud83d"}),
    ("memory_list", {"cursor": "\udc00"}),
    ("search", {"queries": [[[[]]]]}),
    ("plan", {"question": "q", "form": {"steps": 3}}),
    ("no_such_tool", {}),
    ("x" * 3000, {}),
]


@pytest.mark.parametrize(("name", "arguments"), HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_calls_are_answered_shortly_and_nothing_leaks(url: str, name: str, arguments: Any) -> None:
    answer = call(url, name, arguments)
    assert answer.status_code < 500
    assert len(answer.content) < 10_000
    for secret in (str(Path.home()), "Traceback", "site-packages", sys.prefix):
        assert secret not in answer.text
    assert '"total"' in call(url, "memory_list", {}).text


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}'],
    ids=range(7),
)
def test_what_is_no_message_is_refused_and_the_server_goes_on(url: str, body: bytes) -> None:
    assert 400 <= post(url, body).status_code < 500
    assert '"total"' in call(url, "memory_list", {}).text


async def test_a_cut_emoji_stored_over_http_does_not_break_a_reader(url: str) -> None:
    stored = call(url, "memory_store", RUN | {"question": "cut \ud83d"})
    assert 'isError":true' not in stored.text.replace(" ", "")
    async with Client(url) as client:
        result = await client.call_tool("memory_list", {"text": "cut"})
    shown = result.structured_content or {}
    assert shown["memories"][0]["question"].startswith("cut ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "mia.example"])
def test_beyond_loopback_a_token_is_needed(tmp_path: Path, host: str) -> None:
    config = MiaConfig(home=tmp_path, server=ServerConfig(host=host))
    with pytest.raises(ConfigError, match="MIA_SERVER__TOKEN"):
        build_app(build_server(config), config.server)
    opened = ServerConfig(host=host, token=SecretStr(TOKEN))
    build_app(build_server(config), opened)
    assert host.strip("[]") in {name.strip("[]") for name in allowed_names(opened)}


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("here", False)],
)
def test_loopback_is_recognised(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_an_address_that_is_taken_is_told(url: str, tmp_path: Path) -> None:
    port = url.rpartition(":")[2].partition("/")[0]
    done = subprocess.run(
        [sys.executable, "-m", "mcp_server", "--http", "--port", port, "--home", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"cannot serve at 127.0.0.1" in done.stderr


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with listen(ServerConfig(port=0)) as bound:
        assert bound.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
