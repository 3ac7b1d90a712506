"""The paper's retrieval score as pure functions (paper, appendix 10; spec section 2)."""

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.config import ScoreWeights

__all__ = ["paper_scores", "rarities", "similarity", "values"]

Floats = NDArray[np.floating]
EPSILON = 1e-8
"""Keeps the min-max of a bucket whose similarities are all equal finite (paper)."""


def similarity(
    q_sim_N: Floats, c_sim_N: Floats | None, has_caption_N: NDArray[np.bool_] | None, weights: ScoreWeights
) -> NDArray[np.float64]:
    """`0.8 cos(question) + 0.2 cos(caption)`; only the question's cosine where either side has no caption.

    `c_sim_N` is None when the query has no caption; `has_caption_N` says which units have one (None: all).
    """
    q = np.asarray(q_sim_N, dtype=np.float64)
    if c_sim_N is None:
        return q
    both = weights.question * q + weights.caption * np.asarray(c_sim_N, dtype=np.float64)
    return both if has_caption_N is None else np.where(has_caption_N, both, q)


def values(wins_N: NDArray[np.float64], uses_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """`Val = s / (u + 1)`: how often showing a unit ended well."""
    return np.asarray(wins_N / (uses_N + 1.0))


def rarities(uses_N: NDArray[np.float64]) -> NDArray[np.float64]:
    """`Freq = 1 / (u + 1)`: the bonus of the rarely used."""
    return np.asarray(1.0 / (uses_N + 1.0))


def paper_scores(
    sim_N: Floats,
    wins_N: NDArray[np.floating | np.integer],
    uses_N: NDArray[np.floating | np.integer],
    weights: ScoreWeights,
    *,
    bounds: tuple[float, float] | None = None,
) -> NDArray[np.float64]:
    """`0.7 minmax(Sim) + 0.3 Val + 0.3 Freq`, the min-max taken over the bucket.

    `bounds` are the bucket's (min, max) similarity, for scoring only a part of it; None takes them from `sim_N`.
    """
    sim = np.asarray(sim_N, dtype=np.float64)
    if not sim.size:
        return sim
    low, high = bounds if bounds is not None else (float(sim.min()), float(sim.max()))
    scaled = (sim - low) / (high - low + EPSILON)
    uses = np.asarray(uses_N, dtype=np.float64)
    value = values(np.asarray(wins_N, dtype=np.float64), uses)
    return np.asarray(weights.sim * scaled + weights.value * value + weights.rarity * rarities(uses))
