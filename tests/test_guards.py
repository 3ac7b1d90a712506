"""When training stops by itself."""

from dataclasses import replace

import pytest

from training.guards import Seen, Watch

FINE = Seen(samples=16, groups=2, flat=0, reward=0.5, entropy=0.3, grad_norm=0.4, length=80)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (replace(FINE, samples=0), "every rollout was lost"),
        (replace(FINE, grad_norm=float("nan")), "not a number"),
        (replace(FINE, entropy=5.0), "noise"),
        (replace(FINE, length=700), "rambles"),
    ],
)
def test_noise_rambling_and_a_gradient_that_is_no_number_stop_training_at_once(bad: Seen, why: str) -> None:
    watch = Watch()
    assert watch.alarm(FINE) == ""
    assert why in watch.alarm(bad)


def test_steps_that_teach_nothing_stop_training_only_when_they_follow_each_other() -> None:
    flat, watch = replace(FINE, flat=2), Watch(patience=3)
    assert [bool(watch.alarm(step)) for step in (flat, flat, FINE, flat, flat)] == [False] * 5
    assert "nothing is left to learn" in watch.alarm(flat)


def test_a_reward_that_falls_far_below_its_best_mean_stops_training_and_a_dip_does_not() -> None:
    watch = Watch()
    assert not any(watch.alarm(replace(FINE, reward=reward)) for reward in (0.5, 0.6, 0.6, 0.7, 0.7, 0.1, 0.7, 0.7))
    alarms = [watch.alarm(replace(FINE, reward=0.1)) for _ in range(5)]
    assert "collapsed" in alarms[-1]
