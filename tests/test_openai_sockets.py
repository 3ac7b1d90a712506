"""The chat client against real loopback servers that hang, break off, flood and recover."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import anyio
import anyio.lowlevel
import pytest

from mia_skill.core.chat import Message
from mia_skill.core.config import EndpointConfig
from mia_skill.core.errors import ModelReplyError, ModelUnreachableError
from mia_skill.core.openai_chat import OpenAIChat

ASK = (Message(role="user", content="Who wrote Dune?"),)
FINE = {"choices": [{"message": {"content": "fine"}, "finish_reason": "stop"}]}


@dataclass
class Naps:
    """Sleeps for no time and keeps what was asked for."""

    taken: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def http(status: str, body: bytes, *headers: str, length: int | None = None) -> Handler:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]

    async def answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()

    return answer


OK = http("200 OK", json.dumps(FINE).encode(), "Content-Type: application/json")


async def hang(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.001)


async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def flood(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    block = b"x" * 65536
    while True:
        writer.write(b"10000\r\n" + block + b"\r\n")
        await writer.drain()


@dataclass
class Loopback:
    """A server on 127.0.0.1 that treats its requests one after the other as scripted."""

    url: str
    requests: int = 0
    connections: int = 0


@asynccontextmanager
async def serving(*script: Handler) -> AsyncIterator[Loopback]:
    left = list(script)
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length:")[2].partition("\r\n")[0] or 0)
                await reader.readexactly(length)
                state.requests += 1
                handler = left.pop(0)
                await handler(reader, writer)
                if handler is not OK:
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    state = Loopback(url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
    try:
        yield state
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def talking(url: str, naps: Naps | None = None, **settings: object) -> AsyncIterator[OpenAIChat]:
    config = EndpointConfig.model_validate({"base_url": url, "model": "m", **settings})
    chat = OpenAIChat(config, sleep=naps or Naps())
    try:
        with anyio.fail_after(20):
            yield chat
    finally:
        await chat.aclose()


@pytest.mark.parametrize(
    "failure",
    [
        http("500 Internal Server Error", b"oops"),
        http("429 Too Many Requests", b"", "Retry-After: 2"),
        http("200 OK", b'{"choices": [', length=5000),
        reset,
    ],
    ids=["status-500", "status-429", "truncated", "reset"],
)
async def test_a_real_server_that_recovers_is_not_noticed(failure: Handler) -> None:
    async with serving(failure, OK) as server, talking(server.url) as chat:
        assert (await chat.complete(ASK))[0].text == "fine"
        assert server.requests == 2


async def test_connections_are_used_again() -> None:
    async with serving(OK, OK, OK) as server, talking(server.url) as chat:
        for _ in range(3):
            await chat.complete(ASK)
        assert (server.requests, server.connections) == (3, 1)


@pytest.mark.parametrize("silent", [hang, drip])
async def test_a_server_that_never_finishes_is_given_up_after_the_time_out(silent: Handler) -> None:
    async with serving(silent, silent) as server, talking(server.url, timeout_s=0.05, max_retries=1) as chat:
        with pytest.raises(ModelUnreachableError, match=r"did not answer within 0.05 s after 2 tries"):
            await chat.complete(ASK)
        assert server.requests == 2


async def test_a_body_without_end_is_cut_off() -> None:
    async with serving(flood) as server, talking(server.url) as chat:
        with pytest.raises(ModelReplyError, match="larger than 16 MiB"):
            await chat.complete(ASK)


async def test_a_truncated_body_that_stays_truncated_is_an_error() -> None:
    cut = http("200 OK", b'{"choices": [', length=5000)
    async with serving(cut, cut) as server, talking(server.url, max_retries=1) as chat:
        with pytest.raises(ModelUnreachableError, match="after 2 tries"):
            await chat.complete(ASK)


async def test_a_page_in_place_of_json_is_an_error() -> None:
    page = http("200 OK", b"<html>log in</html>", "Content-Type: text/html")
    async with serving(page) as server, talking(server.url) as chat:
        with pytest.raises(ModelReplyError, match="no JSON") as caught:
            await chat.complete(ASK)
        assert caught.value.raw == "<html>log in</html>"


async def test_a_reply_that_cannot_be_decompressed_is_an_error() -> None:
    async with serving(http("200 OK", b"no gzip", "Content-Encoding: gzip")) as server, talking(server.url) as chat:
        with pytest.raises(ModelReplyError, match="decompressed"):
            await chat.complete(ASK)


async def test_a_port_where_nobody_listens_is_tried_and_named() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}/v1"
        naps = Naps()
        async with talking(url, naps, max_retries=2) as chat:
            with pytest.raises(ModelUnreachableError, match=r"no usable connection to http://127.*after 3 tries"):
                await chat.complete(ASK)
    assert len(naps.taken) == 2


async def test_a_cancelled_call_gives_its_connection_back() -> None:
    async with serving(hang, OK) as server, talking(server.url, max_connections=1) as chat:
        async with anyio.create_task_group() as group:
            group.start_soon(chat.complete, ASK)
            while server.requests == 0:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert (await chat.complete(ASK))[0].text == "fine"


async def test_more_calls_than_connections_wait_their_turn() -> None:
    async with serving(*[OK] * 12) as server, talking(server.url, max_connections=2) as chat:
        async with anyio.create_task_group() as group:
            for _ in range(12):
                group.start_soon(chat.complete, ASK)
        assert server.requests == 12
        assert server.connections <= 2


async def test_a_closed_client_opens_again_at_the_next_call() -> None:
    async with serving(OK, OK) as server, talking(server.url) as chat:
        await chat.complete(ASK)
        await chat.aclose()
        await chat.aclose()
        assert (await chat.complete(ASK))[0].text == "fine"


async def test_a_loopback_endpoint_is_not_sent_through_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving(OK) as server, talking(server.url, max_retries=0) as chat:
        assert (await chat.complete(ASK))[0].text == "fine"
