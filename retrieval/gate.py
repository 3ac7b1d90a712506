"""Does memory help? Random withholding, what it shows, and what follows from it (pure).

Arms are drawn, so the difference of their success rates is the effect of memory and no accident of which tasks had
any. Intervals are Newcombe's hybrid score intervals for the difference of two proportions (Newcombe 1998, method 10):
closed, deterministic, and honest at the small counts a held-out share of a few percent gives, where the normal
interval is not. A share may depend on past outcomes, never on the task's own, so the comparison stays fair.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import blake2b
from math import sqrt

from pydantic import Field

from mia_skill.core.proportion import Z95, wilson
from mia_skill.core.types import MemoryUnit, Value, utc_now

__all__ = [
    "DECIDE",
    "Arm",
    "Draw",
    "Lift",
    "LiftReport",
    "LiftRow",
    "Tally",
    "Trial",
    "chance",
    "harmful",
    "helped_again",
    "lift",
    "lot",
    "pick_arm",
    "share_of",
    "suspect",
]

DECIDE = 2.33
"""98 %: what a decision asks for. It is looked at after every outcome, so it must not be had by chance too soon
(`benchmarks/lift.py` counts good units that are withheld)."""
DOUBT = 1.96
"""95 %, against the other tasks: enough to look closer, by withholding more often. It decides nothing."""
MIN_ARM = 5
"""Outcomes in each arm before anything is decided."""
SUSPECT_SHARE = 0.5
WARM_UP = 20
"""Judged tasks of a namespace before anything is withheld: a new bank has nothing to measure yet."""


class Arm(StrEnum):
    """What a task was given."""

    SHOWN = "shown"
    WITHHELD = "withheld"
    """No memory at all."""
    PARTLY = "partly"
    """All but one unit."""


class Draw(Value):
    """What the gate did for one task. It is handed back with the task's outcome."""

    task: str
    """Digest of namespace, question and task id."""
    namespace: str
    category: str = "others"
    arm: Arm = Arm.SHOWN
    shown: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    """Units that would have been shown."""
    randomised: bool = False
    """Chance could have decided otherwise: only such tasks are compared."""
    why: str = ""


class Trial(Value):
    """A draw and how its task ended."""

    draw: Draw
    won: bool
    judged_by: str = "none"
    at: datetime = Field(default_factory=utc_now)


class Tally(Value):
    """Outcomes of both arms."""

    shown: int = Field(default=0, ge=0)
    shown_wins: int = Field(default=0, ge=0)
    withheld: int = Field(default=0, ge=0)
    withheld_wins: int = Field(default=0, ge=0)

    def plus(self, *, shown: bool, won: bool) -> "Tally":
        """With one more outcome."""
        arm = "shown" if shown else "withheld"
        changed = {arm: getattr(self, arm) + 1, f"{arm}_wins": getattr(self, f"{arm}_wins") + won}
        return self.model_copy(update=changed)


class Lift(Value):
    """Success rate with memory less the rate without, and the interval of it."""

    value: float
    low: float
    high: float


class LiftRow(Value):
    """One line of `mia memory lift`."""

    scope: str
    """"namespace", "category" or "unit"."""
    key: str
    namespace: str
    tally: Tally
    lift: Lift | None
    """None while an arm has no outcome."""
    withheld_now: bool
    """The gate keeps it back, because its interval lies below zero."""


class LiftReport(Value):
    """What withholding has shown so far."""

    trials: int
    randomised: int
    rows: tuple[LiftRow, ...] = ()


def chance(seed: int, *parts: str) -> float:
    """A number in [0, 1) that only depends on its arguments."""
    text = "\x1f".join((str(seed), *parts)).encode()
    return int.from_bytes(blake2b(text, digest_size=8).digest()) / 2**64


def lift(tally: Tally, z: float = Z95) -> Lift | None:
    """Newcombe's interval of `shown rate - withheld rate`; None while an arm is empty."""
    if not tally.shown or not tally.withheld:
        return None
    with_, without = tally.shown_wins / tally.shown, tally.withheld_wins / tally.withheld
    low_1, high_1 = wilson(tally.shown_wins, tally.shown, z)
    low_0, high_0 = wilson(tally.withheld_wins, tally.withheld, z)
    value = with_ - without
    return Lift(
        value=value,
        low=max(-1.0, value - sqrt((with_ - low_1) ** 2 + (high_0 - without) ** 2)),
        high=min(1.0, value + sqrt((high_1 - with_) ** 2 + (without - low_0) ** 2)),
    )


def harmful(tally: Tally) -> bool:
    """The whole interval lies below zero, with enough outcomes in both arms."""
    found = lift(tally, DECIDE)
    return found is not None and min(tally.shown, tally.withheld) >= MIN_ARM and found.high < 0


def helped_again(tally: Tally) -> bool:
    """What was held harmful does no harm after all: the estimate itself came back to zero."""
    found = lift(tally)
    return found is not None and found.value >= 0


def suspect(tally: Tally, base: Tally) -> bool:
    """Worth a closer look: its tasks end worse than the other tasks of its namespace, or worse than without it."""
    others = Tally(
        shown=tally.shown,
        shown_wins=tally.shown_wins,
        withheld=max(0, base.shown + base.withheld - tally.shown - tally.withheld),
        withheld_wins=max(0, base.shown_wins + base.withheld_wins - tally.shown_wins - tally.withheld_wins),
    )
    if others.withheld_wins > others.withheld:
        others = others.model_copy(update={"withheld_wins": others.withheld})
    compared = (lift(others, DOUBT), lift(tally, DOUBT))
    return tally.shown >= MIN_ARM and any(one is not None and one.high < 0 for one in compared)


def share_of(share: float, tally: Tally, base: Tally | None = None) -> float:
    """How often to withhold: the configured share; half of the time under suspicion; all but the share if harmful."""
    if not share:
        return 0.0
    if harmful(tally):
        return 1 - share
    doubted = lift(tally, DOUBT)
    if base is not None:
        return SUSPECT_SHARE if suspect(tally, base) else share
    return SUSPECT_SHARE if doubted is not None and tally.withheld >= MIN_ARM and doubted.high < 0 else share


def lot(unit: MemoryUnit) -> str:
    """What a unit is drawn by: what it says and not its id, which is random, so that a stream played again on a new
    bank draws the same. It is as lasting as the unit."""
    return "\x1f".join((unit.outcome or "", unit.question, unit.workflow))


def pick_arm(
    seed: int, task: str, share: float, whole: Sequence[Tally], units: Sequence[tuple[str, str, float]]
) -> tuple[Arm, str | None]:
    """The arm of a task, and the unit that is left out in `PARTLY`.

    `whole` are the tallies of the namespace and the category: the larger of their shares counts. `units` are the
    candidates: id, lot, share. At most one is left out: whose draw lies furthest under its share.
    """
    most = max((share_of(share / 2, tally) for tally in whole), default=0.0)
    if chance(seed, "memory", task) < most:
        return Arm.WITHHELD, None
    drawn = [(chance(seed, "unit", key, task) - part, unit_id) for unit_id, key, part in units]
    lowest = min(drawn, default=(0.0, ""))
    return (Arm.PARTLY, lowest[1]) if lowest[0] < 0 else (Arm.SHOWN, None)
