"""Answers of web engines on disk, with an age limit. Failures are never kept; "no results" only for a short while.

A cache is a convenience: a damaged or locked file is told in the log and the engine is asked.
"""

import logging
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from threading import Lock

import orjson

from retrieval.hits import Hit

__all__ = ["AnswerCache"]

log = logging.getLogger(__name__)

VERSION = 1
SCHEMA = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, kept_at REAL NOT NULL, hits BLOB NOT NULL)"
MOST_ROWS = 200_000
"""About 600 MB at 3 KB an answer; the oldest tenth goes first."""


class AnswerCache:
    """One SQLite file for all engines; several processes may share it. Safe across threads."""

    def __init__(self, path: Path, *, ttl_s: float, empty_ttl_s: float, clock: Callable[[], float] = time.time) -> None:
        """`clock` gives seconds of wall time: answers outlive the process."""
        self._path = path
        self._ttl_s = ttl_s
        self._empty_ttl_s = min(empty_ttl_s, ttl_s)
        self._clock = clock
        self._lock = Lock()
        self._base: sqlite3.Connection | None = None
        self._broken = False

    def get(self, engine: str, query: str, k: int) -> list[Hit] | None:
        """The hits kept for an equal question; None when there are none or they are too old."""
        with self._lock:
            try:
                base = self._open()
                row = base.execute("SELECT kept_at, hits FROM answers WHERE key = ?", (_key(engine, query, k),))
                found = row.fetchone() if base else None
                if found is None:
                    return None
                hits = [Hit(*map(str, one)) for one in orjson.loads(found[1])]
            except (sqlite3.Error, OSError, ValueError, TypeError) as cause:
                self._give_up(cause)
                return None
        age = self._clock() - found[0]
        return hits if 0 <= age < (self._ttl_s if hits else self._empty_ttl_s) else None

    def put(self, engine: str, query: str, k: int, hits: Sequence[Hit]) -> None:
        """Keep an answer."""
        row = (_key(engine, query, k), self._clock(), orjson.dumps([list(hit) for hit in hits]))
        with self._lock:
            try:
                with self._open() as base:
                    base.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row)
                    self._prune(base)
            except (sqlite3.Error, OSError) as cause:
                self._give_up(cause)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            base, self._base = self._base, None
            if base is not None:
                base.close()

    def _open(self) -> sqlite3.Connection:
        if self._broken:
            raise OSError("given up in this process")
        if self._base is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._base = _connect(self._path)
        return self._base

    def _prune(self, base: sqlite3.Connection) -> None:
        with closing(base.execute("SELECT max(rowid) - min(rowid) + 1 FROM answers")) as counted:
            (rows,) = counted.fetchone()
        if rows > MOST_ROWS:
            oldest = "SELECT key FROM answers ORDER BY kept_at LIMIT ?"
            base.execute(f"DELETE FROM answers WHERE key IN ({oldest})", (MOST_ROWS // 10,))

    def _give_up(self, cause: Exception) -> None:
        if not self._broken:
            log.warning("the cache of web answers %s cannot be used, so engines are asked: %s", self._path.name, cause)
        self._broken = True


def _connect(path: Path) -> sqlite3.Connection:
    """The database; a file that is none is put aside once."""
    for attempt in (1, 2):
        base = sqlite3.connect(path, timeout=2.0, check_same_thread=False)
        try:
            base.execute("PRAGMA journal_mode=WAL")
            base.execute("PRAGMA synchronous=NORMAL")
            base.execute(SCHEMA)
        except sqlite3.DatabaseError as cause:
            base.close()
            if attempt == 2 or isinstance(cause, sqlite3.OperationalError):
                raise
            log.warning("%s was no database and is put aside: %s", path.name, cause)
            path.replace(path.with_suffix(".damaged"))
        else:
            return base
    raise sqlite3.OperationalError("unreachable")


def _key(engine: str, query: str, k: int) -> str:
    """Equal for queries that differ in case, spacing or Unicode form only."""
    plain = " ".join(unicodedata.normalize("NFC", query).casefold().split())
    return sha256(orjson.dumps([VERSION, engine, plain, k])).hexdigest()
