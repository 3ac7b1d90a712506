"""What the plain ASGI services share: a refused request, the names a service answers to, bodies, replies, lifespan."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

__all__ = ["JSON", "TEXT", "Receive", "Refusal", "Send", "check_host", "host_names", "lifespan", "read_body", "reply"]

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

JSON = b"application/json"
TEXT = b"text/plain; version=0.0.4; charset=utf-8"
"""Of a page of Prometheus metrics."""


class Refusal(Exception):
    """A request that gets an error instead of an answer."""

    def __init__(self, status: int, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s


def host_names(hosts: Collection[str] | None) -> frozenset[str] | None:
    """Names in the form that `check_host` compares; None: any name."""
    return None if hosts is None else frozenset(host.casefold() for host in hosts)


def check_host(scope: Mapping[str, Any], hosts: frozenset[str] | None) -> None:
    """A page in a browser must not reach a loopback service under a name of its own.

    Raises:
        Refusal: the request came in under a name that is not among `hosts`.
    """
    if hosts is None:
        return
    given = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").casefold()
    name = given.rpartition(":")[0] if given.rpartition(":")[2].isdigit() else given
    if name not in hosts:
        raise Refusal(421, f"this service does not answer to the name {name[:80]!r}: see server.allowed_hosts")


async def read_body(receive: Receive, most: int, *, items: str) -> bytes:
    """The whole body, at most `most` bytes; `items` says what to send fewer of.

    Raises:
        Refusal: it is longer, or the client went away before its end.
    """
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the body ended early")
        part = message.get("body", b"")
        parts.append(part)
        size += len(part)
        if size > most:
            raise Refusal(413, f"the body has more than {most >> 20} MiB: send fewer {items} at once")
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def reply(
    send: Send, status: int, body: bytes, kind: bytes = JSON, *, retry_after_s: float | None = None
) -> None:
    """Send a whole answer."""
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    if retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, round(retry_after_s))))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def lifespan(
    receive: Receive, send: Send, running: Callable[[], AbstractAsyncContextManager[None]] | None = None
) -> None:
    """Start when told to, stop when told to; inside `running()` in between."""
    await receive()
    if running is None:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    else:
        async with running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
    await send({"type": "lifespan.shutdown.complete"})
