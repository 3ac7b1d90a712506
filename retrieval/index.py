"""Vectors in memory, one FAISS index per bucket, derived from the bank's rows: flat, or at half precision when large.

The paper's score takes the min-max over the whole bucket, so every similarity is needed and an approximate index has
nothing to save. FAISS's own kernel computes them in one pass, at the price of a bare top-k search. The blend needs the
best few alone: in large buckets rounded vectors name those that may be the best, and the rows' own decide.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.require import require
from retrieval.entries import Batch, Entry, matrix
from retrieval.half import HalfIndex, HalfRows
from retrieval.postings import Postings, Shaped, joined
from retrieval.value import Standing, standing
from retrieval.vectors import Rows, grown

__all__ = ["ROUNDING", "Bucket", "FlatIndex", "Shelf", "faiss_build"]


ROUNDING = 1e-6
"""Two float32 vectors of the same text may multiply to a little under 1: thresholds leave room for it."""


class FlatIndex:
    """`faiss.IndexFlatIP`, read in one pass. Not thread-safe: the bank holds a lock."""

    def __init__(self, dimension: int) -> None:
        self._faiss: Any = require("faiss", extra="faiss-gpu")
        self._dimension = dimension
        self._index = self._faiss.IndexFlatIP(dimension)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, rows_ND: Rows) -> None:
        self._index.add(np.ascontiguousarray(rows_ND, dtype=np.float32))

    def similarities(self, query_D: Rows) -> Rows:
        faiss, count = self._faiss, len(self)
        sim_N = np.empty(count, dtype=np.float32)
        if count:
            query = np.ascontiguousarray(query_D, dtype=np.float32)
            faiss.fvec_inner_products_ny(
                faiss.swig_ptr(sim_N), faiss.swig_ptr(query), self._index.get_xb(), self._dimension, count
            )
        return sim_N

    def row(self, position: int) -> Rows:
        return np.array(self.view()[position])

    def matrix(self) -> Rows:
        """All vectors, copied."""
        return np.array(self.view()) if len(self) else np.zeros((0, self._dimension), dtype=np.float32)

    def swap_remove(self, position: int) -> None:
        last = len(self) - 1
        if position != last:
            view = self.view()
            view[position] = view[last]
        self._index.remove_ids(self._faiss.IDSelectorRange(last, last + 1))

    def view(self) -> Any:
        """All vectors, in FAISS's own memory; valid until the next add."""
        size = len(self) * self._dimension
        return self._faiss.rev_swig_ptr(self._index.get_xb(), size).reshape(len(self), self._dimension)


class Columns:
    """Numpy columns of equal length that grow by doubling."""

    TYPES = (
        *(("seq", np.int64), ("uses", np.float64), ("wins", np.float64), ("category", np.int32), ("captioned", bool)),
        *(("seen_uses", np.float64), ("seen_wins", np.float64), ("seen_at", np.float64), ("seen_in", np.uint32)),
        ("slot", np.int32),
    )

    def __init__(self) -> None:
        self.count = 0
        self._arrays = {name: np.zeros(16, dtype=kind) for name, kind in self.TYPES}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name][: self.count]

    def append(self, columns: Sequence[Sequence[Any] | NDArray[Any]]) -> None:
        """What to put below each column, in the order of `TYPES`."""
        needed = self.count + len(columns[0])
        if needed > len(self._arrays["seq"]):
            size = max(needed, 2 * len(self._arrays["seq"]))
            self._arrays = {name: grown(array, size) for name, array in self._arrays.items()}
        for (name, _), column in zip(self.TYPES, columns, strict=True):
            self._arrays[name][self.count : needed] = column
        self.count = needed

    def swap_remove(self, position: int) -> None:
        for array in self._arrays.values():
            array[position] = array[self.count - 1]
        self.count -= 1


class Bucket:
    """Units that compete with each other: their vectors and the numbers the score needs. With more than `exact_up_to`
    units the questions' vectors are kept at half precision; None never does that."""

    def __init__(self, dimension: int, exact_up_to: int | None = None) -> None:
        self._dimension = dimension
        self._exact_up_to = exact_up_to
        self._questions: FlatIndex | HalfIndex = FlatIndex(dimension)
        self._captions: FlatIndex | None = None
        self._postings = Postings()
        self._masked = HalfRows(dimension)
        self._standing: tuple[float, float, str, Standing] | None = None
        self.columns = Columns()
        self._position: dict[int, int] = {}

    def __len__(self) -> int:
        return self.columns.count

    def rounded_questions(self) -> HalfIndex | None:
        """See `Compared`."""
        return self._questions if isinstance(self._questions, HalfIndex) else None

    def question_similarities(self, query_D: Rows) -> Rows:
        """See `Compared`."""
        return self._questions.similarities(query_D)

    def caption_similarities(self, query_D: Rows | None) -> Rows | None:
        """`[N]`, 0 for units without a caption; None when the query or all units have none."""
        if query_D is None or self._captions is None:
            return None
        return self._captions.similarities(query_D)

    def lexical_shares(self, asked: Shaped) -> Rows:
        """`[N]`, how much of the masked question each unit's matches, 0..1."""
        slot_N: NDArray[np.int32] = self.columns["slot"]
        return self._postings.shares(asked)[slot_N]

    def masked_products(self, query_D: Rows, at_E: NDArray[np.intp]) -> tuple[Rows, NDArray[np.bool_], float]:
        """See `Compared`."""
        return *self._masked.products(query_D, at_E), self._masked.slack

    def standing(self, half_life_days: float, elsewhere: float, environment: str) -> Standing:
        """See `Compared`; counted again only after a change."""
        told = (half_life_days, elsewhere, environment)
        if self._standing is None or self._standing[:3] != told:
            self._standing = (*told, standing(self.columns, *told))
        return self._standing[3]

    def questions(self) -> Rows:
        """All question vectors, as exact as they are here, copied, `[N, D]`."""
        return self._questions.matrix()

    def extend(self, batch: Batch, questions_ND: Rows, category: Sequence[int]) -> None:
        """Append rows whose vectors were checked; `questions_ND` are the questions'."""
        start, self._standing = len(self), None
        self._questions.add(questions_ND)
        if self._exact_up_to is not None and len(self._questions) > self._exact_up_to:
            self._round()
        captioned = [caption is not None for caption in batch.caption]
        if self._captions is None and any(captioned):
            self._captions = FlatIndex(self._dimension)
            self._captions.add(np.zeros((start, self._dimension), dtype=np.float32))
        if self._captions is not None:
            self._captions.add(matrix(batch.caption, self._dimension))
        self._masked.extend(batch.masked)
        slots = self._postings.append(*joined(batch.shape))
        places = {place: crc32(place.encode()) for place in set(batch.seen_in)}
        seen = (batch.seen_uses, batch.seen_wins, batch.seen_at, [places[one] for one in batch.seen_in])
        self.columns.append((batch.seq, batch.uses, batch.wins, category, captioned, *seen, slots))
        self._position.update(zip(batch.seq, range(start, len(self)), strict=True))

    def _round(self) -> None:
        if isinstance(self._questions, FlatIndex):
            rounded = HalfIndex(self._dimension)
            rounded.add(self._questions.view())
            self._questions = rounded

    def update(self, entry: Entry, category: int) -> None:
        """New counts of a unit that is there; its vectors stay."""
        position, self._standing = self._position[entry.seq], None
        evidence = (*entry.seen[:3], crc32(entry.seen.where.encode()))
        seen = zip(("seen_uses", "seen_wins", "seen_at", "seen_in"), evidence, strict=True)
        for name, value in (("uses", entry.uses), ("wins", entry.wins), ("category", category), *seen):
            self.columns[name][position] = value

    def remove(self, seq: int) -> None:
        position, self._standing = self._position.pop(seq), None
        self._questions.swap_remove(position)
        self._masked.swap_remove(position)
        if self._captions is not None:
            self._captions.swap_remove(position)
        self._postings.drop(int(self.columns["slot"][position]))
        self.columns.swap_remove(position)
        if self._postings.wasteful:
            self.columns["slot"][:] = self._postings.compact()[self.columns["slot"]]
        if position < len(self):
            self._position[int(self.columns["seq"][position])] = position


class Shelf:
    """All buckets of one kind of row, and where each row is."""

    def __init__(self, dimension: int, exact_up_to: int | None = None) -> None:
        self._dimension = dimension
        self._exact_up_to = exact_up_to
        self._buckets: dict[Hashable, Bucket] = {}
        self._home: dict[int, Hashable] = {}
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._home)

    def bucket(self, key: Hashable) -> Bucket | None:
        return self._buckets.get(key)

    def buckets(self) -> Iterable[tuple[Hashable, Bucket]]:
        return self._buckets.items()

    def code(self, category: str) -> int:
        """The number of a category; -1 for one never seen."""
        return self._codes.get(category, -1)

    def put(self, entries: Iterable[Entry]) -> tuple[int, ...]:
        """Add or update rows; returns the seqs left out because their vectors are damaged or missing."""
        fresh = []
        for entry in entries:
            self._codes.setdefault(entry.category, len(self._codes))
            home = self._home.get(entry.seq)
            if home == entry.bucket and entry.seq in self._home:
                self._buckets[home].update(entry, self._codes[entry.category])
            else:
                self.remove(entry.seq)
                fresh.append(entry)
        return self.load(Batch.of(fresh)) if fresh else ()

    def load(self, batch: Batch) -> tuple[int, ...]:
        """Add rows of which none is here; returns as `put` does."""
        for category in dict.fromkeys(batch.category):
            self._codes.setdefault(category, len(self._codes))
        damaged: list[int] = []
        for key, group in batch.by_bucket().items():
            sound, questions_ND = group.sound(self._dimension)
            damaged += set(group.seq) - set(sound.seq) if sound is not group else ()
            if len(questions_ND):
                bucket = self._buckets.setdefault(key, Bucket(self._dimension, self._exact_up_to))
                bucket.extend(sound, questions_ND, [self._codes[category] for category in sound.category])
                self._home.update(dict.fromkeys(sound.seq, key))
        return tuple(sorted(damaged))

    def remove(self, seq: int) -> None:
        """Take a row out, if it is in."""
        if seq in self._home:
            self._buckets[self._home.pop(seq)].remove(seq)


def faiss_build() -> str:
    """Version and kind of FAISS. The bank searches on the CPU with either build: exact scores need every similarity of
    a bucket, and FAISS gives all of them only there."""
    faiss: Any = require("faiss", extra="faiss-gpu")
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    return f"{faiss.__version__} ({f'gpu build, {gpus} seen; the bank uses the cpu' if gpus else 'cpu'})"
