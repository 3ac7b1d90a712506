"""Is a judge still to be believed? A sequential test over cases whose verdict is known (pure).

CUSUM of Bernoulli outcomes (Page 1954): the log-likelihood of "right as often as a lying judge" against "as an honest
one", never under zero. At zero nothing speaks against the judge; at `height` it is not believed any more. Then the same
test runs the other way round until the judge is believed again. `benchmarks/judge_canaries.py` prints false alarms,
delays and what slips through.

A verdict teaches only when it is *proven*: `proof` canaries after it, and the score back at zero. What was not proven
when the alarm comes is never learnt, so nothing has to be taken back.
"""

from math import log

from pydantic import Field, model_validator

from mia_skill.core.types import Value

__all__ = ["Rules", "Standing", "told"]


class Rules(Value):
    """What the test looks for."""

    honest: float = Field(default=0.9, gt=0, lt=1)
    """Share of the canaries that an honest judge gets right, at the least."""
    lying: float = Field(default=0.5, gt=0, lt=1)
    """Share that must not be overlooked."""
    height: float = Field(default=6.0, gt=0)
    """Where the alarm is raised, in nats."""
    again: float = Field(default=9.0, gt=0)
    """Where it ends. Higher: what an honest judge says meanwhile waits and is not lost, and one that is right in six of
    ten is not believed again and again."""
    proof: int = Field(default=2, ge=1)
    """Canaries after a verdict before it teaches."""

    @model_validator(mode="after")
    def _apart(self) -> "Rules":
        if self.lying >= self.honest:
            raise ValueError("a lying judge must be right less often than an honest one")
        return self

    def step(self, right: bool) -> float:
        """What one canary says for a lie; negative: against it."""
        return log(self.lying / self.honest) if right else log((1 - self.lying) / (1 - self.honest))


class Standing(Value):
    """What the canaries said of one judge so far."""

    seen: int = 0
    wrong: int = 0
    score: float = 0.0
    """Of the test that runs: for a lie, or under an alarm for its end."""
    alarm: bool = False
    alarms: int = 0
    proven: int = -1
    """Open verdicts that were given when at most as many canaries had been seen may teach."""
    doubted: int = -1
    """Open verdicts that were given when at most as many canaries had been seen never teach."""

    @property
    def clear(self) -> bool:
        """Nothing speaks against the judge."""
        return not self.alarm and self.score == 0.0

    def fate(self, seen: int) -> bool | None:
        """Of an open verdict that was given after `seen` canaries: may it teach, or never; None while it stays open.
        To be asked after every canary, for what is decided is decided."""
        if seen <= self.doubted:
            return False
        return True if seen <= self.proven else None


def told(one: Standing, right: bool, rules: Rules) -> Standing:
    """After one more canary."""
    seen, wrong = one.seen + 1, one.wrong + (not right)
    step = rules.step(right)
    score = max(0.0, one.score + (-step if one.alarm else step))
    turned = score >= (rules.again if one.alarm else rules.height)
    alarm = one.alarm != turned
    now = {"seen": seen, "wrong": wrong, "score": 0.0 if turned else score, "alarm": alarm}
    if turned and alarm:
        now |= {"alarms": one.alarms + 1, "doubted": seen}
    elif turned:
        now["proven"] = seen
    elif one.alarm and score == 0.0:
        now["doubted"] = seen
    elif not one.alarm and score == 0.0:
        now["proven"] = max(one.proven, seen - rules.proof)
    return one.model_copy(update=now)
