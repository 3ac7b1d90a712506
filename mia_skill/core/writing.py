"""A file or folder that cannot be written, as one kind of error, with what to do about it."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from mia_skill.core.errors import UnwritableError

__all__ = ["FULL", "unwritable", "writing"]

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NO_RIGHT = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
NO_FOLDER = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EEXIST})


@contextmanager
def writing(what: object, *, fix: str = "") -> Iterator[None]:
    """Work that writes `what`, a path or a few words. Where one stands in another, the outer one adds its `fix`.

    Raises:
        UnwritableError: it cannot be written; the message says why and what helps (`fix`, if given, besides).
    """
    try:
        yield
    except UnwritableError as error:
        if not fix:
            raise
        raise UnwritableError(f"{error}, or {fix}") from error.__cause__
    except OSError as cause:
        raise unwritable(what, cause, fix) from cause


def unwritable(what: object, cause: OSError, fix: str = "") -> UnwritableError:
    """The error for what the system said."""
    why = cause.strerror or str(cause) or type(cause).__name__
    place = f" ({cause.filename})" if cause.filename and str(cause.filename) != str(what) else ""
    ways = [one for one in (_way(cause.errno), fix) if one]
    return UnwritableError(f"cannot write {what}: {why}{place}" + (": " + ", or ".join(ways) if ways else ""))


def _way(number: int | None) -> str:
    if number in FULL:
        return "make room on its disk"
    if number in NO_RIGHT:
        return "name a place that you may write to"
    if number in NO_FOLDER:
        return "name a place in a folder that exists"
    return ""
