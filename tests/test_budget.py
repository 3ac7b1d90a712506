"""The meter of one episode, on a clock that only moves when told to."""

from dataclasses import dataclass

import pytest

from mia_skill.core.budget import LIMITS, Meter, stop_reason
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import BudgetExceeded
from mia_skill.core.types import StopReason, Usage


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def meter(clock: Clock | None = None, **limits: float) -> Meter:
    return Meter(BudgetConfig.model_validate(limits), clock=clock or Clock())


def test_a_fresh_meter_lets_a_step_begin() -> None:
    fresh = meter()
    fresh.step()
    assert (fresh.steps, fresh.usage) == (1, Usage())


def test_exactly_the_allowed_number_of_steps_is_allowed() -> None:
    three = meter(steps=3)
    for _ in range(3):
        three.step()
    with pytest.raises(BudgetExceeded, match="the budget of 3 steps is spent") as caught:
        three.step()
    assert three.steps == 3
    assert stop_reason(caught.value) is StopReason.STEP_LIMIT


@pytest.mark.parametrize(
    ("limit", "spent", "reason"),
    [
        ("searches", Usage(searches=5), StopReason.SEARCH_LIMIT),
        ("tokens", Usage(prompt_tokens=300, completion_tokens=200), StopReason.TOKEN_LIMIT),
    ],
)
def test_what_was_spent_stops_the_next_step_at_the_limit_and_not_before(
    limit: str, spent: Usage, reason: StopReason
) -> None:
    amount = 5 if limit == "searches" else 500
    just_enough, too_little = meter(**{limit: amount + 1}), meter(**{limit: amount})
    just_enough.charge(spent)
    just_enough.step()
    too_little.charge(spent)
    with pytest.raises(BudgetExceeded) as caught:
        too_little.step()
    assert stop_reason(caught.value) is reason


def test_time_runs_from_the_meters_making() -> None:
    clock = Clock()
    timed = meter(clock, seconds=10)
    clock.now += 9.9
    timed.step()
    clock.now += 0.1
    with pytest.raises(BudgetExceeded) as caught:
        timed.step()
    assert stop_reason(caught.value) is StopReason.TIME_LIMIT


def test_charging_beyond_the_limit_is_recorded_and_never_raises() -> None:
    tight = meter(tokens=100)
    tight.charge(Usage(calls=1, prompt_tokens=5000))
    tight.charge(Usage(calls=1, completion_tokens=7, seconds=1.5))
    assert tight.usage == Usage(calls=2, prompt_tokens=5000, completion_tokens=7, seconds=1.5)


def test_every_limit_of_the_configuration_has_its_stop_reason() -> None:
    assert set(LIMITS) == set(BudgetConfig.model_fields) - {"prices"}
    assert len(set(LIMITS.values())) == len(LIMITS)
