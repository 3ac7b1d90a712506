"""The same question asked again: one call serves all who wait for it, and its answer serves for a while."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio

from mia_skill.core.errors import MiaError

__all__ = ["Repeats"]

Key = TypeVar("Key", bound=Hashable)
Answer = TypeVar("Answer")

KEPT = 512
KEPT_S = 900.0
"""Seconds: long enough for one piece of research, short enough for news."""


@dataclass
class _Flight(Generic[Answer]):
    landed: anyio.Event = field(default_factory=anyio.Event)
    answer: Answer | None = None
    error: MiaError | None = None


class Repeats(Generic[Key, Answer]):
    """Answers are kept; errors reach everybody who waits, and are not kept."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, kept: int = KEPT) -> None:
        """`clock` gives seconds; `kept` answers are kept at most."""
        self._clock = clock
        self._most = kept
        self._flights: dict[Key, _Flight[Answer]] = {}
        self._kept: OrderedDict[Key, tuple[float, Answer]] = OrderedDict()

    async def once(self, key: Key, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """The answer of `ask`, of an equal call under way, or of one made less than 15 minutes ago.

        Raises:
            MiaError: what `ask` raised.
        """
        while True:
            if (kept := self._kept.get(key)) is not None and self._clock() - kept[0] < KEPT_S:
                return kept[1]
            flight = self._flights.get(key)
            if flight is None:
                return await self._fly(key, ask)
            await flight.landed.wait()
            if flight.error is not None:
                raise flight.error
            if flight.answer is not None:
                return flight.answer
            # The caller who made the call was cancelled: somebody else makes it.

    async def _fly(self, key: Key, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        flight = self._flights[key] = _Flight[Answer]()
        try:
            flight.answer = await ask()
        except MiaError as error:
            flight.error = error
            raise
        finally:
            del self._flights[key]
            flight.landed.set()
        self._kept[key] = self._clock(), flight.answer
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return flight.answer
