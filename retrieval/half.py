"""Vectors kept at half precision, with a bound on what that costs: enough to say which few need the exact ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.vectors import Rows

__all__ = ["HalfRows"]


class HalfRows:
    """Rows 0..N-1 as float16, some of them missing. Not thread-safe: the bank holds a lock."""

    def __init__(self, dimension: int) -> None:
        self._dimension = dimension
        self._count = 0
        self._rows = np.zeros((16, dimension), dtype=np.float16)
        self._there = np.zeros(16, dtype=bool)
        self.slack = 0.0
        """No inner product with a query of length 1 is further from the exact one: the longest rounding error."""

    def __len__(self) -> int:
        return self._count

    def extend(self, blobs: Sequence[bytes | None]) -> None:
        """Append float32 rows as they are stored; one that is damaged counts as missing."""
        needed = self._count + len(blobs)
        if needed > len(self._rows):
            size = max(needed, 2 * len(self._rows))
            self._rows, self._there = np.resize(self._rows, (size, self._dimension)), np.resize(self._there, size)
        nothing = bytes(4 * self._dimension)
        sized = [blob if blob is not None and len(blob) == len(nothing) else nothing for blob in blobs]
        rows_ND = np.frombuffer(b"".join(sized), dtype="<f4").reshape(len(blobs), self._dimension)
        with np.errstate(over="ignore", invalid="ignore"):
            fine_N = np.abs(np.einsum("nd,nd->n", rows_ND, rows_ND) - 1.0) < 1e-3
            rounded_ND = rows_ND.astype(np.float16)
        added = slice(self._count, needed)
        self._rows[added], self._there[added], self._count = rounded_ND, fine_N, needed
        if fine_N.any():
            lost_ND = rows_ND[fine_N] - rounded_ND[fine_N].astype(np.float32)
            # A little more, for what float32 loses in the products themselves.
            self.slack = max(self.slack, float(np.sqrt(np.einsum("nd,nd->n", lost_ND, lost_ND).max())) + 2e-6)

    def products(self, query_D: Rows, at_E: NDArray[np.intp]) -> tuple[Rows, NDArray[np.bool_]]:
        """Inner products with some rows, good to `slack`, and which of the rows are there."""
        return self._rows[at_E].astype(np.float32) @ query_D, self._there[at_E]

    def swap_remove(self, position: int) -> None:
        """Put the last row in the place of this one."""
        self._count -= 1
        self._rows[position], self._there[position] = self._rows[self._count], self._there[self._count]
