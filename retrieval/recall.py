"""From a bucket's vectors to the hits that are shown: score, floors, order, budget (spec section 2)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mia_skill.core.config import ScoreWeights
from mia_skill.core.types import MemoryUnit
from retrieval.bank import Explanation, Hit, MemoryQuery, Recall
from retrieval.index import ROUNDING
from retrieval.places import Compared
from retrieval.score import paper_scores, similarity
from retrieval.vectors import Rows

__all__ = ["Ranked", "Ranking", "Reasons", "fit", "make_hit", "nearest", "note_of", "rank"]

CHARS_PER_TOKEN = 4
"""Rough, and on the safe side for English."""


class Reasons(NamedTuple):
    """`Explanation`, of a unit that may not be shown: checked values are made for those that are."""

    lexical: float
    shape: float
    dense: float
    relevance: float
    floor: float
    value: float
    base: float


class Ranked(NamedTuple):
    """One unit that passed the floors."""

    seq: int
    score: float
    similarity: float
    uses: int
    wins: int
    explanation: Reasons | None = None


class Ranking(NamedTuple):
    """The best of one bucket."""

    best: tuple[Ranked, ...]
    considered: int
    top_similarity: float | None
    """Of the whole bucket, also when nothing passed; None for an empty one."""
    floor: float = -1.0
    """What it had to reach."""
    measure: str = "similarity"


MEASURED = {"similarity": "similar", "relevance": "relevant"}
NOTHING = Ranking((), 0, None)


def similarities(bucket: Compared, question_D: Rows, caption_D: Rows | None, weights: ScoreWeights) -> Rows:
    """`Sim` of every unit of the bucket; float32 where no caption takes part, as the index gives it."""
    sim_N = bucket.question_similarities(question_D)
    captions_N = bucket.caption_similarities(caption_D)
    if captions_N is None:
        return sim_N
    return np.asarray(similarity(sim_N, captions_N, bucket.columns["captioned"], weights), dtype=np.float32)


def rank(
    bucket: Compared | None,
    query: MemoryQuery,
    k: int,
    question_D: Rows,
    caption_D: Rows | None,
    weights: ScoreWeights,
    category: int | None,
) -> Ranking:
    """The `k` best units of a bucket: paper score among those that reach `min_similarity`, ties to the more similar,
    then to the older. The min-max is over the bucket, or over its units of `category`."""
    if bucket is None or k == 0:
        return NOTHING
    columns = bucket.columns
    sim_N = similarities(bucket, question_D, caption_D, weights)
    chosen = None if category is None else np.flatnonzero(columns["category"] == category)
    sim_M = sim_N if chosen is None else sim_N[chosen]
    if not sim_M.size:
        return NOTHING
    low, high = float(sim_M.min()), float(sim_M.max())
    fit_E = np.flatnonzero(sim_M >= query.min_similarity - ROUNDING)
    at_E = fit_E if chosen is None else chosen[fit_E]
    scores_E = paper_scores(sim_N[at_E], columns["wins"][at_E], columns["uses"][at_E], weights, bounds=(low, high))
    best = []
    for position in _top(scores_E, sim_N[at_E], columns["seq"][at_E], k):
        at = at_E[position]
        score = float(scores_E[position])
        if query.min_score is None or score >= query.min_score:
            uses, wins = int(columns["uses"][at]), int(columns["wins"][at])
            best.append(Ranked(int(columns["seq"][at]), score, float(sim_N[at]), uses, wins))
    return Ranking(tuple(best), len(sim_M), high, query.min_similarity)


def nearest(
    bucket: Compared | None,
    k: int,
    question_D: Rows,
    caption_D: Rows | None,
    weights: ScoreWeights,
    *,
    min_similarity: float,
) -> tuple[tuple[int, float], ...]:
    """`(seq, similarity)` of the `k` most similar rows, the most similar first, ties to the older."""
    if bucket is None or k == 0:
        return ()
    sim_N = similarities(bucket, question_D, caption_D, weights)
    seq_N = bucket.columns["seq"]
    top = _top(sim_N, sim_N, seq_N, k)
    return tuple((int(seq_N[at]), float(sim_N[at])) for at in top if sim_N[at] >= min_similarity - ROUNDING)


def _top(scores_E: np.ndarray, sim_E: np.ndarray, seq_E: np.ndarray, k: int) -> Sequence[int]:
    """Positions of the `k` best; sorts only those that can be among them."""
    if len(scores_E) > k:
        bar = np.partition(scores_E, len(scores_E) - k)[len(scores_E) - k]
        able = np.flatnonzero(scores_E >= bar)
    else:
        able = np.arange(len(scores_E))
    order = np.lexsort((seq_E[able], -sim_E[able], -scores_E[able]))
    return [int(position) for position in able[order[:k]]]


def make_hit(unit: MemoryUnit, ranked: Ranked) -> Hit:
    """A hit with the reasons for it."""
    shown = f"right {ranked.wins} of the {ranked.uses} times it was shown" if ranked.uses else "never shown so far"
    told = ranked.explanation
    if told is None:
        why = f"similarity {ranked.similarity:.2f}; {shown}; score {ranked.score:.2f}"
    else:
        signals = f"words {told.lexical:.2f}, shape {told.shape:.2f}, meaning {told.dense:.2f}"
        why = (
            f"relevance {told.relevance:.2f} ({signals}; floor {told.floor:.2f}); {shown}; "
            f"worth {told.value:.2f}, usual {told.base:.2f}"
        )
    return Hit(
        unit=unit,
        score=ranked.score,
        similarity=ranked.similarity,
        value=ranked.wins / (ranked.uses + 1),
        rarity=1 / (ranked.uses + 1),
        why=why,
        explanation=None if told is None else Explanation.model_validate(told._asdict()),
    )


def fit(successes: Sequence[Hit], failures: Sequence[Hit], max_tokens: int) -> tuple[list[Hit], list[Hit]]:
    """What the token budget has room for, taken in turns: best success, best failure, second success, ..."""
    left = max_tokens * CHARS_PER_TOKEN
    kept: tuple[list[Hit], list[Hit]] = ([], [])
    for place in range(max(len(successes), len(failures))):
        for side, hits in enumerate((successes, failures)):
            if place < len(hits):
                size = _size(hits[place].unit)
                if size <= left:
                    left -= size
                    kept[side].append(hits[place])
    return kept


def _size(unit: MemoryUnit) -> int:
    return len(unit.question) + len(unit.caption or "") + len(unit.workflow)


def note_of(query: MemoryQuery, rankings: Sequence[Ranking], kept: int) -> str:
    """One line for people: what was found, or why nothing was."""
    considered = sum(ranking.considered for ranking in rankings)
    ranked = sum(len(ranking.best) for ranking in rankings)
    if kept:
        left_out = f"; {ranked - kept} left out by the limit of {query.max_tokens} tokens" if kept < ranked else ""
        return f"{kept} of {considered} units{left_out}"
    if not considered:
        if not query.k_success and not query.k_failure:
            return "nothing was asked for: k_success and k_failure are 0"
        where = f"namespace {query.namespace!r}" + (f", category {query.category!r}" if query.category else "")
        return f"nothing relevant: no judged units to compare with in {where}"
    top, floor, measure = max(
        (ranking.top_similarity, ranking.floor, ranking.measure)
        for ranking in rankings
        if ranking.top_similarity is not None
    )
    best = f"the most {MEASURED[measure]} of {considered} units has {measure} {top:.2f}"
    if ranked:
        return f"nothing relevant fits: {ranked} units are longer than the limit of {query.max_tokens} tokens; {best}"
    if top < floor:
        return f"nothing relevant: {best}, under the floor of {floor:.2f}"
    return f"nothing relevant: {best}, but no score reaches {query.min_score}"


def recall_of(query: MemoryQuery, rankings: Sequence[Ranking], hits: Sequence[Sequence[Hit]]) -> Recall:
    """The answer to `query` from the rankings of (successes, failures) and their hits."""
    successes, failures = fit(hits[0], hits[1], query.max_tokens)
    return Recall(
        successes=tuple(successes),
        failures=tuple(failures),
        considered=sum(ranking.considered for ranking in rankings),
        note=note_of(query, rankings, len(successes) + len(failures)),
    )
