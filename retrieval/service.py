"""`POST /retrieve` over a corpus, a drop-in for Search-R1's server, with `/health` and `/metrics`; plain ASGI."""

import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import anyio
import orjson

from mia_skill.core.asgi import JSON, TEXT, Receive, Refusal, Send, check_host, host_names, lifespan, read_body, reply
from mia_skill.core.errors import InputError, MiaError
from retrieval.batcher import Batcher, BusyError, Ranked
from retrieval.retrieve_form import Asked, answer, parsed
from retrieval.service_metrics import ServiceMetrics

__all__ = ["RetrieveService", "Searchable"]

MOST_BYTES = 4 << 20
"""Of a request."""


class Searchable(Protocol):
    """What is served."""

    def __len__(self) -> int: ...

    def rank_many(self, queries: Sequence[str], k: int, /) -> Sequence[Ranked]: ...

    def fragment(self, place: int) -> bytes: ...


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
        self._hosts = host_names(hosts)
        self._timeout_s = timeout_s
        self.batcher = Batcher(
            corpus.rank_many, most_waiting=most_waiting, largest_batch=largest_batch, timeout_s=timeout_s
        )
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
            await lifespan(receive, send, self.running)
            return
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        kind, later = JSON, None
        try:
            check_host(scope, self._hosts)
            status, body, kind = await self._answer(scope, receive)
        except Refusal as refusal:
            status, body, later = refusal.status, orjson.dumps({"detail": str(refusal)}), refusal.retry_after_s
        if scope["path"] == "/retrieve":
            self.metrics.count(status, time.perf_counter() - began)
        await reply(send, status, body, kind, retry_after_s=later)

    async def _answer(self, scope: Mapping[str, Any], receive: Receive) -> tuple[int, bytes, bytes]:
        match scope["method"], scope["path"]:
            case "POST", "/retrieve":
                return 200, await self._retrieve(await read_body(receive, MOST_BYTES, items="queries")), JSON
            case "GET" | "HEAD", "/health":
                health = {"status": "ok", "passages": len(self._corpus), "waiting": self.batcher.waiting}
                return 200, orjson.dumps(health), JSON
            case "GET" | "HEAD", "/metrics":
                text = self.metrics.text(self.batcher.waiting, self.batcher.batches, self.batcher.searched)
                return 200, text.encode(), TEXT
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
