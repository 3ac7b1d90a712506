"""Manners towards an engine: not too often (token bucket), not while it is down (breaker), not beyond a budget."""

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import anyio

from mia_skill.core.errors import BudgetExceeded, SearchError

__all__ = ["Breaker", "Bucket", "Purse"]

Clock = Callable[[], float]
FAILURES = 3
"""In a row, after which an engine is left alone."""
FIRST_PAUSE_S = 30.0
LONGEST_PAUSE_S = 900.0


@dataclass
class Bucket:
    """Lets `per_second` calls through; a short burst of one second's calls is allowed. Who comes too early waits."""

    engine: str
    per_second: float
    clock: Clock = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    _free_at: float = field(default=-math.inf, init=False)
    """When the bucket will be full again: each call moves it on by its share of a second."""

    async def take(self, most_s: float) -> None:
        """Return when the next call may be made. Callers are served in the order in which they came.

        Raises:
            SearchError: of kind "paused"; the wait would be longer than `most_s` seconds.
        """
        step = 1 / self.per_second
        burst = max(1.0, self.per_second) * step
        now = self.clock()
        free_at = max(self._free_at, now) + step
        wait = free_at - burst - now
        if wait > most_s:
            raise SearchError(
                f"{self.engine} may be asked {self.per_second:g} times a second and others wait already: try again in "
                f"{wait:.0f} s, or raise search.{self.engine}.per_second if your plan allows more",
                engine=self.engine,
                retry_after_s=wait,
                kind="paused",
            )
        self._free_at = free_at
        if wait > 1e-9:
            await self.sleep(wait)


@dataclass
class Breaker:
    """Leaves an engine alone after repeated failures, longer each time; then one call at a time may try it."""

    engine: str
    clock: Clock = time.monotonic
    failed: int = field(default=0, init=False)
    _closed_until: float = field(default=-math.inf, init=False)
    _pause_s: float = field(default=FIRST_PAUSE_S, init=False)
    _trying: bool = field(default=False, init=False)
    _last: str = field(default="", init=False)

    def enter(self) -> None:
        """Before a call.

        Raises:
            SearchError: of kind "paused"; the engine is not to be asked now.
        """
        left = self._closed_until - self.clock()
        if left > 0 or self._trying:
            raise SearchError(
                f"{self.engine} is left alone for {max(left, 1.0):.0f} s after {self.failed} failures; the last: "
                f"{self._last}",
                engine=self.engine,
                retry_after_s=max(left, 1.0),
                kind="paused",
            )
        self._trying = self.failed >= FAILURES

    def leave(self, error: SearchError | None) -> None:
        """After a call, with how it failed. Bad requests and our own pauses are no failures of the engine."""
        self._trying = False
        if error is None:
            self.failed, self._pause_s, self._closed_until = 0, FIRST_PAUSE_S, -math.inf
            return
        if error.kind in ("bad_request", "paused"):
            return
        self.failed += 1
        self._last = str(error)[:200]
        if self.failed >= FAILURES:
            self._closed_until = self.clock() + max(self._pause_s, error.retry_after_s or 0.0)
            self._pause_s = min(self._pause_s * 2, LONGEST_PAUSE_S)
        elif error.retry_after_s:
            self._closed_until = self.clock() + error.retry_after_s

    def abandon(self) -> None:
        """After a call that was cancelled: nothing was learnt."""
        self._trying = False


@dataclass
class Purse:
    """What one process may send to web engines. Calls are counted when they are sent, so the limit is never passed."""

    max_queries: int | None = None
    max_cost: float | None = None
    """US dollars."""
    queries: int = field(default=0, init=False)
    cost: float = field(default=0.0, init=False)

    def pay(self, price: float) -> None:
        """Before a call.

        Raises:
            BudgetExceeded: with it a limit would be passed; nothing is counted.
        """
        if self.max_queries is not None and self.queries + 1 > self.max_queries:
            raise BudgetExceeded(
                f"the budget of {self.max_queries} web queries is spent: raise search.max_queries", limit="web_queries"
            )
        if self.max_cost is not None and self.cost + price > self.max_cost + 1e-9:
            raise BudgetExceeded(
                f"the budget of {self.max_cost:g} dollars for web queries is spent ({self.cost:g} so far): raise "
                "search.max_cost",
                limit="web_cost",
            )
        self.queries += 1
        self.cost += price
