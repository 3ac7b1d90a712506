"""The index kept in step with the rows, also with those that other processes write."""

import sqlite3
from collections.abc import Hashable, Iterable, Iterator

from mia_skill.core.errors import EmbedderMismatchError
from mia_skill.core.types import MemoryUnit, Outcome, Status
from retrieval.index import Entry, Shelf
from retrieval.value import Evidence

__all__ = ["LiveIndex", "bucket_of", "pair_bucket", "place_of", "unit_bucket"]

CHUNK = 4096
"""Rows read at a time while loading; bounds the memory a rebuild takes beside the index."""
KEPT_FORGOTTEN = 10_000
"""Deletions that stay listed for the other processes; one that missed more loads anew."""

PLACE = "CASE status WHEN 'active' THEN outcome WHEN 'revoked' THEN NULL ELSE outcome || ':' || status END"
"""`place_of` in SQL."""
ENTRIES = {
    "unit": f"SELECT r.seq, namespace, modality, {PLACE}, category, uses, wins, v.question, v.caption, "
    "v.shape, seen_uses, seen_wins, seen_at, seen_in "
    "FROM units r LEFT JOIN vectors v ON v.owner = 'unit' AND v.seq = r.seq",
    "pair": "SELECT r.seq, namespace, NULL, NULL, category, 0, 0, v.question, v.caption, NULL, 0, 0, 0, '' "
    "FROM pairs r LEFT JOIN vectors v ON v.owner = 'pair' AND v.seq = r.seq",
}


def unit_bucket(namespace: str, modality: str, outcome: str | None) -> Hashable:
    """Units of one bucket compete. Pending ones (outcome None) have buckets that recall never asks."""
    return (namespace, str(modality), None if outcome is None else str(outcome))


def place_of(outcome: Outcome | None, status: Status) -> str | None:
    """Which bucket of a polarity: what may not direct never competes with what may, and what is revoked with nobody."""
    if outcome is None or status is Status.REVOKED:
        return None
    return outcome.value if status is Status.ACTIVE else f"{outcome.value}:{status.value}"


def pair_bucket(namespace: str) -> Hashable:
    return (namespace,)


def bucket_of(unit: MemoryUnit) -> Hashable:
    return unit_bucket(unit.namespace, unit.modality, place_of(unit.outcome, unit.status))


class LiveIndex:
    """Not thread-safe: the bank holds its lock around every call."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._seen = -1
        self._bank_id = ""
        self._dimension = 0
        self.shelves: dict[str, Shelf] = {}
        self.damaged: dict[str, set[int]] = {}
        self.story = "fresh"
        """What the last full load was for."""

    def follow(self, rows: sqlite3.Connection) -> None:
        """Take in every change since the last call: row by row, or by a full load where that is not possible.

        Raises:
            EmbedderMismatchError: the rows' vectors are another embedder's.
        """
        state = self.check(rows)
        dimension = state["dimension"] or 0
        same = state["bank_id"] == self._bank_id and dimension == self._dimension
        if not same or self._seen > state["change"] or self._seen < state["forgotten_below"]:
            self._start_over(dimension, state["bank_id"])
        if self._seen < state["change"] and dimension:
            self._catch_up(rows)
        self._seen = state["change"]

    def check(self, rows: sqlite3.Connection) -> sqlite3.Row:
        """The bank's state, if its vectors are ours.

        Raises:
            EmbedderMismatchError: they are another embedder's.
        """
        state: sqlite3.Row = rows.execute(
            "SELECT bank_id, change, forgotten_below, embedder, dimension FROM state"
        ).fetchone()
        if state["embedder"] not in (None, self._identity):
            raise EmbedderMismatchError(
                "the stored vectors were made by another embedder "
                f"({state['embedder'][:12]}, not {self._identity[:12]}): run `mia memory reembed`, or go back to the "
                "embedder that memory.embedder named before"
            )
        return state

    def put(self, owner: str, entries: Iterable[Entry]) -> None:
        """Add or update rows that this process is writing; `invalidate` if it rolls back."""
        bad = self.shelves[owner].put(entries)
        self.damaged[owner] |= set(bad)

    def use(self, dimension: int) -> None:
        """The first vectors of an empty bank have this dimension."""
        if dimension != self._dimension:
            self._start_over(dimension, self._bank_id)

    def invalidate(self, why: str) -> None:
        """What is in memory may differ from the rows: load anew at the next read."""
        self._bank_id = ""
        self.story = f"rebuilt ({why})"

    def shelf(self, owner: str) -> Shelf:
        return self.shelves[owner]

    def _start_over(self, dimension: int, bank_id: str) -> None:
        if self._seen >= 0 and self.story == "fresh" and self.shelves and any(map(len, self.shelves.values())):
            self.story = "rebuilt (too many changes to follow one by one)"
        self._dimension, self._bank_id, self._seen = dimension, bank_id, -1
        self.shelves = {owner: Shelf(dimension) for owner in ENTRIES}
        self.damaged = {owner: set() for owner in ENTRIES}

    def _catch_up(self, rows: sqlite3.Connection) -> None:
        for owner, seq in rows.execute("SELECT owner, seq FROM forgotten WHERE change > ?", (self._seen,)):
            self.shelves[owner].remove(seq)
            self.damaged[owner].discard(seq)
        for owner, statement in ENTRIES.items():
            # A full load goes in the order on disk; a few changes are found by the index on `change`.
            if self._seen < 0:
                cursor = rows.execute(f"{statement} ORDER BY r.seq")
            else:
                cursor = rows.execute(f"{statement} WHERE change > ? ORDER BY change, r.seq", (self._seen,))
            while chunk := cursor.fetchmany(CHUNK):
                self.put(owner, _entries(owner, chunk))


def _entries(owner: str, chunk: list[sqlite3.Row]) -> Iterator[Entry]:
    for seq, namespace, modality, outcome, category, uses, wins, question, caption, shape, *seen in chunk:
        bucket = unit_bucket(namespace, modality, outcome) if owner == "unit" else pair_bucket(namespace)
        yield Entry(seq, bucket, category, uses, wins, question, caption, shape, Evidence(*seen))
