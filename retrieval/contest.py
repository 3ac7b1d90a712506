"""The blended ranking: candidates with their signals in, ranked units with their reasons out (pure).

Both banks hand their candidates to `contest`; how they find them is their own affair.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.config import BlendWeights, ScoreWeights
from retrieval.bank import MemoryQuery
from retrieval.blend import Signals, candidates, diverse, relevance
from retrieval.half import HalfIndex
from retrieval.index import ROUNDING
from retrieval.places import Compared
from retrieval.postings import Shaped
from retrieval.recall import NOTHING, Ranked, Ranking, Reasons, similarities
from retrieval.value import base_of, posterior, present, sampled
from retrieval.vectors import Rows

__all__ = ["Asked", "Exact", "Pool", "Sketch", "contest", "pool_of", "shown_apart", "worth"]

DEPTH = 64
"""Candidates each of the two searches brings; what a smaller or larger number costs was not measured."""
SPARE = 4
"""Times k that are ranked before the ones that show differ are chosen."""

MOST_READ = 1024
"""Rows read to decide who is a candidate. Where rounding leaves more of them open, they are as good as equal."""


class Exact(NamedTuple):
    """The vectors as the rows have them, by seq."""

    masked: Callable[[Sequence[int]], Sequence[Rows | None]]
    """Of the masked questions, in the order asked; None where a row has none."""
    questions: Callable[[Sequence[int]], Mapping[int, Rows | None]]


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
    stored: Exact,
    now: datetime,
    environment: str = "",
    k: int = 20,
) -> Pool | None:
    """The candidates of a bucket; None where it has no unit of the category. Of the signals only those are exact that
    decide who is among the best `SPARE * k`."""
    columns = bucket.columns
    able = None if category is None else np.flatnonzero(columns["category"] == category)
    count = len(bucket) if able is None else len(able)
    if not count:
        return None
    lexical_N, seq_N = bucket.lexical_shares(asked.shape), columns["seq"]
    dense = _dense(bucket, asked, weights, able, stored)
    at_E = np.unique(np.concatenate([dense.best, _best(lexical_N, seq_N, able)]))
    seed = (query.seed, crc32(f"{query.namespace}\n{query.text}\n{query.task}".encode()))
    worth_E, base = worth(bucket, at_E, blend, now.timestamp(), environment, seed)
    dense_E = dense.at(at_E)
    signals = Signals(lexical_N[at_E], dense_E, dense_E)
    pool = Pool(seq_N[at_E], signals, columns["uses"][at_E], columns["wins"][at_E], worth_E, base, count)
    return _decided(pool, bucket, asked, at_E, dense.slack, stored, query, blend, k)


class _Dense(NamedTuple):
    """Cosines of the questions with one bucket."""

    best: NDArray[np.intp]
    """The `DEPTH` best positions."""
    at: Callable[[NDArray[np.intp]], Rows]
    slack: float
    """How far those `at` positions may be off."""


def _best(values_N: Rows, seq_N: NDArray[np.int64], able: NDArray[np.intp] | None) -> NDArray[np.intp]:
    if able is None:
        return candidates(values_N, seq_N, DEPTH)
    return able[candidates(values_N[able], seq_N[able], DEPTH)]


def _dense(
    bucket: Compared, asked: Asked, weights: ScoreWeights, able: NDArray[np.intp] | None, stored: Exact
) -> _Dense:
    rounded = bucket.rounded_questions()
    if rounded is None or asked.caption_D is not None:
        dense_N = similarities(bucket, asked.question_D, asked.caption_D, weights)
        slack = 0.0 if rounded is None else rounded.slack
        return _Dense(_best(dense_N, bucket.columns["seq"], able), dense_N.__getitem__, slack)
    best = _foremost(rounded, asked.question_D, able, bucket.columns["seq"], stored)
    return _Dense(best, partial(rounded.products, asked.question_D), rounded.slack)


def _foremost(
    rounded: HalfIndex,
    question_D: Rows,
    able: NDArray[np.intp] | None,
    seq_N: NDArray[np.int64],
    stored: Exact,
) -> NDArray[np.intp]:
    """The `DEPTH` best positions, as the exact vectors have them: those in doubt are read."""
    count, wanted = len(rounded) if able is None else len(able), 2 * DEPTH
    while True:
        at_K, product_K = rounded.nearest(question_D, wanted, able)
        if len(at_K) <= DEPTH:
            return at_K
        bar, room = product_K[DEPTH - 1], 2 * rounded.slack
        if wanted >= min(count, MOST_READ) or product_K[-1] < bar - room:
            break
        wanted *= 4
    sure_K = product_K > bar + room
    doubt = at_K[~sure_K & (product_K >= bar - room)]
    product_D = product_K[~sure_K & (product_K >= bar - room)]
    if np.count_nonzero(sure_K) + len(doubt) > DEPTH:
        exact = stored.questions(seq_N[doubt].tolist())
        rows = [exact.get(seq) for seq in seq_N[doubt].tolist()]
        told = [kept if row is None else row @ question_D for row, kept in zip(rows, product_D, strict=True)]
        doubt = doubt[np.lexsort((seq_N[doubt], -np.array(told)))]
    return np.concatenate([at_K[sure_K], doubt])[:DEPTH]


def _decided(
    pool: Pool,
    bucket: Compared,
    asked: Asked,
    at_E: NDArray[np.intp],
    slack: float,
    stored: Exact,
    query: MemoryQuery,
    blend: BlendWeights,
    k: int,
) -> Pool:
    """With the cosines of the masked questions, and with those exact that decide. Where a unit has no masked vector,
    the plain cosine, good to `slack`, stands in."""
    dense_E, masked_D = np.array(pool.signals.dense_E), asked.masked_D
    rough = None if masked_D is None else bucket.masked_products(masked_D, at_E)
    if rough is None:
        masked_E, open_E, off = np.array(dense_E), np.full(len(at_E), masked_D is not None), 0.0
        refined = np.arange(len(at_E))
    else:
        cosines_E, open_E, off = rough
        masked_E = np.where(open_E, cosines_E, dense_E)
        rough_pool = pool._replace(signals=pool.signals._replace(masked_E=masked_E))
        undecided_E = _undecided(rough_pool, query, blend, k, max(off, slack), slack)
        refined = np.flatnonzero(undecided_E & open_E if not slack else undecided_E)
    if slack and asked.caption_D is None and len(refined):
        exact = stored.questions(pool.seq_E[refined].tolist())
        for at, row in zip(refined.tolist(), map(exact.get, pool.seq_E[refined].tolist()), strict=True):
            if row is not None:
                dense_E[at] = row @ asked.question_D
        masked_E = np.where(open_E, masked_E, dense_E)
    refined = refined[open_E[refined]]
    if masked_D is not None and len(refined):
        for at, row in zip(refined.tolist(), stored.masked(pool.seq_E[refined].tolist()), strict=True):
            if row is not None:
                masked_E[at] = row @ masked_D
    return pool._replace(signals=Signals(pool.signals.lexical_E, masked_E, dense_E))


def _undecided(
    pool: Pool, query: MemoryQuery, blend: BlendWeights, k: int, masked_off: float, dense_off: float
) -> NDArray[np.bool_]:
    """Who may be among the best `SPARE * k`, or the most relevant, when every cosine may be off by so much."""
    relevance_E = relevance(pool.signals, blend)
    scores_E = relevance_E + blend.value * (pool.worth_E - pool.base)
    off = (masked_off * blend.masked + dense_off * blend.dense) / (blend.lexical + blend.masked + blend.dense)
    off += ROUNDING
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
    first, floor = order[: SPARE * k], query.min_relevance
    told = (*pool.signals, relevance_E, scores_E, pool.worth_E, pool.uses_E, pool.wins_E)
    rows = zip(pool.seq_E[first].tolist(), *(column[first].tolist() for column in told), strict=True)
    best = tuple(
        Ranked(
            *(seq, score, dense, int(uses), int(wins)),
            Reasons(round(lexical, 6), round(shape, 6), round(dense, 6), relevant, floor, mean, pool.base),
        )
        for seq, lexical, shape, dense, relevant, score, mean, uses, wins in rows
    )
    top = float(relevance_E.max())
    return Ranking(best, pool.considered, top, query.min_relevance, "relevance")


class Sketch(NamedTuple):
    """What decides whether two units are shown side by side."""

    id: str
    workflow: str
    members: frozenset[str] = frozenset()
    """Of a general workflow: the units it was made of."""


def shown_apart(sketches: Sequence[Sketch], scores: Sequence[float], k: int, blend: BlendWeights) -> list[int]:
    """Positions of the `k` that are shown, of units in the order of their rank: no two with the same workflow, nor a
    general one beside its own members, and among the others those that differ (MMR)."""
    plain = [tuple(sketch.workflow.casefold().split()) for sketch in sketches]
    apart: list[int] = []
    for at, sketch in enumerate(sketches):
        if not any(
            plain[at] == plain[one] or sketches[one].id in sketch.members or sketch.id in sketches[one].members
            for one in apart
        ):
            apart.append(at)
    if len(apart) == 1 or not k:
        return apart[:k]
    words = [frozenset(plain[at]) for at in apart]
    return [apart[at] for at in diverse([scores[at] for at in apart], words, k, blend.diversity)]
