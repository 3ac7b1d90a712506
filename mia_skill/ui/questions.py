"""Questions of the page as routes: a form in, an answer out, worked out in a thread."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import anyio.to_thread

from mia_skill.core.json_service import Route

__all__ = ["Question", "posts"]

T = TypeVar("T")
Question = tuple[str, Callable[..., object], type, str]
"""Its name, who answers, the form, and what it is about."""


def posts(questions: Iterable[Question]) -> list[Route]:
    """A POST below `/api/` for each. Banks and files are synchronous: another thread waits for them."""
    return [
        Route("POST", f"/api/{name}", partial(_away, handle), form=form, about=about)
        for name, handle, form, about in questions
    ]


async def _away(handle: Callable[[T], object], form: T) -> object:
    return await anyio.to_thread.run_sync(handle, form)
