"""What becomes of two near-identical units: one, with the statistics of both (pure; spec sections 2 and 8.1)."""

from mia_skill.core.types import MemoryUnit, Origin, Outcome, Status, utc_now

__all__ = ["merged", "supersedes"]

JUDGES = {"none": 0, "host": 1, "evidence": 2, "panel": 3, "endpoint": 3, "gold": 4, "user": 4}
"""Whose verdict weighs more."""
TRUST = {origin: rank for rank, origin in enumerate(Origin)}


def supersedes(new: MemoryUnit, old: MemoryUnit) -> bool:
    """Does the newcomer's workflow take the old one's place? Only the shorter of two successes does, and only when
    it is at least as trusted and judged: a text from the web never replaces one of our own runs, and one that only its
    host calls right none that the evidence bore out."""
    if new.outcome is not Outcome.CORRECT or old.outcome is not Outcome.CORRECT:
        return False
    if worst(new) > worst(old) or old.status is not new.status:
        return False
    if JUDGES.get(new.provenance.judged_by, 0) < JUDGES.get(old.provenance.judged_by, 0):
        return False
    if new.steps and old.steps and new.steps != old.steps:
        return new.steps < old.steps
    return len(new.workflow) < len(old.workflow)


def merged(old: MemoryUnit, new: MemoryUnit) -> MemoryUnit:
    """The old unit, under its old id, with the counts of both and the better workflow of the two."""
    if old.outcome is not new.outcome:
        raise ValueError("only units of the same outcome merge")
    text = new if supersedes(new, old) else old
    # Copies of what is not trusted are no further witnesses.
    counted = new.status is Status.ACTIVE
    above = dict.fromkeys((*old.provenance.parents, *new.provenance.parents))
    parents = tuple(one for one in above if one != old.id)
    return old.model_copy(
        update={
            "workflow": text.workflow,
            "plan": text.plan,
            "steps": text.steps,
            "provenance": text.provenance.model_copy(update={"parents": parents}),
            "uses": old.uses + counted * new.uses,
            "wins": old.wins + counted * new.wins,
            "feedback": old.feedback + (new.feedback if counted else ()),
            "updated_at": utc_now(),
        }
    )


def worst(unit: MemoryUnit) -> int:
    """The least trusted origin decides for the whole text; none given is trusted least."""
    return max((TRUST[origin] for origin in unit.provenance.origins), default=len(TRUST))
