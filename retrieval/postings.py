"""An inverted index over the shapes of one bucket's questions: BM25 as a share of the best that is possible.

In memory beside the vectors, from features that are stored with the rows (docs/decisions.md says why not FTS5; its
speed was not compared).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.shape import SHAPED

__all__ = ["Postings", "Shaped", "shaped"]

Shaped = NDArray[np.void]
TAIL = 4096
"""Fewest postings that are merged into the sorted part; it grows with that part, so that a merge is rare."""
PSEUDO = 50
"""Documents without any of the words that every bucket is taken to hold: in a bank of three units a word that one of
them has is no common word, and the share must mean the same in small banks as in large ones."""
POSTING = np.dtype([("feature", "<u4"), ("slot", "<i4"), ("impact", "<f4")])


class Postings:
    """Documents in slots 0..; a slot is never reused, until `compact`. Not thread-safe: the bank holds a lock."""

    def __init__(self) -> None:
        self._features = np.zeros(0, dtype=np.uint32)
        self._slots = np.zeros(0, dtype=np.int32)
        self._impacts = np.zeros(0, dtype=np.float32)
        self._tail: list[NDArray[np.void]] = []
        self._tail_size = 0
        self._alive = np.zeros(16, dtype=bool)
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
        slots = np.arange(self._count, self._count + len(shapes), dtype=np.int32)
        added = np.zeros(sum(map(len, shapes)), dtype=POSTING)
        if len(added):
            together = np.concatenate(shapes)
            added["feature"], added["impact"] = together["feature"], together["impact"]
            added["slot"] = np.repeat(slots, [len(shape) for shape in shapes])
            self._tail.append(added)
            self._tail_size += len(added)
        self._count += len(shapes)
        if self._count > len(self._alive):
            self._alive = np.resize(self._alive, max(self._count, 2 * len(self._alive)))
        self._alive[slots] = True
        return slots

    def drop(self, slot: int) -> None:
        """The document in `slot` is gone."""
        self._alive[slot] = False
        self._dead += 1

    def compact(self) -> NDArray[np.int32]:
        """Number the living anew; returns the new slot of each old one, -1 for the dead."""
        self._merge()
        alive = self._alive[: self._count]
        new = np.where(alive, np.cumsum(alive) - 1, -1).astype(np.int32)
        kept = alive[self._slots]
        self._features, self._impacts = self._features[kept], self._impacts[kept]
        self._slots = new[self._slots[kept]]
        self._count, self._dead = self._count - self._dead, 0
        self._alive = np.ones(max(16, self._count), dtype=bool)
        return new

    def shares(self, query: Shaped) -> NDArray[np.float32]:
        """For every slot, the BM25 score as a share of what the query's own text would get, at most 1.

        Words that no document has count as unmatched, so that a question from elsewhere scores low everywhere.
        """
        if self._tail_size > max(TAIL, len(self._features) // 8):
            self._merge()
        asked, slots, impacts = self._matches(query["feature"])
        if self._dead:
            living = self._alive[slots]
            asked, slots, impacts = asked[living], slots[living], impacts[living]
        found_Q = np.bincount(asked, minlength=len(query))
        idf_Q = np.log1p((PSEUDO + len(self) - found_Q + 0.5) / (found_Q + 0.5))
        best = float(idf_Q @ query["impact"])
        scores = np.bincount(slots, weights=impacts * idf_Q[asked], minlength=self._count)
        return np.minimum(scores / max(best, 1e-9), 1.0).astype(np.float32)

    def _matches(self, wanted: NDArray[np.uint32]) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.float32]]:
        """Postings of the wanted features (sorted, each once): which one, slot, impact."""
        starts = np.searchsorted(self._features, wanted, side="left")
        ends = np.searchsorted(self._features, wanted, side="right")
        asked = [np.repeat(np.arange(len(wanted)), ends - starts)]
        spans = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True) if start < end]
        slots = [self._slots[span] for span in spans]
        impacts = [self._impacts[span] for span in spans]
        if self._tail:
            self._tail = [np.concatenate(self._tail)]
            (tail,) = self._tail
            place = np.minimum(np.searchsorted(wanted, tail["feature"]), len(wanted) - 1)
            hit = np.flatnonzero(wanted[place] == tail["feature"])
            asked.append(place[hit])
            slots.append(tail["slot"][hit])
            impacts.append(tail["impact"][hit])
        none = (np.zeros(0, np.int32), np.zeros(0, np.float32))
        return np.concatenate(asked), np.concatenate(slots or [none[0]]), np.concatenate(impacts or [none[1]])

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


def shaped(blob: bytes | None) -> Shaped:
    """Features as they are stored; none where there are none, or the blob is damaged."""
    if blob is None or len(blob) % SHAPED.itemsize:
        return np.zeros(0, dtype=SHAPED)
    return np.frombuffer(blob, dtype=SHAPED)
