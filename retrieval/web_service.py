"""`GET /server/search` over the configured web engines (spec section 11), with `/metrics`; plain ASGI.

One query is answered with a list of hits, several with a list of such lists. A hit has the names of both of upstream's
clients (`url`/`href`, `snippet`/`body`). `deterministic=true` asks nobody: what is not kept is a 404.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import anyio
import orjson

from mia_skill.core.asgi import JSON, TEXT, Receive, Refusal, Send, check_host, host_names, lifespan, reply
from mia_skill.core.errors import BudgetExceeded, InputError, MiaError, SearchError
from mia_skill.core.types import Passage
from retrieval.search import SearchEngine
from retrieval.service_metrics import ServiceMetrics
from retrieval.web import Fallback, WebEngine

__all__ = ["WebService"]

MOST_QUERIES = 20
MOST_RESULTS = 50
MOST_AT_ONCE = 256
"""Requests under way; the next one is told to come back."""
STATUS = {"rate_limited": 429, "paused": 429, "timeout": 504, "bad_request": 400, "replay": 404}
"""Of a failed search; the others are a 502: the engine is at fault."""


class WebService:
    """An ASGI application over one engine or several."""

    def __init__(
        self, engine: SearchEngine, *, hosts: Collection[str] | None = None, most_at_once: int = MOST_AT_ONCE
    ) -> None:
        """`hosts` are the names under which clients may address it (None: any)."""
        self._engine = engine
        self._hosts = host_names(hosts)
        self._most_at_once = most_at_once
        self._busy = 0
        self.metrics = ServiceMetrics()
        self._queries = 0

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        began, kind, later = time.perf_counter(), JSON, None
        try:
            check_host(scope, self._hosts)
            status, body, kind = await self._answer(scope)
        except Refusal as refusal:
            status, body, later = refusal.status, orjson.dumps({"detail": str(refusal)}), refusal.retry_after_s
        if scope["path"] in ("/server/search", "/search"):
            self.metrics.count(status, time.perf_counter() - began)
        await reply(send, status, body, kind, retry_after_s=later)

    async def _answer(self, scope: Mapping[str, Any]) -> tuple[int, bytes, bytes]:
        if scope["method"] not in ("GET", "HEAD"):
            raise Refusal(405, "use GET /server/search?q=..., GET /health, GET /metrics")
        match scope["path"]:
            case "/server/search" | "/search":
                return 200, await self._search(scope["query_string"]), JSON
            case "/health":
                return 200, orjson.dumps({"status": "ok", "engine": self._engine.name}), JSON
            case "/metrics":
                return 200, self._page().encode(), TEXT
            case _:
                raise Refusal(404, "nothing is here: use GET /server/search?q=..., GET /health, GET /metrics")

    async def _search(self, query_string: bytes) -> bytes:
        form = parse_qs(query_string.decode("latin-1"), keep_blank_values=True, max_num_fields=100)
        queries = form.get("q", [])
        if not 1 <= len(queries) <= MOST_QUERIES:
            raise Refusal(400, f"give 1 to {MOST_QUERIES} queries as q")
        k = whole(form.get("max_results", ["3"])[-1])
        engine = self._picked(form.get("engine", [""])[-1])
        only_kept = form.get("deterministic", ["false"])[-1].lower() in ("true", "1")
        if self._busy >= self._most_at_once:
            raise Refusal(429, f"{self._busy} searches are under way: try again in a second", 1)
        self._busy += 1
        try:
            found = await self._all(engine, queries, k, only_kept=only_kept)
        finally:
            self._busy -= 1
        results = [hits(one) for one in found]
        return orjson.dumps(
            {
                "request_id": uuid4().hex,
                "tool": {"name": engine.name, "version": "1"},
                "result": results[0] if len(queries) == 1 else results,
                "stat": {"cache": only_kept},
            }
        )

    async def _all(
        self, engine: SearchEngine, queries: Sequence[str], k: int, *, only_kept: bool
    ) -> list[tuple[Passage, ...]]:
        """Every query's passages; one failure is the request's, for a missing list would read as "no results"."""
        found: list[tuple[Passage, ...]] = [()] * len(queries)
        failures: list[Refusal] = []

        async def one(place: int, query: str) -> None:
            try:
                found[place] = await (self._from_disk(engine, query, k) if only_kept else engine.search(query, k))
            except Refusal as refusal:
                failures.append(refusal)
            except MiaError as error:
                failures.append(refused(error))

        self._queries += len(queries)
        async with anyio.create_task_group() as group:
            for place, query in enumerate(queries):
                group.start_soon(one, place, query)
        if failures:
            raise failures[0]
        return found

    async def _from_disk(self, engine: SearchEngine, query: str, k: int) -> tuple[Passage, ...]:
        found = await engine.kept(query, k) if isinstance(engine, WebEngine | Fallback) else None
        if found is None:
            raise Refusal(404, f"no answer is kept for {query[:200]!r}: ask once without deterministic=true")
        return found

    def _picked(self, name: str) -> SearchEngine:
        """The engine that the request names; all of them in their order without a name."""
        if name in ("", self._engine.name):
            return self._engine
        found = self._engine.pick(name) if isinstance(self._engine, Fallback) else None
        if found is None:
            raise Refusal(400, f"the engine {name[:80]!r} is not configured: here is {self._engine.name}")
        return found

    def _page(self) -> str:
        engines = self._engine.engines if isinstance(self._engine, Fallback) else (self._engine,)
        counted = [one for one in engines if isinstance(one, WebEngine)]
        lines = [
            "# TYPE mia_search_queries_total counter",
            f"mia_search_queries_total {self._queries}",
            "# TYPE mia_search_busy gauge",
            f"mia_search_busy {self._busy}",
            "# TYPE mia_search_engine_calls_total counter",
            *(f'mia_search_engine_calls_total{{engine="{one.name}"}} {one.asked}' for one in counted),
            "# TYPE mia_search_engine_kept_total counter",
            *(f'mia_search_engine_kept_total{{engine="{one.name}"}} {one.from_cache}' for one in counted),
        ]
        return "\n".join([*lines, *self.metrics.timings("search")]) + "\n"


def hits(passages: Sequence[Passage]) -> list[dict[str, object]]:
    """Passages under the names that both of upstream's clients read."""
    return [
        {
            "title": one.title,
            "url": one.url,
            "href": one.url,
            "snippet": one.text,
            "body": one.text,
            "published": one.published,
            "engine": one.source,
        }
        for one in passages
    ]


def whole(text: str) -> int:
    """A number of results."""
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MOST_RESULTS:
        raise Refusal(400, f"max_results must be a number from 1 to {MOST_RESULTS}")
    return int(text[:9])


def refused(error: MiaError) -> Refusal:
    """A failed search as a status: never an empty list."""
    if isinstance(error, SearchError):
        return Refusal(STATUS.get(error.kind, 502), str(error), error.retry_after_s)
    if isinstance(error, InputError):
        return Refusal(400, str(error))
    return Refusal(402 if isinstance(error, BudgetExceeded) else 500, str(error))
