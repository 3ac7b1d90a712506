"""What a handful of answers can bear: paired tests, curves."""

from collections.abc import Mapping, Sequence
from math import comb

import numpy as np

__all__ = ["bootstrap_difference", "holm", "mcnemar", "running", "sign_flip"]


def mcnemar(only_one: int, only_other: int) -> float:
    """Two-sided exact p that both are equally often right alone; 1 where they never differ."""
    total, fewer = only_one + only_other, min(only_one, only_other)
    if total == 0:
        return 1.0
    tail = sum(comb(total, count) for count in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**total))


def bootstrap_difference(
    pairs: Mapping[str, Sequence[tuple[bool, bool]]], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of one minus other, and its 95% interval. `pairs` by task: a task's runs (its seeds) are drawn together,
    for they are not independent."""
    tasks = [pair for pair in pairs.values() if pair]
    if not tasks:
        return 0.0, 0.0, 0.0
    gains = np.array([sum(float(one) - float(other) for one, other in pair) for pair in tasks])
    sizes = np.array([len(pair) for pair in tasks], dtype=np.float64)
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(tasks), size=(draws, len(tasks)))
    means = gains[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(gains.sum() / sizes.sum()), float(low), float(high)


def sign_flip(pairs: Mapping[str, Sequence[tuple[bool, bool]]], *, draws: int = 9999, seed: int = 0) -> float:
    """Two-sided p that both are equally often right, where a task was run more than once: the signs of whole tasks
    are flipped at random, for the runs of a task are not independent."""
    gains = np.array([sum(float(one) - float(other) for one, other in pair) for pair in pairs.values()])
    gains = gains[gains != 0]
    if not len(gains):
        return 1.0
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(draws, len(gains)))
    as_far = int(np.sum(np.abs(signs @ gains) >= abs(gains.sum())))
    return (as_far + 1) / (draws + 1)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Corrected for their number (Holm 1979): a p under 0.05 stays one with all of them in view."""
    corrected = [0.0] * len(p_values)
    least = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda one: p_values[one])):
        least = max(least, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = least
    return tuple(corrected)


def running(values: Sequence[float], window: int) -> list[float]:
    """The mean of the last `window` values, at each place."""
    return [
        sum(values[max(0, place - window + 1) : place + 1]) / min(window, place + 1) for place in range(len(values))
    ]
