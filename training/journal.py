"""A write-ahead journal: what was acknowledged is on disk first, and a line cut off by a kill is dropped at the next
start. One JSON line a record, each with its checksum."""

import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from mia_skill.core.errors import BankCorruptError, ConfigError, UnwritableError, boundary
from mia_skill.core.writing import writing

__all__ = ["Journal", "only_server", "only_updater"]


class Journal:
    """Appends are durable when they return. One process holds it at a time, and no second one opens it."""

    def __init__(self, path: Path) -> None:
        """Opens, and cuts a torn last line off.

        Raises:
            BankCorruptError: a line before the last is damaged.
            UnwritableError: the file cannot be opened, or another process holds it.
        """
        with writing(f"the journal {path.name}"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
        try:
            hold(cast(BinaryIO, self._file))
            self._kept = self._sound()
        except (BankCorruptError, UnwritableError):
            self._file.close()
            raise

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
            UnwritableError: it was not written.
        """
        body = orjson.dumps(record)
        with boundary(UnwritableError, "writing the journal", OSError, ValueError):
            self._file.write(b"%08x %s\n" % (zlib.crc32(body), body))
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
    mark, journal = folder / "updater", folder / "journal.log"
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
