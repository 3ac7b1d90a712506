"""How many calls are at work at once; who comes when the queue is full is told when to come again."""

import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from mcp.server.mcpserver.exceptions import ToolError

__all__ = ["Turnstile"]

LONGEST_RETRY_S = 60
WEIGHT = 0.2
"""Of the latest call in the mean duration."""


@dataclass
class Turnstile:
    """Lets `places` calls work and as many again wait."""

    places: int
    clock: Callable[[], float] = time.monotonic
    mean_s: float = 0.1
    """How long a call takes, as a running mean."""
    waiting: int = 0
    _room: anyio.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._room = anyio.Semaphore(self.places)

    @asynccontextmanager
    async def enter(self) -> AsyncIterator[None]:
        """A place, perhaps after waiting.

        Raises:
            ToolError: too many wait already; the message says when to retry.
        """
        if self.waiting >= self.places:
            raise ToolError(f"The server is busy: retry in {self.retry_s()} s.")
        self.waiting += 1
        try:
            await self._room.acquire()
        finally:
            self.waiting -= 1
        began = self.clock()
        try:
            yield
        finally:
            self._room.release()
            self.mean_s += WEIGHT * (self.clock() - began - self.mean_s)

    def retry_s(self) -> int:
        """When one that comes now would be served, in whole seconds."""
        return min(LONGEST_RETRY_S, math.ceil(self.mean_s * (self.waiting + 1) / self.places))
