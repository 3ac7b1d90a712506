"""A write-ahead journal: what was acknowledged is on disk first, and a line cut off by a kill is dropped at the next
start. One JSON line a record, each with its checksum."""

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from mia_skill.core.errors import BankCorruptError, ConfigError, UnwritableError, boundary
from mia_skill.core.writing import writing

__all__ = ["JOURNAL", "Journal", "only_server", "only_updater"]

JOURNAL = "journal.log"
"""Its name in the folder of a stream."""


class Journal:
    """Appends are durable when they return. One process holds it at a time, and no second one opens it."""

    def __init__(self, path: Path) -> None:
        """Opens, and cuts a torn last line off. What a rewriting left that was killed is taken away.

        Raises:
            BankCorruptError: a line before the last is damaged.
            UnwritableError: the file cannot be opened, or another process holds it.
        """
        self._path = path
        with writing(f"the journal {path.name}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
        try:
            hold(cast(BinaryIO, self._file))
            self._still_there()
            self._partial.unlink(missing_ok=True)
            self._kept = self._sound()
        except (BankCorruptError, UnwritableError):
            self._file.close()
            raise

    @property
    def _partial(self) -> Path:
        return self._path.with_name(f"{self._path.name}.partial")

    def _still_there(self) -> None:
        """Raise where another process put a rewritten file in place between the opening and the lock.

        Raises:
            UnwritableError: see above.
        """
        if not os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
            raise UnwritableError(f"{self._path} was being rewritten: try again")

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._file.fileno()).st_size

    def _sound(self) -> list[dict[str, Any]]:
        self._file.seek(0)
        body = self._file.read() or b""
        records, at = [], 0
        lines = body.splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            record = read(line)
            if record is None and number < len(lines):
                raise BankCorruptError(f"line {number} of the journal is damaged: restore it from a copy")
            if record is not None:
                records.append(record)
                at += len(line)
        self._file.truncate(at)
        return records

    def records(self) -> Iterator[dict[str, Any]]:
        """What was there when it was opened, oldest first. Told once: it is not held any longer."""
        kept, self._kept = self._kept, []
        yield from kept

    def append(self, record: Mapping[str, object]) -> None:
        """Write one record through to the disk.

        Raises:
            UnwritableError: it was not written; nothing of it is in the file.
        """
        line = line_of(record)
        with boundary(UnwritableError, "writing the journal", OSError, ValueError):
            before = self.size
            try:
                while line:  # a disk that is nearly full takes a part, and says so only by its number
                    line = line[self._file.write(line) or 0 :]
                os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(before)  # or the next line would be joined to half a one
                raise

    def rewrite(self, records: Iterable[Mapping[str, object]]) -> None:
        """Put these in the place of all records. Killed at any point, the old file or the new one is there, and whole:
        the new one is written beside it, through to the disk, and renamed.

        Raises:
            UnwritableError: it could not be written; the old one stands.
        """
        with writing(f"the journal {self._path.name} anew"):
            self._partial.unlink(missing_ok=True)
            fresh = self._partial.open("a+b", buffering=0)
            try:
                hold(cast(BinaryIO, fresh))
                with open(fresh.fileno(), "ab", closefd=False) as many:
                    many.writelines(map(line_of, records))
                os.fsync(fresh.fileno())
                os.replace(self._partial, self._path)
            except BaseException:
                fresh.close()
                self._partial.unlink(missing_ok=True)
                raise
            self._file.close()
            self._file = fresh
            through(self._path.parent)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def line_of(record: Mapping[str, object]) -> bytes:
    """A record as a line."""
    body = orjson.dumps(record)
    return b"%08x %s\n" % (zlib.crc32(body), body)


def through(folder: Path) -> None:
    """Write a renaming through to the disk, where folders can be opened (not on Windows)."""
    try:
        place = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(place)
    finally:
        os.close(place)


def hold(file: BinaryIO) -> None:
    """Keep other processes out until the file is closed, or this one ends. Where there are no such locks (Windows,
    some network file systems) nobody is kept out.

    Raises:
        UnwritableError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        raise UnwritableError(
            f"{file.name} is held by another process: one stream has one server. Stop that one, or give --folder"
        ) from None
    except OSError:  # a file system without locks
        return


@contextmanager
def only_server(folder: Path) -> Iterator[None]:
    """Be the one process that serves a folder: asked for before anything in it is cleared away.

    Raises:
        UnwritableError: another process serves it, or it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("ab")
    with file:
        hold(file)
        yield


def only_updater(folder: Path, kind: str) -> None:
    """Note who makes the versions of a folder: another one could not load what it kept. One that holds no sample yet
    is free.

    Raises:
        ConfigError: it is another updater's.
        UnwritableError: it cannot be written.
    """
    mark, journal = folder / "updater", folder / JOURNAL
    with writing(folder):
        before = mark.read_text(encoding="utf-8").strip() if mark.exists() else kind
        if before != kind and journal.exists() and journal.stat().st_size:
            raise ConfigError(
                f"{folder} holds a stream of the updater {before}: give another --folder, or --updater {before}"
            )
        mark.write_text(f"{kind}\n", encoding="utf-8")


def read(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None when it is torn or damaged."""
    check, _, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or check != b"%08x" % zlib.crc32(body):
        return None
    record: dict[str, Any] = orjson.loads(body)
    return record
