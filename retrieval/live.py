"""The index kept in step with the rows, also with those that other processes write."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.types import MemoryUnit, PlanPair
from retrieval.entries import Batch, Entry
from retrieval.index import ROUNDING, Bucket, Shelf
from retrieval.places import Compared, bucket_of, known_state, pair_bucket, unit_bucket
from retrieval.rows import SEEN, first_evidence, put_vectors
from retrieval.tables import Row, Tables
from retrieval.value import Evidence
from retrieval.vectors import Rows, Vectors, blob, received

__all__ = ["EXACT_UP_TO", "LiveIndex"]

EXACT_UP_TO = 50_000
"""Units of a bucket up to which the vectors are kept at full precision (docs/lab_notes.md)."""
CHUNK = 4096
"""Rows read at a time while loading; bounds the memory a rebuild takes beside the index."""

PLACE = "CASE status WHEN 'active' THEN outcome WHEN 'revoked' THEN NULL ELSE outcome || ':' || status END"
"""`place_of` in SQL."""
FEW_LIKE, MOST_LIKE = 16, 8192
"""Rows that may be twins of a new one: so many are looked at to begin with, and at most."""
ENTRIES = {
    "unit": f"SELECT r.seq, namespace, modality, {PLACE}, category, uses, wins, v.question, v.caption, "
    "v.shape, v.masked, seen_uses, seen_wins, seen_at, seen_in "
    "FROM units r LEFT JOIN vectors v ON v.owner = 'unit' AND v.seq = r.seq",
    "pair": "SELECT r.seq, namespace, NULL, NULL, category, 0, 0, v.question, v.caption, NULL, NULL, 0, 0, 0, '' "
    "FROM pairs r LEFT JOIN vectors v ON v.owner = 'pair' AND v.seq = r.seq",
}


class LiveIndex:
    """Not thread-safe: the bank holds its lock around every call."""

    def __init__(self, identity: str, *, masked: bool = True, exact_up_to: int | None = None) -> None:
        """`exact_up_to`: see `Bucket`."""
        self._identity = identity
        self._exact_up_to = {"unit": exact_up_to}
        self._entries = ENTRIES if masked else {**ENTRIES, "unit": ENTRIES["unit"].replace("v.masked", "NULL")}
        self._seen = -1
        self._bank_id = ""
        self._dimension = 0
        self._shelves: dict[str, Shelf] = {}
        self._waiting: dict[str, dict[int, Entry]] = {owner: {} for owner in ENTRIES}
        """What the open transaction wrote and nobody has asked for yet. A bulk load never asks: its rows come in
        together, by the next `follow`."""
        self.damaged: dict[str, set[int]] = {}
        self.story = "fresh"
        """What the last full load was for."""

    def follow(self, rows: Tables) -> None:
        """Take in every change since the last call: row by row, or by a full load where that is not possible.

        Raises:
            EmbedderMismatchError: the rows' vectors are another embedder's.
        """
        state = self.check(rows)
        self._forget_waiting()
        dimension = state["dimension"] or 0
        same = state["bank_id"] == self._bank_id and dimension == self._dimension
        if not same or self._seen > state["change"] or self._seen < state["forgotten_below"]:
            self._start_over(dimension, state["bank_id"])
        if self._seen < state["change"] and dimension:
            self._catch_up(rows)
        self._seen = state["change"]

    def check(self, rows: Tables) -> Row:
        """The bank's state, if its vectors are ours.

        Raises:
            EmbedderMismatchError: they are another embedder's.
        """
        return known_state(rows, self._identity)

    def put(self, owner: str, entry: Entry) -> None:
        """Add or update a row that this process is writing; `invalidate` if it rolls back."""
        if entry.seq in self._waiting[owner]:
            self._settle()
        self._waiting[owner][entry.seq] = entry

    def use(self, dimension: int) -> None:
        """The first vectors of an empty bank have this dimension."""
        if dimension != self._dimension:
            self._start_over(dimension, self._bank_id)

    def invalidate(self, why: str) -> None:
        """What is in memory may differ from the rows: load anew at the next read."""
        self._bank_id = ""
        self._forget_waiting()
        self.story = f"rebuilt ({why})"

    def shelf(self, owner: str) -> Shelf:
        self._settle()
        return self._shelves[owner]

    # -- `Places` -----------------------------------------------------------------------------------------------

    def any_in(self, rows: Tables, owner: str, keys: Sequence[Hashable]) -> bool:
        self.follow(rows)
        return any(self.shelf(owner).bucket(key) for key in keys)

    def compared(
        self, rows: Tables, owner: str, key: Hashable, asked: Vectors, category: str | None, *, every: bool
    ) -> tuple[Compared | None, int | None]:
        shelf = self.shelf(owner)
        return shelf.bucket(key), None if category is None else shelf.code(category)

    def close(self, rows: Tables, owner: str, key: Hashable, vectors: Vectors, threshold: float) -> Sequence[int]:
        bucket = self.shelf(owner).bucket(key)
        if bucket is None:
            return ()
        at_E, sim_E = self._like(rows, bucket, vectors.question, threshold - ROUNDING)
        return _close(bucket, at_E, sim_E, vectors, threshold - ROUNDING)

    def keep_unit(self, rows: Tables, seq: int, unit: MemoryUnit, vectors: Vectors) -> None:
        masked = None if vectors.masked is None else blob(vectors.masked)
        put_vectors(rows, "unit", seq, *_blobs(vectors), masked, vectors.shape)
        self.put("unit", _entry(seq, unit, vectors, first_evidence(unit)))

    def keep_pair(self, rows: Tables, seq: int, pair: PlanPair, vectors: Vectors) -> None:
        put_vectors(rows, "pair", seq, *_blobs(vectors))
        self.put("pair", Entry(seq, pair_bucket(pair.namespace), pair.category, 0, 0, *_blobs(vectors)))

    def renew(self, rows: Tables, seq: int, unit: MemoryUnit, vectors: Vectors) -> None:
        row = rows.execute(f"SELECT {SEEN} FROM units WHERE seq = ?", (seq,)).fetchone()
        self.put("unit", _entry(seq, unit, vectors, Evidence(*row)))

    def groups(self, rows: Tables) -> Iterable[tuple[Sequence[int], Rows]]:
        return [(bucket.columns["seq"].tolist(), bucket.questions()) for _, bucket in self.shelf("unit").buckets()]

    def questions(self, rows: Tables, seqs: Sequence[int]) -> Mapping[int, Rows | None]:
        places = ", ".join("?" * len(seqs))
        statement = f"SELECT seq, question FROM vectors WHERE owner = 'unit' AND seq IN ({places})"
        return {seq: np.frombuffer(vector, dtype="<f4") for seq, vector in rows.execute(statement, tuple(seqs))}

    def vectors(self, rows: Tables, owner: str, seqs: Sequence[int]) -> Mapping[int, Vectors]:
        places = ", ".join("?" * len(seqs))
        statement = f"SELECT seq, question, caption, masked FROM vectors WHERE owner = ? AND seq IN ({places})"
        return {
            seq: Vectors(np.frombuffer(question, dtype="<f4"), received(caption), received(masked))
            for seq, question, caption, masked in rows.execute(statement, (owner, *seqs))
        }

    # -- inside -------------------------------------------------------------------------------------------------

    def _start_over(self, dimension: int, bank_id: str) -> None:
        if self._seen >= 0 and self.story == "fresh" and any(map(len, self._shelves.values())):
            self.story = "rebuilt (too many changes to follow one by one)"
        self._dimension, self._bank_id, self._seen = dimension, bank_id, -1
        self._shelves = {owner: Shelf(dimension, self._exact_up_to.get(owner)) for owner in ENTRIES}
        self._forget_waiting()
        self.damaged = {owner: set() for owner in ENTRIES}

    def _like(
        self, rows: Tables, bucket: Bucket, question_D: Rows, least: float
    ) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """Positions and cosines of those that reach `least`; of equals beyond `MOST_LIKE` it names so many."""
        rounded = bucket.rounded_questions()
        if rounded is None:
            sim_N = bucket.question_similarities(question_D)
            at_E = np.flatnonzero(sim_N >= least)
            return at_E, sim_N[at_E]
        wanted = FEW_LIKE
        while True:
            at_E, sim_E = rounded.nearest(question_D, wanted)
            if wanted >= min(len(bucket), MOST_LIKE) or sim_E[-1] < least - rounded.slack:
                break
            wanted *= 8
        able_E = sim_E >= least - rounded.slack
        at_E, sim_E = at_E[able_E], sim_E[able_E]
        exact = self.questions(rows, bucket.columns["seq"][at_E].tolist())
        for place, seq in enumerate(bucket.columns["seq"][at_E].tolist()):
            row = exact.get(seq)
            if row is not None:
                sim_E[place] = row @ question_D
        return at_E[sim_E >= least], sim_E[sim_E >= least]

    def _settle(self) -> None:
        for owner, entries in self._waiting.items():
            if entries:
                self._put(owner, entries.values())
                self._waiting[owner] = {}

    def _forget_waiting(self) -> None:
        self._waiting = {owner: {} for owner in ENTRIES}

    def _put(self, owner: str, entries: Iterable[Entry]) -> None:
        self.damaged[owner] |= set(self._shelves[owner].put(entries))

    def _catch_up(self, rows: Tables) -> None:
        for owner, seq in rows.execute("SELECT owner, seq FROM forgotten WHERE change > ?", (self._seen,)):
            self._shelves[owner].remove(seq)
            self.damaged[owner].discard(seq)
        for owner, statement in self._entries.items():
            # A full load goes in the order on disk; a few changes are found by the index on `change`.
            if self._seen < 0:
                cursor = rows.execute(f"{statement} ORDER BY r.seq")
                while chunk := cursor.fetchmany(CHUNK):
                    self.damaged[owner] |= set(self._shelves[owner].load(_batch(owner, chunk)))
            else:
                cursor = rows.execute(f"{statement} WHERE change > ? ORDER BY change, r.seq", (self._seen,))
                while chunk := cursor.fetchmany(CHUNK):
                    self._put(owner, _entries(owner, chunk))


def _entries(owner: str, chunk: Sequence[Row]) -> Iterator[Entry]:
    for seq, *key, category, uses, wins, question, caption, shape, masked, su, sw, sa, si in chunk:
        bucket = _bucket(owner, *key)
        yield Entry(seq, bucket, category, uses, wins, question, caption, shape, Evidence(su, sw, sa, si), masked)


def _batch(owner: str, chunk: Sequence[Row]) -> Batch:
    seq, namespace, modality, outcome, *rest = zip(*chunk, strict=True)
    keys = list(zip(namespace, modality, outcome, strict=True))
    buckets = {key: _bucket(owner, *key) for key in set(keys)}
    return Batch(seq, [buckets[key] for key in keys], *rest)


def _bucket(owner: str, namespace: str, modality: str, outcome: str | None) -> Hashable:
    return unit_bucket(namespace, modality, outcome) if owner == "unit" else pair_bucket(namespace)


def _entry(seq: int, unit: MemoryUnit, vectors: Vectors, seen: Evidence) -> Entry:
    masked = None if vectors.masked is None else blob(vectors.masked)
    given = (unit.category, unit.uses, unit.wins, *_blobs(vectors), vectors.shape, seen, masked)
    return Entry(seq, bucket_of(unit), *given)


def _blobs(vectors: Vectors) -> tuple[bytes, bytes | None]:
    return blob(vectors.question), None if vectors.caption is None else blob(vectors.caption)


def _close(bucket: Bucket, at_E: NDArray[np.intp], sim_E: Rows, vectors: Vectors, least: float) -> list[int]:
    """See `Places.close`; of those at these positions, whose questions are close."""
    captioned_E = bucket.columns["captioned"][at_E]
    if vectors.caption is None:
        close_E = ~captioned_E
    else:
        captions_N = bucket.caption_similarities(vectors.caption)
        close_E = captioned_E if captions_N is None else captioned_E & (captions_N[at_E] >= least)
    seq_E = bucket.columns["seq"][at_E]
    order = np.lexsort((seq_E, -sim_E))
    return [int(seq_E[place]) for place in order if close_E[place]]
