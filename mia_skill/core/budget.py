"""Limits that end an episode cleanly."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import BudgetExceeded
from mia_skill.core.types import StopReason, Usage

__all__ = ["Meter", "stop_reason"]

LIMITS = {
    "steps": StopReason.STEP_LIMIT,
    "searches": StopReason.SEARCH_LIMIT,
    "tokens": StopReason.TOKEN_LIMIT,
    "seconds": StopReason.TIME_LIMIT,
    "money": StopReason.MONEY_LIMIT,
}


def stop_reason(error: BudgetExceeded) -> StopReason:
    """The reason an episode carries when this limit ended it."""
    return LIMITS[error.limit]


@dataclass
class Meter:
    """Counts what one episode spends and stops it at the first limit reached."""

    limits: BudgetConfig
    clock: Callable[[], float] = time.monotonic
    usage: Usage = field(default_factory=Usage)
    steps: int = 0
    tool_seconds: float = 0.0
    """Spent waiting for tools, where whoever calls them says so."""
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    def charge(self, usage: Usage) -> None:
        """Add what a call cost. Never raises: what is already spent is recorded first."""
        self.usage = self.usage + usage

    def step(self) -> None:
        """Begin one more step.

        Raises:
            BudgetExceeded: a limit is reached; nothing further may be started.
        """
        spent = {
            "steps": float(self.steps),
            "searches": float(self.usage.searches),
            "tokens": float(self.usage.prompt_tokens + self.usage.completion_tokens),
            "seconds": self.clock() - self.started,
            "money": self.limits.prices.cost(self.usage),
        }
        for name, amount in spent.items():
            limit = getattr(self.limits, name)
            if limit is not None and amount >= limit:
                raise spent_up(name, limit)
        self.steps += 1

    @property
    def searches_left(self) -> int:
        """How many more calls of tools may be made."""
        return max(0, self.limits.searches - self.usage.searches)

    @contextmanager
    def within(self) -> Iterator[None]:
        """Work that ends with the episode's time, whatever it is waiting for.

        Raises:
            BudgetExceeded: the time is up; the work was cancelled.
        """
        left = self.limits.seconds - (self.clock() - self.started)
        with anyio.move_on_after(left) as scope:
            yield
        if scope.cancelled_caught:
            raise spent_up("seconds", self.limits.seconds)


def spent_up(name: str, limit: float) -> BudgetExceeded:
    """The error that ends an episode."""
    return BudgetExceeded(f"the budget of {limit:g} {name} is spent", limit=name)
