"""An inverted index over the shapes of one bucket's questions: BM25 as a share of the best that is possible.

In memory beside the vectors, from features that are stored with the rows (docs/decisions.md says why not FTS5; its
speed was not compared).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.shape import SHAPED
from retrieval.vectors import grown

__all__ = ["Postings", "Shaped", "joined", "shaped"]

Shaped = NDArray[np.void]
TAIL = 4096
"""Fewest postings that are merged into the sorted part; it grows with that part, so that a merge is rare."""
PSEUDO = 50
"""Documents without any of the words that every bucket is taken to hold: in a bank of three units a word that one of
them has is no common word, and the share must mean the same in small banks as in large ones."""
FEW = 2048
COMMON, KEPT = 8, 64
"""Words that more than `FEW` and more than one in `COMMON` documents have are kept as columns, at most so many."""
POSTING = np.dtype([("feature", "<u4"), ("slot", "<i4"), ("impact", "<f4")])


class Postings:
    """Documents in slots 0..; a slot is never reused, until `compact`. Not thread-safe: the bank holds a lock."""

    def __init__(self, *, few: int = FEW, tail: int = TAIL) -> None:
        self._few, self._most_tail = few, tail
        self._features = np.zeros(0, dtype=np.uint32)
        self._slots = np.zeros(0, dtype=np.int32)
        self._impacts = np.zeros(0, dtype=np.float32)
        self._tail: list[NDArray[np.void]] = []
        self._tail_size = 0
        self._alive = np.zeros(16, dtype=bool)
        self._common: dict[int, NDArray[np.float32]] = {}
        """Of words that many documents have: the impact in every slot. Adding two columns is many times as fast as
        gathering postings."""
        self._sorted_up_to = 0
        self._count = 0
        self._dead = 0

    def __len__(self) -> int:
        return self._count - self._dead

    @property
    def wasteful(self) -> bool:
        """Over a quarter, and many, are dead: `compact` pays."""
        return self._dead > 256 and 4 * self._dead > self._count

    def extend(self, shapes: Sequence[Shaped]) -> NDArray[np.int32]:
        """Append documents; returns their slots."""
        return self.append(*joined([shape.tobytes() for shape in shapes]))

    def append(self, together: Shaped, counts: Sequence[int]) -> NDArray[np.int32]:
        """Append documents whose features lie one behind the other, so many of each; returns their slots."""
        slots = np.arange(self._count, self._count + len(counts), dtype=np.int32)
        if len(together):
            added = np.zeros(len(together), dtype=POSTING)
            added["feature"], added["impact"] = together["feature"], together["impact"]
            added["slot"] = np.repeat(slots, counts)
            self._tail.append(added)
            self._tail_size += len(added)
        self._count += len(counts)
        if self._count > len(self._alive):
            self._alive = grown(self._alive, max(self._count, 2 * len(self._alive)))
        self._alive[slots] = True
        return slots

    def drop(self, slot: int) -> None:
        """The document in `slot` is gone."""
        self._alive[slot] = False
        self._dead += 1
        for column in self._common.values():
            column[slot : slot + 1] = 0.0

    def compact(self) -> NDArray[np.int32]:
        """Number the living anew; returns the new slot of each old one, -1 for the dead."""
        self._merge()
        alive = self._alive[: self._count]
        new = np.where(alive, np.cumsum(alive) - 1, -1).astype(np.int32)
        kept = alive[self._slots]
        self._features, self._impacts = self._features[kept], self._impacts[kept]
        self._slots = new[self._slots[kept]]
        self._count, self._dead = self._count - self._dead, 0
        self._sorted_up_to = self._count
        self._common.clear()
        self._alive = np.ones(max(16, self._count), dtype=bool)
        return new

    def shares(self, query: Shaped) -> NDArray[np.float32]:
        """For every slot, the BM25 score as a share of what the query's own text would get, at most 1.

        Words that no document has count as unmatched, so that a question from elsewhere scores low everywhere.
        """
        if self._tail_size > max(self._most_tail, len(self._features) // 8):
            self._merge()
        common, spans = self._spans(query["feature"])
        asked, slots, impacts = self._matches(query["feature"], spans)
        if self._dead:
            living = self._alive[slots]
            asked, slots, impacts = asked[living], slots[living], impacts[living]
        found_Q = np.bincount(asked, minlength=len(query))
        for at, column in common:
            found_Q[at] += np.count_nonzero(column)
        idf_Q = np.log1p((PSEUDO + len(self) - found_Q + 0.5) / (found_Q + 0.5))
        best = float(idf_Q @ query["impact"])
        scores = np.bincount(slots, weights=impacts * idf_Q[asked], minlength=self._count).astype(np.float64)
        for at, column in common:
            scores[: len(column)] += np.multiply(column, idf_Q[at], dtype=np.float64)
        scores /= max(best, 1e-9)
        return np.minimum(scores, 1.0, out=scores).astype(np.float32)

    def _spans(
        self, wanted: NDArray[np.uint32]
    ) -> tuple[list[tuple[int, NDArray[np.float32]]], list[tuple[int, slice]]]:
        """Where the sorted postings of the wanted features are: columns of the common ones, spans of the others."""
        starts = np.searchsorted(self._features, wanted, side="left").tolist()
        ends = np.searchsorted(self._features, wanted, side="right").tolist()
        common: list[tuple[int, NDArray[np.float32]]] = []
        spans: list[tuple[int, slice]] = []
        for at, (feature, start, end) in enumerate(zip(wanted.tolist(), starts, ends, strict=True)):
            if end - start > max(self._few, self._sorted_up_to // COMMON):
                common.append((at, self._column(feature, slice(start, end))))
            elif start < end:
                spans.append((at, slice(start, end)))
        return common, spans

    def _column(self, feature: int, span: slice) -> NDArray[np.float32]:
        column = self._common.get(feature)
        if column is None:
            if len(self._common) >= KEPT:
                self._common.pop(next(iter(self._common)))
            column = np.zeros(self._sorted_up_to, dtype=np.float32)
            slots = self._slots[span]
            column[slots] = self._impacts[span] * self._alive[slots]
            self._common[feature] = column
        return column

    def _matches(
        self, wanted: NDArray[np.uint32], spans: Sequence[tuple[int, slice]]
    ) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.float32]]:
        """Postings in the spans and in the tail of the wanted features (sorted, each once): which one, slot, impact."""
        asked = [np.full(span.stop - span.start, at, dtype=np.intp) for at, span in spans]
        slots = [self._slots[span] for _, span in spans]
        impacts = [self._impacts[span] for _, span in spans]
        if self._tail:
            self._tail = [np.concatenate(self._tail)]
            (tail,) = self._tail
            place = np.minimum(np.searchsorted(wanted, tail["feature"]), len(wanted) - 1)
            hit = np.flatnonzero(wanted[place] == tail["feature"])
            asked.append(place[hit])
            slots.append(tail["slot"][hit])
            impacts.append(tail["impact"][hit])
        if not asked:
            return np.zeros(0, np.intp), np.zeros(0, np.int32), np.zeros(0, np.float32)
        return np.concatenate(asked), np.concatenate(slots), np.concatenate(impacts)

    def _merge(self) -> None:
        if not self._tail:
            return
        tail = np.concatenate(self._tail)
        features = np.concatenate([self._features, tail["feature"]])
        # Two runs, of which one is sorted: a stable sort takes little more than one pass over it.
        order = np.argsort(features, kind="stable")
        self._features = features[order]
        self._slots = np.concatenate([self._slots, tail["slot"]])[order]
        self._impacts = np.concatenate([self._impacts, tail["impact"]])[order]
        self._tail, self._tail_size = [], 0
        self._sorted_up_to = self._count
        self._common.clear()


def joined(blobs: Sequence[bytes | None]) -> tuple[Shaped, list[int]]:
    """Features as they are stored, one document behind the other, and how many each has; see `shaped`."""
    sound = [blob if blob is not None and not len(blob) % SHAPED.itemsize else b"" for blob in blobs]
    return np.frombuffer(b"".join(sound), dtype=SHAPED), [len(blob) // SHAPED.itemsize for blob in sound]


def shaped(blob: bytes | None) -> Shaped:
    """Features as they are stored; none where there are none, or the blob is damaged."""
    if blob is None or len(blob) % SHAPED.itemsize:
        return np.zeros(0, dtype=SHAPED)
    return np.frombuffer(blob, dtype=SHAPED)
