"""The one place where users plug their own feedback in: a reward function, from a file, a URL, or gold alone.

A reward function that fails is no reward: the sample is answered, waits, and can be rewarded later. It is never a 0,
and never quietly nothing.
"""

import inspect
import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from runpy import run_path

import anyio
import anyio.to_thread
import httpx

from mia_skill.core.errors import InputError, JudgeError, boundary
from mia_skill.core.shown_address import shown_address

__all__ = ["Reward", "RewardFailed", "file_reward", "same_text", "url_reward"]

Reward = Callable[[str, str, str], Awaitable[float | None]]
"""(question, reply, gold) to a reward; None masks the sample. Raises: RewardFailed."""
FORM = "reward(question, reply, gold)"


class RewardFailed(JudgeError):
    """A user's reward function gave nothing that could be used. Never means 0."""

    def __init__(self, message: str) -> None:
        super().__init__(message, raw="")


async def same_text(_question: str, reply: str, gold: str) -> float:
    """1 when the reply is the gold answer, whatever its case; else 0."""
    return float(reply.strip().casefold() == gold.strip().casefold())


def file_reward(path: Path) -> Reward:
    """`reward(question, reply, gold)` of a Python file of the user's own, plain or async. A plain one runs in a thread,
    one call at a time, so that a slow judge does not hold up whoever is served.

    Raises:
        InputError: the file cannot be loaded, or has no such function.
    """
    with boundary(InputError, f"loading {path}", Exception):
        found = run_path(str(path)).get("reward")
    if not callable(found):
        raise InputError(f"{path.name} defines no {FORM}")
    one_call = anyio.CapacityLimiter(1)

    async def reward(question: str, reply: str, gold: str) -> float | None:
        with boundary(RewardFailed, f"{FORM} of {path.name}", Exception):
            if inspect.iscoroutinefunction(found):
                told = await found(question, reply, gold)
            else:
                told = await anyio.to_thread.run_sync(found, question, reply, gold, limiter=one_call)
        return number_of(told, f"{FORM} of {path.name}")

    return reward


def url_reward(url: str) -> Reward:
    """A service that takes {question, reply, gold} and answers {"reward": number or null}."""
    where = f"the reward service at {shown_address(url)}"

    async def reward(question: str, reply: str, gold: str) -> float | None:
        failures = (httpx.HTTPError, ValueError, KeyError, TypeError)
        async with httpx.AsyncClient(timeout=60, trust_env=False) as client:
            with boundary(RewardFailed, where, *failures):
                told = await client.post(url, json={"question": question, "reply": reply, "gold": gold})
                if told.is_error:  # httpx would name the whole address
                    raise RewardFailed(f"{where} answered {told.status_code}")
                value = told.json()["reward"]
        return number_of(value, where)

    return reward


def number_of(told: object, who: str) -> float | None:
    """A reward, or None. Raises: RewardFailed: it is neither."""
    if told is None:
        return None
    if isinstance(told, int | float) and math.isfinite(told):
        return float(told)
    raise RewardFailed(f"{who} gave {str(told)[:80]!r}: a finite number is needed, or nothing to leave a reply out")
