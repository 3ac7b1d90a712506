"""The blended ranking: candidates with their signals in, ranked units with their reasons out (pure).

Both banks hand their candidates to `contest`; how they find them is their own affair.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.config import BlendWeights, ScoreWeights
from retrieval.bank import Explanation, Hit, MemoryQuery
from retrieval.blend import Signals, candidates, diverse, relevance
from retrieval.index import ROUNDING
from retrieval.places import Compared
from retrieval.postings import Shaped
from retrieval.recall import NOTHING, Ranked, Ranking, similarities
from retrieval.value import base_rate, faded, posterior, sampled
from retrieval.vectors import Rows

__all__ = ["Asked", "Pool", "contest", "pool_of", "shown_apart", "worth"]

DEPTH = 64
"""Candidates each of the two searches brings; what a smaller or larger number costs was not measured."""
SPARE = 4
"""Times k that are ranked before the ones that show differ are chosen."""

MaskedOf = Callable[[Sequence[int]], Sequence[Rows | None]]
"""The masked vectors of rows, by seq; None where a row has none."""


class Asked(NamedTuple):
    """A question as the blend compares it."""

    question_D: Rows
    caption_D: Rows | None
    masked_D: Rows | None
    shape: Shaped


class Pool(NamedTuple):
    """Candidates of one bucket and what speaks for each."""

    seq_E: NDArray[np.int64]
    signals: Signals
    uses_E: NDArray[np.float64]
    """Of the outcomes so far; what the paper counts."""
    wins_E: NDArray[np.float64]
    worth_E: NDArray[np.float64]
    base: float
    considered: int


def worth(
    uses_N: NDArray[np.float64],
    wins_N: NDArray[np.float64],
    blend: BlendWeights,
    picked: NDArray[np.intp],
    seed: tuple[int, ...],
) -> tuple[NDArray[np.float64], float]:
    """What the picked units of a bucket are worth, and the bucket's average; from evidence that has faded already."""
    base = base_rate(wins_N, uses_N)
    alpha_E, beta_E = posterior(wins_N[picked], uses_N[picked], base, blend.prior)
    if blend.explore:
        return sampled(alpha_E, beta_E, seed), base
    return np.asarray(alpha_E / (alpha_E + beta_E)), base


def pool_of(
    bucket: Compared,
    query: MemoryQuery,
    asked: Asked,
    weights: ScoreWeights,
    blend: BlendWeights,
    category: int | None,
    masked_of: MaskedOf,
    now: datetime,
    environment: str = "",
) -> Pool | None:
    """The candidates of a bucket in memory; None where it has no unit of the category."""
    columns = bucket.columns
    dense_M = similarities(bucket, asked.question_D, asked.caption_D, weights)
    lexical_M, seq_M = bucket.lexical_shares(asked.shape), columns["seq"]
    able = np.arange(len(bucket))
    if category is not None:
        able = np.flatnonzero(columns["category"] == category)
        dense_M, lexical_M, seq_M = dense_M[able], lexical_M[able], seq_M[able]
    if not len(able):
        return None
    chosen = np.union1d(candidates(dense_M, seq_M, DEPTH), candidates(lexical_M, seq_M, DEPTH))
    at_E = able[chosen]
    left_N = faded(now.timestamp() - columns["seen_at"], blend.half_life_days)
    left_N = np.where(columns["seen_in"] == crc32(environment.encode()), left_N, left_N * blend.elsewhere)
    uses_N, wins_N = columns["seen_uses"] * left_N, columns["seen_wins"] * left_N
    seed = (query.seed, crc32(f"{query.namespace}\n{query.text}\n{query.task}".encode()))
    worth_E, base = worth(uses_N, wins_N, blend, at_E, seed)
    dense_E = dense_M[chosen]
    masked_E = masked_cosines(asked.masked_D, masked_of(seq_M[chosen].tolist()), dense_E)
    signals = Signals(lexical_M[chosen], masked_E, dense_E)
    return Pool(seq_M[chosen], signals, columns["uses"][at_E], columns["wins"][at_E], worth_E, base, len(able))


def masked_cosines(asked_D: Rows | None, rows: Sequence[Rows | None], instead_E: Rows) -> Rows:
    """Cosines of the masked questions; the plain one where either side has no masked vector."""
    if asked_D is None:
        return instead_E
    pairs = zip(rows, instead_E.tolist(), strict=True)
    return np.array([other if row is None else float(row @ asked_D) for row, other in pairs], dtype=np.float32)


def contest(pool: Pool | None, query: MemoryQuery, blend: BlendWeights, k: int) -> Ranking:
    """The best `SPARE * k` candidates that reach the floor: relevance, plus what being worth more than the average
    adds; ties to the more relevant, then to the older."""
    if pool is None or k == 0:
        return NOTHING
    relevance_E = relevance(pool.signals, blend)
    scores_E = relevance_E + blend.value * (pool.worth_E - pool.base)
    order = np.lexsort((pool.seq_E, -relevance_E, -scores_E))
    best: list[Ranked] = []
    for at in order.tolist():
        if len(best) == SPARE * k:
            break
        score = float(scores_E[at])
        enough = query.min_score is None or score >= query.min_score
        if relevance_E[at] < query.min_relevance - ROUNDING or not enough:
            continue
        explained = Explanation(
            lexical=round(float(pool.signals.lexical_E[at]), 6),
            shape=round(float(pool.signals.masked_E[at]), 6),
            dense=round(float(pool.signals.dense_E[at]), 6),
            relevance=float(relevance_E[at]),
            floor=query.min_relevance,
            value=float(pool.worth_E[at]),
            base=pool.base,
        )
        uses, wins = int(pool.uses_E[at]), int(pool.wins_E[at])
        best.append(Ranked(int(pool.seq_E[at]), score, float(pool.signals.dense_E[at]), uses, wins, explained))
    top = float(relevance_E.max())
    return Ranking(tuple(best), pool.considered, top, query.min_relevance, "relevance")


def shown_apart(found: Sequence[tuple[Ranked, Hit]], k: int, blend: BlendWeights) -> tuple[tuple[Ranked, Hit], ...]:
    """The `k` that are shown: no two with the same workflow, nor a general one beside its own members, and among
    the others those that differ (MMR)."""
    apart: list[tuple[Ranked, Hit]] = []
    for ranked, hit in found:
        if not any(_one_cluster(hit, other) for _, other in apart):
            apart.append((ranked, hit))
    words = [frozenset(hit.unit.workflow.casefold().split()) for _, hit in apart]
    picked = diverse([hit.score for _, hit in apart], words, k, blend.diversity)
    return tuple(apart[at] for at in picked)


def _one_cluster(hit: Hit, other: Hit) -> bool:
    one, two = hit.unit, other.unit
    if " ".join(one.workflow.casefold().split()) == " ".join(two.workflow.casefold().split()):
        return True
    general = [unit for unit in (one, two) if unit.id.startswith("gen_")]
    return any({one.id, two.id} & set(unit.provenance.parents) for unit in general)
