"""What becomes of two near-identical units: one, with the statistics of both (pure; spec sections 2 and 8.1)."""

from mia_skill.core.types import MemoryUnit, Origin, Outcome, utc_now

__all__ = ["merged", "supersedes"]

TRUST = {origin: rank for rank, origin in enumerate(Origin)}


def supersedes(new: MemoryUnit, old: MemoryUnit) -> bool:
    """Does the newcomer's workflow take the old one's place? Only the shorter of two successes does, and only when
    it is at least as trusted: a text from the web never replaces one of our own runs."""
    if new.outcome is not Outcome.CORRECT or old.outcome is not Outcome.CORRECT:
        return False
    if worst(new) > worst(old):
        return False
    if new.steps and old.steps and new.steps != old.steps:
        return new.steps < old.steps
    return len(new.workflow) < len(old.workflow)


def merged(old: MemoryUnit, new: MemoryUnit) -> MemoryUnit:
    """The old unit, under its old id, with the counts of both and the better workflow of the two."""
    if old.outcome is not new.outcome:
        raise ValueError("only units of the same outcome merge")
    text = new if supersedes(new, old) else old
    parents = tuple(dict.fromkeys((*old.provenance.parents, *new.provenance.parents)))
    return old.model_copy(
        update={
            "workflow": text.workflow,
            "plan": text.plan,
            "steps": text.steps,
            "provenance": text.provenance.model_copy(update={"parents": parents}),
            "uses": old.uses + new.uses,
            "wins": old.wins + new.wins,
            "feedback": old.feedback + new.feedback,
            "updated_at": utc_now(),
        }
    )


def worst(unit: MemoryUnit) -> int:
    """The least trusted origin decides for the whole text; none given is trusted least."""
    return max((TRUST[origin] for origin in unit.provenance.origins), default=len(TRUST))
