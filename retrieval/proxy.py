"""A proxy on loopback for one browser: every connection that a page asks for goes through the door that visits use."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import httpcore
from anyio.abc import SocketAttribute, SocketStream

from mia_skill.core.errors import AddressRefused, VisitError
from retrieval.address import Target, target_of

__all__ = ["CheckingProxy"]

MOST_HEAD = 64 << 10
MOST_CONNECTIONS = 64
PIECE = 64 << 10
DROPPED = re.compile(rb"(?i)^(proxy-[\w-]+|connection|keep-alive):")
BROKEN = (httpcore.NetworkError, httpcore.TimeoutException, anyio.BrokenResourceError, anyio.ClosedResourceError)


@dataclass
class CheckingProxy:
    """Passes requests on to public addresses, up to `most_bytes` of answers in all; refuses the others."""

    network: httpcore.AsyncNetworkBackend
    """Checks and connects: a `GuardedNetwork`."""
    most_bytes: int
    passed: int = 0
    """Bytes of answers."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """The port, as long as the block."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
        room = anyio.Semaphore(MOST_CONNECTIONS)

        async def one(stream: SocketStream) -> None:
            async with room, stream:
                try:
                    await self._serve(stream)
                except (*BROKEN, anyio.EndOfStream):
                    return

        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, one)
            yield listener.extra(SocketAttribute.local_port)
            group.cancel_scope.cancel()

    async def _serve(self, stream: SocketStream) -> None:
        head, rest = await head_of(stream)
        try:
            method, target = asked_for(head)
            upstream = await self.network.connect_tcp(target.host, target.port, timeout=10)
        except AddressRefused:
            await stream.send(b"HTTP/1.1 403 Refused\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        except (VisitError, *BROKEN):
            await stream.send(b"HTTP/1.1 502 Unreachable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        try:
            if method == b"CONNECT":
                await stream.send(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                rest = origin_form(head, target) + rest
            if rest:
                await upstream.write(rest)
            async with anyio.create_task_group() as group:
                group.start_soon(sent_on, stream, upstream)
                await self._answered(upstream, stream)
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await upstream.aclose()

    async def _answered(self, upstream: httpcore.AsyncNetworkStream, stream: SocketStream) -> None:
        try:
            while self.passed < self.most_bytes and (piece := await upstream.read(PIECE)):
                self.passed += len(piece)
                await stream.send(piece)
        except BROKEN:
            return


async def head_of(stream: SocketStream) -> tuple[bytes, bytes]:
    """The head of a request, and what came after it."""
    received = b""
    while b"\r\n\r\n" not in received:
        if len(received) > MOST_HEAD:
            raise anyio.EndOfStream
        received += await stream.receive()
    head, _, rest = received.partition(b"\r\n\r\n")
    return head, rest


def asked_for(head: bytes) -> tuple[bytes, Target]:
    """Method and place.

    Raises:
        AddressRefused: it is no request to a proxy, or for no address that may be asked for.
    """
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3:
        raise AddressRefused("no request")
    address = words[1].decode("latin-1")
    return words[0], target_of(f"https://{address}" if words[0] == b"CONNECT" else address)


def origin_form(head: bytes, target: Target) -> bytes:
    """The head as a server expects it: one request, then the connection ends."""
    first, *lines = head.split(b"\r\n")
    method, _, version = first.split(b" ")
    kept = [line for line in lines if not DROPPED.match(line)]
    path = target.path.encode("ascii")
    return b"\r\n".join([b" ".join((method, path, version)), *kept, b"Connection: close", b"", b""])


async def sent_on(stream: SocketStream, upstream: httpcore.AsyncNetworkStream) -> None:
    """What the browser still says."""
    try:
        while True:
            await upstream.write(await stream.receive())
    except (*BROKEN, anyio.EndOfStream):
        return
