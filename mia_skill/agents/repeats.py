"""Does a plan do again what is known to have failed, or what nobody vouches for?"""

from mia_skill.core.types import Plan, Status
from retrieval.bank import Recall
from retrieval.echo import repeats_text
from trust.safety import guard_blocked, unsafe_steps

__all__ = ["repeats", "warned"]


def warned(question: str, plan: Plan, recall: Recall) -> tuple[str, ...]:
    """All that speaks against following a plan: what it repeats, and what the safety gate finds in it."""
    gate = guard_blocked(question)
    asked = (f"the question is of {gate.risk_level} risk ({', '.join(gate.reasons)})",) if not gate.safe else ()
    steps = unsafe_steps(plan.steps)
    found = (f"step {place + 1} may not be taken without the user's word: {why}" for place, why in steps.items())
    return (*repeats(plan, recall), *asked, *found)


def repeats(plan: Plan, recall: Recall) -> tuple[str, ...]:
    """Warnings about a plan that does again what a recalled failure did, or that quarantined text directs."""
    words = set(plan.text.casefold().split())
    found = []
    for hit in recall.failures:
        tried = set((hit.unit.plan or hit.unit.workflow).casefold().split())
        if tried and len(words & tried) >= 0.9 * len(words | tried):
            found.append(f"this plan repeats {hit.unit.id}, which failed; try another way")
    for hit in recall.successes:
        if hit.unit.status is Status.QUARANTINED and any(repeats_text(step, hit.unit.workflow) for step in plan.steps):
            found.append(f"this plan takes steps from {hit.unit.id}, which is quarantined: check them before acting")
    return tuple(found)
