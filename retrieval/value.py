"""What a unit is worth, from how it went when it was shown: a Beta posterior on fading evidence (pure).

Prior: the bucket's own base rate, as if seen `strength` times. With it an untried unit is worth exactly what units are
worth on average, not 1.0 as in the paper, where the untried outranks the proven (facts: base rate .23 on a real log).
"""

from datetime import datetime
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.config import BlendWeights

__all__ = ["Evidence", "aged", "base_rate", "credited", "faded", "posterior", "sampled"]

Floats = NDArray[np.float64]
SMOOTHING = 2.0
"""Uses at rate one half that every bucket is taken to have seen: the first outcome does not make the rate 0 or 1."""


class Evidence(NamedTuple):
    """Uses and wins of one unit, faded to the moment `at` (epoch seconds)."""

    uses: float
    wins: float
    at: float
    where: str = ""
    """The environment it was seen in."""


def faded(age_s: Floats, half_life_days: float) -> Floats:
    """What is left of evidence of this age, in 0..1. A clock that went back takes nothing away."""
    return np.asarray(np.exp2(-np.maximum(age_s, 0.0) / (86_400.0 * half_life_days)))


def aged(old: Evidence, now: datetime, half_life_days: float) -> Evidence:
    """The evidence as it counts now."""
    left = float(faded(np.array(now.timestamp() - old.at), half_life_days))
    return Evidence(old.uses * left, old.wins * left, max(old.at, now.timestamp()), old.where)


def credited(old: Evidence, uses: float, wins: float, now: datetime, blend: BlendWeights, where: str = "") -> Evidence:
    """Faded to now, less what the step into another environment takes, then the new outcomes at full weight."""
    left = aged(old, now, blend.half_life_days)
    stays = 1.0 if old.where == where else blend.elsewhere
    return Evidence(left.uses * stays + uses, left.wins * stays + wins, left.at, where)


def base_rate(wins_N: Floats, uses_N: Floats) -> float:
    """How often showing a unit of this bucket went well; one half where nothing is known."""
    return float((wins_N.sum() + SMOOTHING / 2) / (uses_N.sum() + SMOOTHING))


def posterior(wins_E: Floats, uses_E: Floats, base: float, strength: float) -> tuple[Floats, Floats]:
    """The two parameters of each unit's Beta: wins and losses seen, plus the prior's `strength` uses at rate `base`."""
    wins_E = np.clip(wins_E, 0.0, uses_E)
    return wins_E + strength * base, uses_E - wins_E + strength * (1.0 - base)


def sampled(alpha_E: Floats, beta_E: Floats, seed: tuple[int, ...]) -> Floats:
    """One draw from each unit's posterior (Thompson sampling); the same seed gives the same draws."""
    return np.asarray(np.random.default_rng(seed).beta(alpha_E, beta_E))
