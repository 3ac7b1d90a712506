"""Several pieces of work at once, with one error in place of a group of them."""

from collections.abc import Awaitable, Callable, Iterable

import anyio

from mia_skill.core.errors import MiaError

__all__ = ["together"]


async def together(works: Iterable[Callable[[], Awaitable[object]]], *, most: int | None = None) -> None:
    """All of them, at most `most` at a time, begun in their order.

    Raises:
        MiaError: the first that one of them raised, as itself; the others were cancelled.
    """
    failed: list[MiaError] = []
    places = anyio.Semaphore(most) if most is not None else None

    async def one(work: Callable[[], Awaitable[object]]) -> None:
        try:
            if places is None:
                await work()
            else:
                async with places:
                    await work()
        except MiaError as error:
            failed.append(error)
            group.cancel_scope.cancel()
        except ExceptionGroup as errors:  # of the task groups inside the work, such as a client's
            ours, others = errors.split(MiaError)
            if ours is None or others is not None:
                raise
            failed.append(first(ours))
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        for work in works:
            group.start_soon(one, work)
    if failed:
        raise failed[0]


def first(errors: ExceptionGroup[MiaError]) -> MiaError:
    """The first of a group and the groups in it."""
    inner = errors.exceptions[0]
    return first(inner) if isinstance(inner, ExceptionGroup) else inner
