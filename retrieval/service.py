"""`POST /retrieve` over a corpus, a drop-in for Search-R1's server, with `/health` and `/metrics`; plain ASGI."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
import orjson

from mia_skill.core.errors import InputError, MiaError
from retrieval.batcher import Batcher, BusyError, Ranked
from retrieval.retrieve_form import Asked, answer, parsed
from retrieval.service_metrics import ServiceMetrics

__all__ = ["RetrieveService", "Searchable"]

MOST_BYTES = 4 << 20
"""Of a request."""
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Searchable(Protocol):
    """What is served."""

    def __len__(self) -> int: ...

    def rank_many(self, queries: Sequence[str], k: int, /) -> Sequence[Ranked]: ...

    def fragment(self, place: int) -> bytes: ...


class Refusal(Exception):
    """A request that gets an error instead of an answer."""

    def __init__(self, status: int, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s


class RetrieveService:
    """An ASGI application. Give it to uvicorn inside `running()`, or let its lifespan events start it."""

    def __init__(
        self,
        corpus: Searchable,
        *,
        hosts: Collection[str] | None = None,
        timeout_s: float = 60.0,
        most_waiting: int = 8192,
        largest_batch: int = 256,
    ) -> None:
        """`hosts` are the names under which clients may address it (no port; None: any): a page in a browser must
        not reach a loopback service under a name of its own."""
        self._corpus = corpus
        self._hosts = None if hosts is None else frozenset(host.casefold() for host in hosts)
        self._timeout_s = timeout_s
        self.batcher = Batcher(corpus.rank_many, most_waiting=most_waiting, largest_batch=largest_batch)
        self.metrics = ServiceMetrics()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Search while inside."""
        async with anyio.create_task_group() as group:
            group.start_soon(self.batcher.run)
            yield
            group.cancel_scope.cancel()

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        kind, extra = b"application/json", []
        try:
            self._check_host(scope)
            status, body, kind = await self._answer(scope, receive)
        except Refusal as refusal:
            status = refusal.status
            body = orjson.dumps({"detail": str(refusal)})
            if refusal.retry_after_s is not None:
                extra = [(b"retry-after", b"%d" % refusal.retry_after_s)]
        if scope["path"] == "/retrieve":
            self.metrics.count(status, time.perf_counter() - began)
        headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *extra]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Mapping[str, Any], receive: Receive) -> tuple[int, bytes, bytes]:
        match scope["method"], scope["path"]:
            case "POST", "/retrieve":
                return 200, await self._retrieve(await _body(receive)), b"application/json"
            case "GET" | "HEAD", "/health":
                health = {"status": "ok", "passages": len(self._corpus), "waiting": self.batcher.waiting}
                return 200, orjson.dumps(health), b"application/json"
            case "GET" | "HEAD", "/metrics":
                text = self.metrics.text(self.batcher.waiting, self.batcher.batches, self.batcher.searched)
                return 200, text.encode(), b"text/plain; version=0.0.4; charset=utf-8"
            case _, "/retrieve" | "/health" | "/metrics":
                raise Refusal(405, "use POST /retrieve, GET /health, GET /metrics")
            case _:
                raise Refusal(404, "nothing is here: use POST /retrieve, GET /health, GET /metrics")

    async def _retrieve(self, body: bytes) -> bytes:
        try:
            asked = parsed(body)
        except InputError as error:
            raise Refusal(422, str(error)) from error
        try:
            with anyio.fail_after(self._timeout_s):
                ranked = await self.batcher.ask(asked.queries, asked.topk)
        except BusyError as error:
            raise Refusal(429, str(error), error.retry_after_s) from error
        except TimeoutError as error:
            raise Refusal(503, f"no answer within {self._timeout_s:g} s: send less at once", 1) from error
        except (MiaError, RuntimeError, ValueError, OSError, AssertionError) as error:
            raise Refusal(500, f"the search failed ({type(error).__name__}): {error}") from error
        return self._rendered(asked, ranked)

    def _rendered(self, asked: Asked, ranked: Sequence[Ranked]) -> bytes:
        fragment = self._corpus.fragment
        return answer(asked, [[(fragment(place), score) for place, score in hits] for hits in ranked])

    def _check_host(self, scope: Mapping[str, Any]) -> None:
        if self._hosts is None:
            return
        host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").casefold()
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if name not in self._hosts:
            raise Refusal(421, f"this service does not answer to the name {name[:80]!r}: see server.allowed_hosts")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self.running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


async def _body(receive: Receive) -> bytes:
    message = await receive()
    body = message.get("body", b"")
    if not message.get("more_body"):
        return _bounded(body)
    parts = [body]
    size = len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the body ended early")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MOST_BYTES:
            break
    return _bounded(b"".join(parts))


def _bounded(body: bytes) -> bytes:
    if len(body) > MOST_BYTES:
        raise Refusal(413, f"the body has more than {MOST_BYTES >> 20} MiB: send fewer queries at once")
    return body
