"""What a unit is worth, from how it went when it was shown: a Beta posterior on fading evidence (pure).

Prior: the bucket's own base rate, as if seen `strength` times. With it an untried unit is worth exactly what units are
worth on average, not 1.0 as in the paper, where the untried outranks the proven (facts: base rate .23 on a real log).
"""

from datetime import datetime
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.config import BlendWeights
from retrieval.places import Columns, Compared

__all__ = ["Evidence", "Standing", "aged", "base_of", "base_rate", "credited", "faded", "posterior", "present"]
__all__ += ["sampled", "standing"]

Floats = NDArray[np.float64]
Picked = NDArray[np.intp] | slice
EVERY = slice(None)
SMOOTHING = 2.0
"""Uses at rate one half that every bucket is taken to have seen: the first outcome does not make the rate 0 or 1."""


class Evidence(NamedTuple):
    """Uses and wins of one unit, faded to the moment `at` (epoch seconds)."""

    uses: float
    wins: float
    at: float
    where: str = ""
    """The environment it was seen in."""


class Standing(NamedTuple):
    """The evidence of a whole bucket, faded to its newest."""

    uses: float
    wins: float
    at: float


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


def present(
    columns: Columns, at: float, half_life_days: float, elsewhere: float, environment: str, picked: Picked = EVERY
) -> tuple[Floats, Floats]:
    """Uses and wins of the picked units, as they count at the moment `at`."""
    left_E = faded(at - columns["seen_at"][picked], half_life_days)
    left_E = np.where(columns["seen_in"][picked] == crc32(environment.encode()), left_E, left_E * elsewhere)
    return columns["seen_uses"][picked] * left_E, columns["seen_wins"][picked] * left_E


def standing(columns: Columns, half_life_days: float, elsewhere: float, environment: str) -> Standing:
    """Of all units in these columns."""
    at = float(columns["seen_at"].max(initial=0.0))
    uses_N, wins_N = present(columns, at, half_life_days, elsewhere, environment)
    return Standing(float(uses_N.sum()), float(wins_N.sum()), at)


def base_of(bucket: Compared, at: float, half_life_days: float, elsewhere: float, environment: str) -> float:
    """The base rate of a bucket at the moment `at`."""
    told = (half_life_days, elsewhere, environment)
    counted = bucket.standing(*told)
    if at < counted.at:
        # The clock went back: what is newer than now does not fade, so the sum does not fade as one.
        uses_N, wins_N = present(bucket.columns, at, *told)
        return base_rate(float(wins_N.sum()), float(uses_N.sum()))
    left = float(faded(np.array(at - counted.at), half_life_days))
    return base_rate(counted.wins * left, counted.uses * left)


def base_rate(wins: float, uses: float) -> float:
    """How often showing a unit of a bucket went well; one half where nothing is known."""
    return (wins + SMOOTHING / 2) / (uses + SMOOTHING)


def posterior(wins_E: Floats, uses_E: Floats, base: float, strength: float) -> tuple[Floats, Floats]:
    """The two parameters of each unit's Beta: wins and losses seen, plus the prior's `strength` uses at rate `base`."""
    wins_E = np.clip(wins_E, 0.0, uses_E)
    return wins_E + strength * base, uses_E - wins_E + strength * (1.0 - base)


def sampled(alpha_E: Floats, beta_E: Floats, seed: tuple[int, ...]) -> Floats:
    """One draw from each unit's posterior (Thompson sampling); the same seed gives the same draws."""
    return np.asarray(np.random.default_rng(seed).beta(alpha_E, beta_E))
