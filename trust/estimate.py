"""How likely an answer is right, from what was found: a weighted sum of named features through a logistic curve.

The weights come from `trust/data/calibration.json`, which `python -m benchmarks.trust_fit --write` makes: each set and
each outcome counts the same; the named checks keep fixed weights, for they are rare in the sets and precise (tests hold
them to it). No feature knows the length of the answer or the source of the data (benchmarks/trust.py prints both as
baselines).
"""

import math

from mia_skill.core.verdict import CheckState
from trust.calibrate import fits
from trust.facts import Facts, Finding
from trust.question import Kind
from trust.support import PRESENT

__all__ = ["estimate", "features", "weakest"]

CONTRADICTIONS = frozenset({"numbers", "dates", "negation", "opposite", "roles", "order"})
NEARLY = 0.001
"""A lead that is none."""


def estimate(facts: Facts) -> float:
    """Probability that the answer is right, 0.02 to 0.98."""
    weights = fits()["evidence"].weights
    total = sum(weights.get(name, 0.0) * value for name, value in features(facts).items())
    return round(min(0.98, max(0.02, 1 / (1 + math.exp(-total)))), 4)


def features(facts: Facts) -> dict[str, float]:
    """Every feature by name, each between -1 and 1."""
    worst = weakest(facts)
    here = worst.standing
    stands = float(here.presence >= PRESENT)
    failed = {one.name for found in facts.findings for one in found.checks if one.state is CheckState.FAIL}
    return {
        "one": 1.0,
        "present": stands,
        "context": stands * here.context,
        "margin": margin(facts, worst),
        "first": stands * float(worst.lead > NEARLY),
        "voices": min(2, max(0, worst.voices - 1)) / 2,
        "shared": worst.voices / max(1, len(set(facts.groups))),
        "silent": min(3, worst.silent) / 3,
        "altered": float(bool(worst.altered)),
        "absent_addressed": (1 - stands) * facts.ground.addressed,
        "contradicted": float(bool(failed & CONTRADICTIONS)),
        "names_lost": float("names" in failed),
        "comparison": comparison(facts),
        "wrong_kind": float(wrong_kind(facts, worst)),
        "empty": float(any(one.name == "empty_results" for one in facts.signals)),
    }


def weakest(facts: Facts) -> Finding:
    """The claim that stands least: an answer is as good as that."""
    return min(facts.findings, key=lambda one: one.standing.presence)


def margin(facts: Facts, found: Finding) -> float:
    """How much better the answer's line speaks about the question than the best line without the answer."""
    here = found.standing
    if here.place < 0 or here.presence < PRESENT:
        return 0.0
    near = facts.ground.near
    holding = set(here.places)
    others = max((value for place, value in enumerate(near) if place not in holding), default=0.0)
    return max(near[place] for place in holding or {here.place}) - others


def comparison(facts: Facts) -> float:
    """1 when the numbers speak for the option the answer names, -1 against it, else 0."""
    state = next((one.state for one in facts.checks if one.name == "comparison"), None)
    return {CheckState.OK: 1.0, CheckState.FAIL: -1.0}.get(state, 0.0) if state else 0.0


def wrong_kind(facts: Facts, found: Finding) -> bool:
    """A date was asked for and none is given, a number and none, yes or no and something else."""
    claim, kind = found.claim, facts.asked.kind
    if kind is Kind.DATE:
        return not claim.dates and not claim.quantities
    if kind is Kind.NUMBER:
        return not claim.quantities and not claim.dates
    if kind in (Kind.PERSON, Kind.PLACE):
        return claim.short and bool(claim.figures) and not claim.names
    return False
