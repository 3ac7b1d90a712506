"""What the index in memory is told of rows: one at a time, or as columns, so that a large bank opens without an object
for every row."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.value import Evidence
from retrieval.vectors import Rows

__all__ = ["Batch", "Entry", "matrix", "of_length_one"]

Blobs = Sequence[bytes | None]


class Entry(NamedTuple):
    """One row. Vectors are float32 bytes as they are stored."""

    seq: int
    bucket: Hashable
    category: str
    uses: int
    wins: int
    question: bytes | None
    caption: bytes | None
    shape: bytes | None = None
    """Features of the masked question (`retrieval.shape`)."""
    seen: Evidence = Evidence(0.0, 0.0, 0.0)
    masked: bytes | None = None


class Batch(NamedTuple):
    """Rows as columns of equal length; `seen` as its four parts."""

    seq: Sequence[int]
    bucket: Sequence[Hashable]
    category: Sequence[str]
    uses: Sequence[int]
    wins: Sequence[int]
    question: Blobs
    caption: Blobs
    shape: Blobs
    masked: Blobs
    seen_uses: Sequence[float]
    seen_wins: Sequence[float]
    seen_at: Sequence[float]
    seen_in: Sequence[str]

    @classmethod
    def of(cls, entries: Iterable[Entry]) -> "Batch":
        """Of single rows, at least one."""
        rows = ((*one[:5], one.question, one.caption, one.shape, one.masked, *one.seen) for one in entries)
        return cls(*zip(*rows, strict=True))

    def picked(self, at: Sequence[int]) -> "Batch":
        """Some of the rows, by position."""
        if len(at) == len(self.seq):
            return self
        columns: Any = ([column[one] for one in at] for column in self)
        return Batch(*columns)

    def by_bucket(self) -> Mapping[Hashable, "Batch"]:
        """The rows of each bucket, in order."""
        groups: dict[Hashable, list[int]] = {}
        for at, key in enumerate(self.bucket):
            groups.setdefault(key, []).append(at)
        return {key: self.picked(at) for key, at in groups.items()}

    def sound(self, dimension: int) -> tuple["Batch", Rows]:
        """The rows whose vectors have the right size and length 1 (a flipped bit or a truncated blob shows there), and
        their questions' vectors `[N, D]`."""
        questions_ND = matrix(self.question, dimension)
        fine_N = of_length_one(questions_ND)
        captioned = [at for at, caption in enumerate(self.caption) if caption is not None]
        if captioned:
            fine_N[captioned] &= of_length_one(matrix([self.caption[at] for at in captioned], dimension))
        if fine_N.all():
            return self, questions_ND
        return self.picked(np.flatnonzero(fine_N).tolist()), questions_ND[fine_N]


def matrix(blobs: Blobs, dimension: int) -> Rows:
    """The vectors one below the other, `[N, D]`, read-only; zeros where there is none or one of another size."""
    nothing = bytes(4 * dimension)
    sized = [blob if blob is not None and len(blob) == len(nothing) else nothing for blob in blobs]
    return np.frombuffer(b"".join(sized), dtype="<f4").reshape(len(sized), dimension)


def of_length_one(rows_ND: NDArray[Any]) -> NDArray[np.bool_]:
    """Which vectors are whole: damaged ones hardly have length 1."""
    with np.errstate(over="ignore", invalid="ignore"):
        fine_N: NDArray[np.bool_] = np.abs(np.einsum("nd,nd->n", rows_ND, rows_ND) - 1.0) < 1e-3
    return fine_N
