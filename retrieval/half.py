"""Vectors kept at half precision, with a bound on what that costs: enough to say which few need the exact ones."""

from collections.abc import Sequence
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.require import require
from retrieval.entries import matrix, of_length_one
from retrieval.vectors import Rows, grown

__all__ = ["HalfIndex", "HalfRows"]

BLOCK = 4096
"""Rows rounded or widened at a time."""
FEW = 256
"""Rows compared at a time: they stay in the processor's cache."""
SIGN_AND_NUMBER = np.int32(-0x70000001)
"""0x8FFFFFFF: all but the three bits between them."""


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
            self._rows, self._there = grown(self._rows, size), grown(self._there, size)
        rows_ND = matrix(blobs, self._dimension)
        fine_N = of_length_one(rows_ND)
        with np.errstate(over="ignore", invalid="ignore"):
            rounded_ND = rows_ND.astype(np.float16)
        added = slice(self._count, needed)
        self._rows[added], self._there[added], self._count = rounded_ND, fine_N, needed
        if fine_N.any():
            self.slack = max(self.slack, slack_of(rows_ND[fine_N], rounded_ND[fine_N]))

    def products(self, query_D: Rows, at_E: NDArray[np.intp]) -> tuple[Rows, NDArray[np.bool_]]:
        """Inner products with some rows, good to `slack`, and which of the rows are there."""
        return widened(self._rows[at_E]) @ query_D, self._there[at_E]

    def swap_remove(self, position: int) -> None:
        """Put the last row in the place of this one."""
        self._count -= 1
        self._rows[position], self._there[position] = self._rows[self._count], self._there[self._count]


class HalfIndex:
    """`faiss.IndexScalarQuantizer` at half precision: half the memory of a flat index and half its time. It names the
    rows that may be the nearest; which of them are is for the exact vectors to say. Not thread-safe."""

    def __init__(self, dimension: int) -> None:
        self._faiss: Any = require("faiss", extra="faiss-gpu")
        self._dimension = dimension
        quantizer, product = self._faiss.ScalarQuantizer, self._faiss.METRIC_INNER_PRODUCT
        self._index = self._faiss.IndexScalarQuantizer(dimension, quantizer.QT_fp16, product)
        self.slack = 0.0
        """As in `HalfRows`."""

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, rows_ND: Rows) -> None:
        for start in range(0, len(rows_ND), BLOCK):
            block_BD = np.ascontiguousarray(rows_ND[start : start + BLOCK], dtype=np.float32)
            before = len(self)
            self._index.add(block_BD)
            self.slack = max(self.slack, slack_of(block_BD, self._codes()[before:]))

    def nearest(
        self, query_D: Rows, count: int, among: NDArray[np.intp] | None = None
    ) -> tuple[NDArray[np.intp], Rows]:
        """Positions and products, good to `slack`, of the `count` best rows, the best first; of fewer if there are no
        more."""
        count, params = min(count, len(self)), None
        if among is not None:
            able_N = np.zeros(len(self), dtype=bool)
            able_N[among] = True
            bits = np.packbits(able_N, bitorder="little")
            # FAISS keeps plain pointers: the names hold both objects until the search is over.
            selector = self._faiss.IDSelectorBitmap(bits)
            count, params = min(count, len(among)), self._faiss.SearchParameters(sel=selector)
        if not count:
            return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.float32)
        query_1D = np.ascontiguousarray(query_D, dtype=np.float32)[None]
        # One query is one thread's work; the others would only be started (94 ms instead of 2 on a busy machine). The
        # setting is the calling thread's own.
        self._faiss.omp_set_num_threads(1)
        products_1K, at_1K = self._index.search(query_1D, count, params=params)
        return at_1K[0].astype(np.intp), products_1K[0]

    def products(self, query_D: Rows, at_E: NDArray[np.intp]) -> Rows:
        """Inner products with some rows, good to `slack`."""
        return widened(self._codes()[at_E]) @ query_D

    def similarities(self, query_D: Rows) -> Rows:
        """With all rows, good to `slack`. Slow beside `nearest`: they are widened one block after the other."""
        blocks = (self._codes()[start : start + BLOCK] for start in range(0, len(self), BLOCK))
        return np.concatenate([np.zeros(0, np.float32), *(widened(block) @ query_D for block in blocks)])

    def matrix(self) -> Rows:
        """All vectors, good to `slack`, copied."""
        return widened(self._codes())

    def swap_remove(self, position: int) -> None:
        last = len(self) - 1
        if position != last:
            codes = self._codes()
            codes[position] = codes[last]
        self._index.remove_ids(self._faiss.IDSelectorRange(last, last + 1))

    def _codes(self) -> NDArray[np.float16]:
        """FAISS's own memory; valid until the next add."""
        if not len(self):
            return np.zeros((0, self._dimension), dtype=np.float16)
        codes = self._faiss.rev_swig_ptr(self._index.codes.data(), self._index.codes.size())
        rows: NDArray[np.float16] = codes.view(np.float16).reshape(len(self), self._dimension)
        return rows


def widened(rounded_ND: NDArray[np.float16]) -> Rows:
    """The same numbers as float32, by moving their bits in place: a sixth of the time of a cast. Of finite ones."""
    bits_ND = np.ascontiguousarray(rounded_ND).view(np.int16).astype(np.int32)
    # The sign filled all bits above it: of these the first stays.
    bits_ND <<= 13
    bits_ND &= SIGN_AND_NUMBER
    # The exponent counts from 15 there and from 127 here.
    wide_ND = bits_ND.view(np.float32)
    wide_ND *= np.float32(2.0**112)
    return wide_ND


def slack_of(rows_ND: Rows, rounded_ND: NDArray[np.float16]) -> float:
    """How far an inner product of a rounded row with a vector of length 1 may be from the exact one."""
    most = 0.0
    for start in range(0, len(rows_ND), FEW):
        lost_ND = rows_ND[start : start + FEW] - widened(rounded_ND[start : start + FEW])
        most = max(most, float(np.einsum("nd,nd->n", lost_ND, lost_ND).max()))
    # A little more, for what float32 loses in the products themselves.
    return sqrt(most) + 2e-6
