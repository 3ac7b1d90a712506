"""The one place where users plug their own feedback in: a reward function, from a file, a URL, or gold alone."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from runpy import run_path

import httpx

from mia_skill.core.errors import InputError

__all__ = ["Reward", "file_reward", "same_text", "url_reward"]

Reward = Callable[[str, str, str], Awaitable[float | None]]
"""(question, reply, gold) to a reward; None masks the sample."""


async def same_text(_question: str, reply: str, gold: str) -> float:
    """1 when the reply is the gold answer, whatever its case; else 0."""
    return float(reply.strip().casefold() == gold.strip().casefold())


def file_reward(path: Path) -> Reward:
    """`reward(question, reply, gold)` of a Python file of the user's own: the one place to plug feedback in.

    Raises:
        InputError: the file has no such function.
    """
    found = run_path(str(path)).get("reward")
    if not callable(found):
        raise InputError(f"{path.name} defines no reward(question, reply, gold)")

    async def reward(question: str, reply: str, gold: str) -> float | None:
        given: float | None = found(question, reply, gold)
        return given

    return reward


def url_reward(url: str) -> Reward:
    """A service that takes {question, reply, gold} and answers {"reward": number or null}. A failure masks."""

    async def reward(question: str, reply: str, gold: str) -> float | None:
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            try:
                told = await client.post(url, json={"question": question, "reply": reply, "gold": gold})
                value = told.raise_for_status().json()["reward"]
            except (httpx.HTTPError, ValueError, KeyError, TypeError):
                return None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    return reward
