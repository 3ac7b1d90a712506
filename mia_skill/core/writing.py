"""A file or folder that cannot be written, as one kind of error, with what to do about it."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from mia_skill.core.errors import UnwritableError

__all__ = ["FULL", "replacing", "unwritable", "writing"]

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


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text to write that takes the place of `path` when it is whole: a disk that fills up, or a kill, leaves what was
    there. A device or a pipe is written to as it is.

    Raises:
        UnwritableError: it cannot be written; what was there stays.
    """
    with writing(path):
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8") as out:
                yield out
            return
        real = path.resolve()
        partial = real.with_name(f".{real.name}.partial")
        try:
            with partial.open("w", encoding="utf-8") as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
            if real.exists():
                partial.chmod(stat.S_IMODE(real.stat().st_mode))
            partial.replace(real)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


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
