"""What a bank may forget: by value, by age, by budget (pure). What is proven goes last."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from pydantic import Field

from mia_skill.core.proportion import wilson
from mia_skill.core.types import MemoryUnit, Outcome, Status, Value, utc_now

__all__ = ["Doomed", "PruneReport", "PruneRules", "doomed", "over_budget", "proven", "worth"]

LOSING_USES = 5
LOSING_HIGH = 0.4
"""A unit is losing when even the upper end of its success rate's 95 % interval lies under this."""


class PruneRules(Value):
    """What to forget; nothing by default."""

    losing: bool = False
    """Units whose runs nearly always failed."""
    older_than_days: float | None = Field(default=None, ge=0)
    """Units untouched for so long, unless they are proven."""
    most: int | None = Field(default=None, ge=1)
    """Units a namespace may keep."""
    revoked: bool = False
    """Units that were revoked: their trail in the log stays."""
    namespace: str | None = None


class Doomed(Value):
    """One unit to be forgotten, and why."""

    id: str
    question: str
    reason: str


class PruneReport(Value):
    """What was forgotten, or with `dry_run` would be."""

    units: tuple[Doomed, ...]
    kept: int
    dry_run: bool


def proven(unit: MemoryUnit) -> bool:
    """A success that helped at least as often as not, or that a user or the truth itself called right."""
    if unit.outcome is not Outcome.CORRECT or unit.status is not Status.ACTIVE:
        return False
    return unit.provenance.judged_by in ("user", "gold") or 0 < unit.uses <= 2 * unit.wins


def worth(unit: MemoryUnit) -> tuple[int, float, datetime, str]:
    """Sort key, the least worth keeping first: standing, then the mean of a Beta(1, 1) posterior, then age."""
    if unit.status is Status.REVOKED:
        tier = 0
    elif unit.outcome is None:
        tier = 1
    elif unit.status is not Status.ACTIVE:
        tier = 2
    else:
        tier = 5 if proven(unit) else 3 + (unit.outcome is Outcome.CORRECT)
    return tier, (unit.wins + 1) / (unit.uses + 2), unit.updated_at, unit.id


def over_budget(units: Iterable[MemoryUnit], most: int, *, spared: Sequence[str] = ()) -> list[MemoryUnit]:
    """The least worthy, until `most` are left. Successes among `spared` (just learnt) are not taken."""
    ordered = sorted(units, key=worth)
    excess = len(ordered) - most
    able = [one for one in ordered if not (one.id in spared and worth(one)[0] >= 4)]
    return able[:excess] if excess > 0 else []


def doomed(units: Sequence[MemoryUnit], rules: PruneRules, now: datetime | None = None) -> tuple[Doomed, ...]:
    """Every unit that a rule lets go, each once, with the first reason."""
    reasons: dict[str, str] = {}
    now = now or utc_now()
    oldest = (now - datetime.min.replace(tzinfo=now.tzinfo)).days  # more days than these cannot be taken off
    before = now - timedelta(days=min(rules.older_than_days or 0, oldest))
    groups: dict[str, list[MemoryUnit]] = defaultdict(list)
    for unit in units:
        if rules.namespace is not None and unit.namespace != rules.namespace:
            continue
        reason = _reason(unit, rules, before)
        if reason:
            reasons[unit.id] = reason
        else:
            groups[unit.namespace].append(unit)
    for namespace, left in groups.items() if rules.most is not None else ():
        for unit in over_budget(left, rules.most or 1):
            reasons[unit.id] = f"namespace {namespace!r} may keep {rules.most}"
    by_id = {unit.id: unit for unit in units}
    return tuple(Doomed(id=one, question=by_id[one].question, reason=why) for one, why in reasons.items())


def _reason(unit: MemoryUnit, rules: PruneRules, before: datetime) -> str:
    if rules.revoked and unit.status is Status.REVOKED:
        return "revoked"
    if rules.losing and unit.uses >= LOSING_USES and wilson(unit.wins, unit.uses)[1] < LOSING_HIGH:
        return f"right {unit.wins} of the {unit.uses} times it was shown"
    if rules.older_than_days is not None and unit.updated_at < before and not proven(unit):
        return f"untouched since {unit.updated_at:%Y-%m-%d}"
    return ""
