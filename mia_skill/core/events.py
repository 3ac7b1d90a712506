"""Typed progress: what long work tells whoever waits for it (a progress bar, an MCP client, a log)."""

from typing import Protocol

from mia_skill.core.types import Value

__all__ = ["Event", "Listener", "silent"]


class Event(Value):
    """One step of a piece of work."""

    stage: str
    """"recall", "plan", "search", "replan", "judge", "store", "embed", ..."""
    message: str = ""
    done: int = 0
    total: int | None = None


class Listener(Protocol):
    """Receives events; must not raise."""

    async def __call__(self, event: Event, /) -> None: ...


async def silent(_event: Event, /) -> None:
    """A listener that listens to nothing."""
