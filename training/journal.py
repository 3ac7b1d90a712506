"""A write-ahead journal: what was acknowledged is on disk first, and a line cut off by a kill is dropped at the next
start. One JSON line a record, each with its checksum."""

import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from mia_skill.core.errors import BankCorruptError, BankUnwritableError, boundary

__all__ = ["Journal"]


class Journal:
    """Appends are durable when they return. One process writes it at a time."""

    def __init__(self, path: Path) -> None:
        """Opens, and cuts a torn last line off.

        Raises:
            BankCorruptError: a line before the last is damaged.
            BankUnwritableError: the file cannot be opened.
        """
        with boundary(BankUnwritableError, f"the journal {path.name}", OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
        try:
            self._kept = self._sound()
        except BankCorruptError:
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
            BankUnwritableError: it was not written.
        """
        body = orjson.dumps(record)
        with boundary(BankUnwritableError, "writing the journal", OSError, ValueError):
            self._file.write(b"%08x %s\n" % (zlib.crc32(body), body))
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None when it is torn or damaged."""
    check, _, body = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or check != b"%08x" % zlib.crc32(body):
        return None
    record: dict[str, Any] = orjson.loads(body)
    return record
