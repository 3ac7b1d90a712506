"""When training stops by itself, and when it goes on."""

from collections.abc import Sequence

import pytest

from training.guards import Guard, GuardLimits


def figures(**changed: float) -> dict[str, float]:
    return {"entropy": 1.0, "reward": 0.5, "cut": 0.1, "drift": 0.01, "grad_norm": 1.0, **changed}


Steps = Sequence[dict[str, float]]


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ([figures(samples=0)], "every rollout was lost"),
        ([figures(grad_norm=float("nan"))], "not a number: grad_norm"),
        ([figures(entropy=0.0001)] * 3, "entropy 0.0001 is below"),
        ([figures(entropy=9.0)] * 3, "entropy 9 is above"),
        ([figures(cut=0.9)] * 3, "cut 0.9 is above"),
        ([figures(drift=0.5)] * 3, "drift 0.5 is above"),
        ([figures()] * 10 + [figures(reward=0.0)] * 10, "the mean reward fell"),
    ],
)
def test_a_run_that_has_gone_wrong_is_stopped_with_the_reason(steps: Steps, told: str) -> None:
    guard = Guard()
    verdicts = [guard.look(one) for one in steps]
    assert told in next(filter(None, verdicts))


@pytest.mark.parametrize(
    "steps",
    [
        [figures()] * 40,
        [figures(entropy=0.0001), figures(), figures(entropy=0.0001), figures(), figures(entropy=0.0001)],
        [figures(reward=0.5 + 0.1 * (-1) ** n) for n in range(60)],
        [figures(flat=1.0, length=5000.0, searches=0.0)] * 20,
    ],
)
def test_a_run_that_wobbles_or_does_what_nobody_forbade_goes_on(steps: Steps) -> None:
    guard = Guard()
    assert not any(guard.look(one) for one in steps)


@pytest.mark.parametrize(
    ("limits", "bad", "told"),
    [
        (GuardLimits(least_searches=0.5), figures(searches=0.0), "searches 0 is below 0.5"),
        (GuardLimits(most_length=600), figures(length=700.0), "length 700 is above 600"),
        (GuardLimits(idle=3), figures(flat=1.0), "nothing is left to learn here, for 3 steps in a row"),
    ],
)
def test_silence_rambling_and_steps_that_teach_nothing_stop_a_run_where_that_is_asked_for(
    limits: GuardLimits, bad: dict[str, float], told: str
) -> None:
    guard = Guard(limits)
    fine = figures(searches=2.0, length=80.0, flat=0.5)
    assert [guard.look(one) for one in (bad, bad, fine, bad, bad)] == [None] * 5
    assert told in str(guard.look(bad))


def test_a_dip_of_one_step_is_no_fall_and_an_impatient_guard_stops_at_the_first_step_of_one() -> None:
    guard = Guard(GuardLimits(patience=1, reward_drop=0.4, window=5))
    assert not any(guard.look(figures(reward=one)) for one in (0.5, 0.6, 0.6, 0.7, 0.7, 0.1, 0.7, 0.7))
    verdicts = [guard.look(figures(reward=0.1)) for _ in range(5)]
    assert "the mean reward fell" in str(verdicts[-1])
