"""Judgment without any model: named checks of an answer against its evidence, and an honest abstain.

Deterministic: the same case gives the same bytes. Supported is not yet right: an answer must stand where the question
is answered, be of the type that was asked for, and not be contradicted by an independent source.
"""

from mia_skill.core.verdict import Case, Verdict
from trust.decide import decide
from trust.facts import gather_facts
from trust.seal import sealed

__all__ = ["examine"]


def examine(case: Case, precision: float | None = None) -> Verdict:
    """The verdict of the evidence alone. Never raises on any case; without evidence it abstains or finds no answer.
    "Correct" is said with the wanted `precision` where one is given, and more seldom the higher it is."""
    return sealed(case, decide(gather_facts(case), precision))
