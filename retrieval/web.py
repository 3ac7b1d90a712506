"""Web search: each engine with its limits, cache and breaker; several engines in order; equal searches made once."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from mia_skill.core.config import EngineConfig, SearchConfig
from mia_skill.core.errors import BudgetExceeded, ConfigError, Failure, MiaError, SearchError
from mia_skill.core.require import require
from mia_skill.core.shown_address import shown_address
from mia_skill.core.types import Passage
from retrieval.answers import AnswerCache
from retrieval.backends import DdgsBackend, HttpBackend, WebBackend
from retrieval.dialects import DIALECTS
from retrieval.hits import Hit, passages_of
from retrieval.repeats import Repeats
from retrieval.search import SearchEngine, checked
from retrieval.tape import Tape, TapedSearch
from retrieval.throttle import Breaker, Bucket, Purse

__all__ = ["Fallback", "Manners", "WebEngine", "build_web"]

PAUSE_S = 0.3
"""Before an engine that is out of order is asked once more; doubled each time."""
DDGS_PER_SECOND = 0.5
"""The free engines behind it block a faster caller for hours (facts 4, complaint 5)."""
NAMES = ("none", "ddgs", *DIALECTS)


@dataclass(frozen=True)
class Manners:
    """How one engine is treated."""

    timeout_s: float = 10.0
    retries: int = 0
    price: float = 0.0
    bucket: Bucket | None = None
    breaker: Breaker | None = None
    purse: Purse = field(default_factory=Purse)
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep


class WebEngine:
    """A backend with its manners, its hits made passages, one per page; equal searches at a time are made once."""

    def __init__(
        self,
        backend: WebBackend,
        *,
        timeout_s: float = 10.0,
        manners: Manners | None = None,
        cache: AnswerCache | None = None,
    ) -> None:
        """`timeout_s` counts where no `manners` are given."""
        self._backend = backend
        self._manners = manners or Manners(timeout_s=timeout_s)
        self._cache = cache
        self._repeats: Repeats[tuple[str, int], tuple[Passage, ...]] = Repeats()
        self.asked = 0
        """Calls sent."""
        self.from_cache = 0
        """Searches answered from the disk."""

    @property
    def name(self) -> str:
        return self._backend.name

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """At most `k` passages of origin "web", best first; empty when the engine says that there are none.

        Raises:
            InputError: the query is empty or too long, or `k` is out of range.
            SearchError: the engine was blocked, throttled, unreachable, too slow, or answered something else.
            BudgetExceeded: the budget for web queries is spent.
        """
        query = checked(query, k)
        return await self._repeats.once((query, k), partial(self._find, query, k))

    async def kept(self, query: str, k: int) -> tuple[Passage, ...] | None:
        """The answer on disk; None when there is none. Asks nobody."""
        if self._cache is None:
            return None
        hits = await anyio.to_thread.run_sync(self._cache.get, self.name, checked(query, k), k)
        if hits is not None:
            self.from_cache += 1
        return None if hits is None else passages_of(hits, self.name)[:k]

    async def aclose(self) -> None:
        """Close connections and the cache."""
        await self._backend.aclose()
        if self._cache is not None:
            await anyio.to_thread.run_sync(self._cache.close)

    async def _find(self, query: str, k: int) -> tuple[Passage, ...]:
        if (kept := await self.kept(query, k)) is not None:
            return kept
        hits = await self._guarded(query, k)
        if self._cache is not None:
            await anyio.to_thread.run_sync(self._cache.put, self.name, query, k, hits)
        return passages_of(hits, self.name)[:k]

    async def _guarded(self, query: str, k: int) -> list[Hit]:
        """The call within its breaker."""
        breaker = self._manners.breaker
        if breaker is None:
            return await self._timed(query, k)
        breaker.enter()
        try:
            hits = await self._timed(query, k)
        except SearchError as error:
            breaker.leave(error)
            raise
        except BaseException:
            breaker.abandon()
            raise
        breaker.leave(None)
        return hits

    async def _timed(self, query: str, k: int) -> list[Hit]:
        limit = self._manners.timeout_s
        await self._turn()
        try:
            with anyio.fail_after(limit):
                return await self._asked(query, k)
        except TimeoutError as cause:
            raise SearchError(
                f"{self.name} did not answer within {limit:g} s: try again, or raise search.timeout_s",
                engine=self.name,
                kind="timeout",
            ) from cause

    async def _asked(self, query: str, k: int) -> list[Hit]:
        """The call; made again while the engine is out of order."""
        manners = self._manners
        for attempt in range(manners.retries):
            try:
                return await self._backend.fetch(query, k)
            except SearchError as error:
                if error.kind != "upstream_error":
                    raise
            await manners.sleep(PAUSE_S * 2**attempt)
            await self._turn()
        return await self._backend.fetch(query, k)

    async def _turn(self) -> None:
        """Wait for one's turn, which is no time of the engine's, and pay."""
        manners = self._manners
        if manners.bucket is not None:
            await manners.bucket.take(manners.timeout_s)
        manners.purse.pay(manners.price)
        self.asked += 1


class Fallback:
    """Engines in order: the first that answers. "No results" is an answer; only failures go on to the next."""

    def __init__(self, engines: Sequence[WebEngine]) -> None:
        self.engines = tuple(engines)

    @property
    def name(self) -> str:
        return ",".join(engine.name for engine in self.engines)

    def pick(self, name: str) -> WebEngine | None:
        """One of the engines by its name."""
        return next((engine for engine in self.engines if engine.name == name), None)

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """At most `k` passages of the first engine that answers; each names it as its source.

        Raises:
            InputError: the query is empty or too long, or `k` is out of range.
            SearchError: every engine failed; the message has a line for each.
            BudgetExceeded: nothing but the budget stood in the way.
        """
        failures: list[MiaError] = []
        for engine in self.engines:
            try:
                return await engine.search(query, k)
            except (SearchError, BudgetExceeded) as failure:
                failures.append(failure)
        raise combined(failures)

    async def kept(self, query: str, k: int) -> tuple[Passage, ...] | None:
        """The first answer on disk; None when there is none."""
        for engine in self.engines:
            if (found := await engine.kept(query, k)) is not None:
                return found
        return None

    async def aclose(self) -> None:
        """Close all engines."""
        for engine in self.engines:
            await engine.aclose()


def combined(failures: Sequence[MiaError]) -> MiaError:
    """One error for several."""
    if len(failures) == 1:
        return failures[0]
    said = [one for one in failures if isinstance(one, SearchError)]
    if not said:
        return failures[0]
    waits = [one.retry_after_s for one in said if one.retry_after_s is not None]
    kind: Failure = said[0].kind if len({one.kind for one in said}) == 1 else "upstream_error"
    return SearchError(
        "no engine answered:\n" + "\n".join(f"- {one}" for one in failures),
        engine=",".join(one.engine for one in said),
        retry_after_s=min(waits, default=None),
        kind=kind,
    )


def build_web(config: SearchConfig, cache: Path | None = None, tape: Tape | None = None) -> SearchEngine | None:
    """The engines that `config` names, in their order; None when it names none. Answers are kept in the file `cache`.
    With a replaying `tape` no engine is made, so that no key is needed.

    Raises:
        ConfigError: no such engine, or its key or address cannot be used.
        MissingExtraError: its package is not installed.
    """
    names = config.web
    for name in names:
        if name not in NAMES:
            known = ", ".join(repr(one) for one in NAMES)
            raise ConfigError(f"search.web {name!r} is unknown: use {known}")
    if tape is not None and config.replay is not None:
        return TapedSearch(None, tape, ",".join(names) or "replay")
    if not names:
        return None
    if "ddgs" in names:
        require("ddgs", extra="web")  # before another engine has opened its cache
    purse = Purse(config.max_queries, config.max_cost)
    made = [_engine(name, config, purse, cache) for name in dict.fromkeys(names)]
    engine = made[0] if len(made) == 1 else Fallback(made)
    return engine if tape is None else TapedSearch(engine, tape, engine.name)


def _engine(name: str, config: SearchConfig, purse: Purse, cache: Path | None) -> WebEngine:
    settings: EngineConfig = getattr(config, name)
    first = name == config.web[0]
    key = settings.key or (config.web_key if first else None)
    url = settings.url or (config.web_url if first else None)
    if url is not None and not url.startswith(("http://", "https://", *(("socks5",) if name == "ddgs" else ()))):
        raise ConfigError(f"search.web_url {shown_address(url)!r} must start with http:// or https://")
    backend: WebBackend
    if name == "ddgs":
        backend, rate = DdgsBackend.from_package(proxy=url, timeout_s=config.timeout_s), DDGS_PER_SECOND
    else:
        dialect = DIALECTS[name]
        if dialect.needs_key and key is None and url is None:
            raise ConfigError(
                f"search.web is {name!r}: set search.web_key (MIA_SEARCH__WEB_KEY) or search.{name}.key to its key"
            )
        backend, rate = HttpBackend(dialect, key, url=url), dialect.per_second
    manners = Manners(
        timeout_s=config.timeout_s,
        retries=config.retries,
        price=settings.price,
        bucket=Bucket(name, settings.per_second or rate),
        breaker=Breaker(name),
        purse=purse,
    )
    keep = cache is not None and config.cache_s > 0
    kept = AnswerCache(cache, ttl_s=config.cache_s, empty_ttl_s=config.cache_empty_s) if keep and cache else None
    return WebEngine(backend, manners=manners, cache=kept)
