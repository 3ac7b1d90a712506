"""Queries that come at the same time are answered by one search; more than can wait are turned away."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import anyio
import anyio.to_thread

from mia_skill.core.errors import MiaError, SearchError

__all__ = ["Batcher", "BusyError", "RankMany", "Ranked"]

Ranked = list[tuple[int, float]]
"""Positions of passages with their scores, best first."""


class RankMany(Protocol):
    """Ranks several queries at once; called from one worker thread at a time."""

    def __call__(self, queries: Sequence[str], k: int, /) -> Sequence[Ranked]: ...


class BusyError(SearchError):
    """More queries are waiting than may wait; come back in `retry_after_s`."""


@dataclass(eq=False)
class _Ask:
    """One caller's queries."""

    queries: Sequence[str]
    k: int
    since: float
    found: list[Ranked] = field(default_factory=list)
    error: Exception | None = None
    done: anyio.Event = field(default_factory=anyio.Event)

    @property
    def missing(self) -> int:
        return len(self.queries) - len(self.found)


class Batcher:
    """`run` works until it is cancelled; `ask` may be called by any number of tasks meanwhile.

    Nobody waits for company: what arrives during a search is the next one, so batches grow with the load by themselves.
    """

    def __init__(
        self,
        rank_many: RankMany,
        *,
        most_waiting: int = 8192,
        largest_batch: int = 256,
        timeout_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most_waiting` queries may wait, `largest_batch` are searched at once, `timeout_s` is a caller's patience."""
        self._rank_many = rank_many
        self._most_waiting = most_waiting
        self._largest = largest_batch
        self._timeout_s = timeout_s
        self._clock = clock
        self._asks: deque[_Ask] = deque()
        self._arrived = anyio.Event()
        self._seconds_per_query = 0.0
        self.waiting = 0
        """Queries not searched yet."""
        self.batches = 0
        self.searched = 0

    async def ask(self, queries: Sequence[str], k: int) -> list[Ranked]:
        """The `k` best of each query.

        Raises:
            BusyError: too many are waiting; nothing was begun.
            TimeoutError: no answer in time.
            MiaError: the search failed.
        """
        if not queries:
            return []
        if self.waiting + len(queries) > self._most_waiting:
            wait_s = max(1, math.ceil(self.waiting * self._seconds_per_query))
            raise BusyError(
                f"{self.waiting} queries are waiting, at most {self._most_waiting} may: come back in {wait_s} s",
                engine="corpus",
                retry_after_s=wait_s,
            )
        ask = _Ask(queries, k, self._clock())
        self._asks.append(ask)
        self.waiting += len(queries)
        self._arrived.set()
        try:
            await ask.done.wait()
        except BaseException:
            self._forget(ask)
            raise
        if ask.error is not None:
            raise ask.error
        return ask.found

    async def run(self) -> None:
        """Search whatever is asked, batch by batch. A search that fails fails its own callers, never this loop."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._let_go)
            while True:
                if not self._asks:
                    self._arrived = anyio.Event()
                    await self._arrived.wait()
                await self._serve(self._batch())

    async def _let_go(self) -> None:
        """Send away who has waited too long. One look at all of them now and then is cheaper than a timer each."""
        while True:
            await anyio.sleep(self._timeout_s / 8)
            latest = self._clock() - self._timeout_s
            for ask in [one for one in self._asks if one.since <= latest]:
                self._finish(ask, TimeoutError())

    def _batch(self) -> list[tuple[_Ask, Sequence[str]]]:
        """Waiting queries of like `k`, first come first served, at most `largest_batch`."""
        taken: list[tuple[_Ask, Sequence[str]]] = []
        room = self._largest
        for ask in self._asks:
            if not room:
                break
            if taken and ask.k != taken[0][0].k:
                continue
            part = ask.queries[len(ask.found) : len(ask.found) + room]
            taken.append((ask, part))
            room -= len(part)
        return taken

    async def _serve(self, batch: Sequence[tuple[_Ask, Sequence[str]]]) -> None:
        if not batch:
            return
        distinct = list(dict.fromkeys(query for _, part in batch for query in part))
        began = self._clock()
        try:
            ranked = await anyio.to_thread.run_sync(self._rank_many, distinct, batch[0][0].k)
        except (MiaError, RuntimeError, ValueError, OSError, AssertionError) as error:
            for ask, _ in batch:
                self._finish(ask, error)
            return
        found = dict(zip(distinct, ranked, strict=True))
        count = 0
        for ask, part in batch:
            ask.found += [found[query] for query in part]
            count += len(part)
            if ask in self._asks:
                self.waiting -= len(part)
            if not ask.missing:
                self._finish(ask, None)
        self.batches += 1
        self.searched += count
        self._seconds_per_query = 0.8 * self._seconds_per_query + 0.2 * (self._clock() - began) / count

    def _finish(self, ask: _Ask, error: Exception | None) -> None:
        self._forget(ask)
        ask.error = error
        ask.done.set()

    def _forget(self, ask: _Ask) -> None:
        if ask in self._asks:
            self._asks.remove(ask)
            self.waiting -= ask.missing
