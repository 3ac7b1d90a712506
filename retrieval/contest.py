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
from retrieval.bank import Explanation, MemoryQuery
from retrieval.blend import Signals, candidates, diverse, relevance
from retrieval.index import ROUNDING
from retrieval.places import Compared
from retrieval.postings import Shaped
from retrieval.recall import NOTHING, Ranked, Ranking, similarities
from retrieval.value import base_of, posterior, present, sampled
from retrieval.vectors import Rows

__all__ = ["Asked", "Pool", "Sketch", "contest", "pool_of", "shown_apart", "worth"]

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
    bucket: Compared, picked: NDArray[np.intp], blend: BlendWeights, at: float, environment: str, seed: tuple[int, ...]
) -> tuple[NDArray[np.float64], float]:
    """What the picked units of a bucket are worth at the moment `at`, and the bucket's average."""
    told = (at, blend.half_life_days, blend.elsewhere, environment)
    base = base_of(bucket, *told)
    uses_E, wins_E = present(bucket.columns, *told, picked)
    alpha_E, beta_E = posterior(wins_E, uses_E, base, blend.prior)
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
    k: int = 20,
) -> Pool | None:
    """The candidates of a bucket; None where it has no unit of the category. Of the signals only those are exact that
    decide who is among the best `SPARE * k`."""
    columns = bucket.columns
    dense_M = similarities(bucket, asked.question_D, asked.caption_D, weights)
    lexical_M, seq_M = bucket.lexical_shares(asked.shape), columns["seq"]
    able = None if category is None else np.flatnonzero(columns["category"] == category)
    if able is not None:
        dense_M, lexical_M, seq_M = dense_M[able], lexical_M[able], seq_M[able]
    if not len(seq_M):
        return None
    best = (candidates(dense_M, seq_M, DEPTH), candidates(lexical_M, seq_M, DEPTH))
    chosen = np.unique(np.concatenate(best))
    at_E = chosen if able is None else able[chosen]
    seed = (query.seed, crc32(f"{query.namespace}\n{query.text}\n{query.task}".encode()))
    worth_E, base = worth(bucket, at_E, blend, now.timestamp(), environment, seed)
    signals = Signals(lexical_M[chosen], dense_M[chosen], dense_M[chosen])
    pool = Pool(seq_M[chosen], signals, columns["uses"][at_E], columns["wins"][at_E], worth_E, base, len(seq_M))
    return pool if asked.masked_D is None else _masked(pool, bucket, asked.masked_D, at_E, masked_of, query, blend, k)


def _masked(
    pool: Pool,
    bucket: Compared,
    masked_D: Rows,
    at_E: NDArray[np.intp],
    masked_of: MaskedOf,
    query: MemoryQuery,
    blend: BlendWeights,
    k: int,
) -> Pool:
    """With the cosines of the masked questions; where a unit has no masked vector, the plain cosine stands in."""
    rough = bucket.masked_products(masked_D, at_E)
    if rough is None:
        refined = np.arange(len(at_E))
        masked_E = np.array(pool.signals.dense_E)
    else:
        cosines_E, there_E, slack = rough
        masked_E = np.where(there_E, cosines_E, pool.signals.dense_E)
        rough_pool = pool._replace(signals=pool.signals._replace(masked_E=masked_E))
        refined = np.flatnonzero(there_E & _undecided(rough_pool, query, blend, k, slack))
    exact = masked_of(pool.seq_E[refined].tolist()) if len(refined) else ()
    for at, row in zip(refined.tolist(), exact, strict=True):
        if row is not None:
            masked_E[at] = row @ masked_D
    return pool._replace(signals=pool.signals._replace(masked_E=masked_E))


def _undecided(pool: Pool, query: MemoryQuery, blend: BlendWeights, k: int, slack: float) -> NDArray[np.bool_]:
    """Who may be among the best `SPARE * k`, or the most relevant, when every masked cosine may be off by `slack`."""
    relevance_E = relevance(pool.signals, blend)
    scores_E = relevance_E + blend.value * (pool.worth_E - pool.base)
    off = slack * blend.masked / (blend.lexical + blend.masked + blend.dense) + ROUNDING
    floor, least = query.min_relevance - ROUNDING, -np.inf if query.min_score is None else query.min_score
    sure_E = (relevance_E - off >= floor) & (scores_E - off >= least)
    low = np.sort(scores_E[sure_E] - off)
    bar = low[-SPARE * k] if len(low) >= SPARE * k else least
    able_E = (relevance_E + off >= floor) & (scores_E + off >= bar)
    return np.asarray(able_E | (relevance_E + off >= relevance_E.max() - off))


def contest(pool: Pool | None, query: MemoryQuery, blend: BlendWeights, k: int) -> Ranking:
    """The best `SPARE * k` candidates that reach the floor: relevance, plus what being worth more than the average
    adds; ties to the more relevant, then to the older."""
    if pool is None or k == 0:
        return NOTHING
    relevance_E = relevance(pool.signals, blend)
    scores_E = relevance_E + blend.value * (pool.worth_E - pool.base)
    enough_E = relevance_E >= query.min_relevance - ROUNDING
    if query.min_score is not None:
        enough_E &= scores_E >= query.min_score
    able = np.flatnonzero(enough_E)
    order = able[np.lexsort((pool.seq_E[able], -relevance_E[able], -scores_E[able]))]
    best: list[Ranked] = []
    for at in order[: SPARE * k].tolist():
        # Numbers made here: validating them for all, when half are shown, costs more than it finds.
        explained = Explanation.model_construct(
            lexical=round(float(pool.signals.lexical_E[at]), 6),
            shape=round(float(pool.signals.masked_E[at]), 6),
            dense=round(float(pool.signals.dense_E[at]), 6),
            relevance=float(relevance_E[at]),
            floor=query.min_relevance,
            value=float(pool.worth_E[at]),
            base=pool.base,
        )
        uses, wins, score = int(pool.uses_E[at]), int(pool.wins_E[at]), float(scores_E[at])
        best.append(Ranked(int(pool.seq_E[at]), score, float(pool.signals.dense_E[at]), uses, wins, explained))
    top = float(relevance_E.max())
    return Ranking(tuple(best), pool.considered, top, query.min_relevance, "relevance")


class Sketch(NamedTuple):
    """What decides whether two units are shown side by side."""

    id: str
    workflow: str
    members: frozenset[str] = frozenset()
    """Of a general workflow: the units it was made of."""


def shown_apart(sketches: Sequence[Sketch], scores: Sequence[float], k: int, blend: BlendWeights) -> list[int]:
    """Positions of the `k` that are shown, of units in the order of their rank: no two with the same workflow, nor a
    general one beside its own members, and among the others those that differ (MMR)."""
    plain = [" ".join(sketch.workflow.casefold().split()) for sketch in sketches]
    apart: list[int] = []
    for at, sketch in enumerate(sketches):
        if not any(
            plain[at] == plain[one] or sketches[one].id in sketch.members or sketch.id in sketches[one].members
            for one in apart
        ):
            apart.append(at)
    words = [frozenset(plain[at].split()) for at in apart]
    return [apart[at] for at in diverse([scores[at] for at in apart], words, k, blend.diversity)]
