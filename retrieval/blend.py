"""How the signals of one candidate become a relevance, and how the few that are shown differ (pure)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.config import BlendWeights

__all__ = ["Signals", "candidates", "diverse", "overlap", "relevance"]

Floats = NDArray[np.floating]
FEW = 2048
"""Up to here a plain partition is as quick."""
STRIDE = 16
"""One value in so many is in the sample."""


class Signals(NamedTuple):
    """What speaks for each of E candidates."""

    lexical_E: Floats
    """Share of the masked n-grams that match, weighted by rarity, 0..1."""
    masked_E: Floats
    """Cosine of the masked texts."""
    dense_E: Floats
    """Cosine of the texts as they are."""


def relevance(signals: Signals, weights: BlendWeights) -> NDArray[np.float64]:
    """Weighted mean of the three, 0..1. Absolute: it does not depend on what else is in the bank but for the rarity of
    words, so that one floor holds for banks of all sizes. A cosine below 0 counts as 0."""
    parts = ((weights.lexical, signals.lexical_E), (weights.masked, signals.masked_E), (weights.dense, signals.dense_E))
    total = sum(weight for weight, _ in parts)
    # Not `np.clip`: on a few dozen numbers its own cost is most of it.
    mean = sum(weight * np.minimum(np.maximum(part, 0.0, dtype=np.float64), 1.0) for weight, part in parts) / total
    return np.asarray(np.minimum(mean, 1.0))


def candidates(scores_M: Floats, seq_M: NDArray[np.int64], count: int) -> NDArray[np.intp]:
    """Positions of the `count` best in no order; among equals at the end the oldest, however many there are."""
    if len(scores_M) <= count:
        return np.arange(len(scores_M))
    bar = _count_th(scores_M, count)
    better = np.flatnonzero(scores_M > bar)
    equal = np.flatnonzero(scores_M == bar)
    room = count - len(better)
    if room < len(equal):
        old = -seq_M[equal]
        equal = equal[old >= _count_th(old, room)]
    return np.concatenate([better, equal])


def _count_th(values_M: NDArray[Any], count: int) -> Any:
    """The `count`-th largest. The one of a sample is a lower bound of it, which leaves few to sort, also where many
    values are equal; that is what slows a plain partition down."""
    if len(values_M) > max(FEW, 2 * STRIDE * count):
        bar = _count_th(values_M[::STRIDE], count)
        above = values_M[values_M > bar]
        if len(above) < count:
            return bar
        values_M = above
    return np.partition(values_M, len(values_M) - count)[len(values_M) - count]


def overlap(first: frozenset[str], second: frozenset[str]) -> float:
    """Jaccard similarity; two empty sets are alike."""
    both = len(first & second)
    union = len(first) + len(second) - both
    return both / union if union else 1.0


def diverse(scores_E: Sequence[float], words_E: Sequence[frozenset[str]], k: int, weight: float) -> list[int]:
    """Positions of `k`, picked one by one: score less `weight` times the overlap with the most similar one picked
    (MMR). The first is always the best; equal ones keep their order; weight 0 is the plain top k."""
    left = sorted(range(len(scores_E)), key=lambda one: -scores_E[one])
    chosen: list[int] = []
    nearest = [0.0] * len(scores_E)
    while left and len(chosen) < k:
        pick = max(left, key=lambda one: scores_E[one] - weight * nearest[one])
        left.remove(pick)
        chosen.append(pick)
        for one in left:
            nearest[one] = max(nearest[one], overlap(words_E[one], words_E[pick]))
    return chosen
