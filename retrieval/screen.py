"""Exact nearest neighbours by a rough look at all rows and an exact look at the few that can be among the best.

Rows and queries are rounded to bytes; how far a product of the rounded can be from the true one is bounded
(Cauchy-Schwarz), so a row whose rough score is below k other rows' by more than twice that bound cannot be among the k
best. The others, a handful, are compared in float32. The answer is the one that a flat index gives.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from retrieval.int8_product import FULL, Int8Product, largest_code
from retrieval.vectors import Rows

__all__ = ["Screen"]

AT_ONCE = 64
"""Queries of one product: bounds the memory for scores, 13 MB at 50,000 rows."""
ROUNDING = 1e-5
"""Of float32 itself, a share of the lengths multiplied."""
BLOCK = 4_096
"""Rows rounded at a time."""
GROUPS = 8
"""Of rows, for each hit wanted: two of the best seldom meet in one."""
LEAST_GROUPS = 512
"""Short rows of numbers are not worth a vector instruction."""
TINY = np.float32(1e-30)


class Coded(NamedTuple):
    """Rows rounded to bytes with a scale each."""

    code_ND: NDArray[np.int8]
    scale_N: NDArray[np.float32]
    error_N: NDArray[np.float32]
    """Length of what rounding took away, in scales."""
    length_N: NDArray[np.float32]
    """Of the row, in scales."""


class Screen:
    """Exact search of fixed float32 rows by inner product. Safe from several threads."""

    def __init__(self, row_ND: Rows) -> None:
        self._row_ND = row_ND
        largest = largest_code(row_ND.shape[1])
        parts = [rounded(row_ND[start : start + BLOCK], largest) for start in range(0, len(row_ND), BLOCK)]
        code_ND, scale_N, error_N, length_N = (np.concatenate(column) for column in zip(*parts, strict=True))
        self._error, self._length = float((error_N * scale_N).max()), float((length_N * scale_N).max())
        self._product = Int8Product(code_ND, scale_N)

    def search(self, query_QD: Rows, depth: int) -> Iterator[list[tuple[int, float]]]:
        """For each query the `depth` best rows with their products, best first, equal ones by position."""
        for start in range(0, len(query_QD), AT_ONCE):
            yield from self._some(query_QD[start : start + AT_ONCE], depth)

    def _some(self, query_QD: Rows, depth: int) -> Iterator[list[tuple[int, float]]]:
        coded = rounded(query_QD, FULL)
        score_QN = self._product.scores(coded.code_ND)
        # In units of the queries' scales, as the scores are.
        error = coded.length_N * self._error + coded.error_N * (self._length + self._error)
        room = 2 * (error + ROUNDING * coded.length_N * self._length)
        floor_Q = reached_by(score_QN, depth) - room
        for query_D, score_N, floor in zip(query_QD, score_QN, floor_Q, strict=True):
            near = np.flatnonzero(score_N >= floor)
            # Not `take`: it first copies all rows of a mapped file that are not aligned.
            exact = np.einsum("nd,d->n", self._row_ND[near], query_D)
            order = np.argsort(-exact, kind="stable")[:depth]
            yield list(zip(near[order].tolist(), exact[order].tolist(), strict=True))


def reached_by(score_QN: Rows, depth: int) -> Rows:
    """For each query a score that at least `depth` rows reach, as high as can be told at once: rows are dealt into
    groups, and the `depth`-th best of the groups' best is taken."""
    queries, rows = score_QN.shape
    groups = min(rows, max(LEAST_GROUPS, GROUPS * depth))
    whole = score_QN[:, : rows // groups * groups].reshape(queries, -1, groups)
    return np.partition(whole.max(axis=1), groups - depth, axis=1)[:, groups - depth]


def rounded(row_ND: Rows, largest: int) -> Coded:
    """Each row as whole numbers up to `largest`, times a scale."""
    scale_N = np.maximum(np.abs(row_ND).max(axis=1) / np.float32(largest), TINY)
    scaled_ND = row_ND / scale_N[:, None]
    code_ND = np.rint(scaled_ND)
    error_N = np.linalg.norm(scaled_ND - code_ND, axis=1)
    return Coded(code_ND.astype(np.int8), scale_N, error_N, np.linalg.norm(scaled_ND, axis=1))
