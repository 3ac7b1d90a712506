"""A web on loopback: real sockets under made-up public names, so that the checks of addresses stay on."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import httpcore
from anyio.abc import SocketStream

from retrieval.address import Resolve

__all__ = ["PUBLIC", "Loopback", "Wire", "html", "names", "reply", "serving"]

PUBLIC = "93.184.215.14"
Answer = bytes | Callable[[SocketStream], Awaitable[None]]


def reply(status: int = 200, body: bytes = b"", *headers: str) -> bytes:
    """A whole response."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def html(text: str, *headers: str, title: str = "T") -> bytes:
    """A page with one article."""
    body = f"<html><head><title>{title}</title></head><body><article>{text}</article></body></html>".encode()
    return reply(200, body, *(headers or ("Content-Type: text/html; charset=utf-8",)))


@dataclass
class Loopback:
    """Answers each path with its bytes, or by writing to the stream; robots.txt is missing unless given."""

    pages: Mapping[str, Answer]
    requests: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    port: int = 0

    async def serve(self, stream: SocketStream) -> None:
        """One connection, one request."""
        try:
            async with stream:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += await stream.receive()
                path = head.split(b" ", 2)[1].decode()
                self.requests.append(path)
                self.heads.append(head)
                answer = self.pages.get(path, reply(404))
                if isinstance(answer, bytes):
                    await stream.send(answer)
                else:
                    await answer(stream)
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return


@asynccontextmanager
async def serving(pages: Mapping[str, Answer]) -> AsyncIterator[Loopback]:
    """The server, as long as the block."""
    server = Loopback(pages)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    server.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, server.serve)
        yield server
        group.cancel_scope.cancel()


@dataclass
class Wire(httpcore.AsyncNetworkBackend):
    """Connects every public address to one loopback port, and remembers which addresses it was told to reach."""

    port: int
    reached: list[str] = field(default_factory=list)
    _real: httpcore.AnyIOBackend = field(default_factory=httpcore.AnyIOBackend)

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """To the loopback server, whatever the address."""
        self.reached.append(host)
        return await self._real.connect_tcp("127.0.0.1", self.port, timeout)


def names(**addresses: str | list[str | list[str]]) -> Resolve:
    """A resolver for these names (`_` for `.`): one address, or a script of answers in turn; others are public."""
    scripts = {name.replace("_", "."): list(one) for name, one in addresses.items() if isinstance(one, list)}
    fixed = {name.replace("_", "."): one for name, one in addresses.items() if isinstance(one, str)}

    async def resolve(host: str, _port: int) -> list[str]:
        if host in scripts:
            answer = scripts[host].pop(0)
            return [answer] if isinstance(answer, str) else answer
        return [fixed.get(host, PUBLIC)]

    return resolve
