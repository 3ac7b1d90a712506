"""The paper's rewards, and advantages within a group."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia_skill.core.errors import InputError
from mia_skill.core.types import Outcome
from training.advantage import Mean, group_advantages, loss_weights
from training.reward import (
    ExecutorOutcome,
    PlannerOutcome,
    executor_reward,
    executor_reward_without_tool,
    planner_reward,
    planner_reward_unsupervised,
)

RIGHT, WRONG = Outcome.CORRECT, Outcome.INCORRECT
EITHER = (RIGHT, WRONG)
BOOLS = (False, True)


@pytest.mark.parametrize(("verdict", "tool", "form"), list(itertools.product(EITHER, BOOLS, BOOLS)))
def test_the_executor_is_paid_by_equation_2(verdict: Outcome, tool: bool, form: bool) -> None:
    reward = executor_reward(ExecutorOutcome(verdict=verdict, tool_ok=tool, format_ok=form))
    assert reward == pytest.approx((0.7 if verdict is RIGHT else 0) + (0.2 if tool else 0) + (0.1 if form else 0))


@pytest.mark.parametrize(
    ("first", "final", "replanned", "expected"),
    [
        (RIGHT, RIGHT, False, 1.0),
        (RIGHT, RIGHT, True, 0.95),
        (RIGHT, WRONG, True, 0.25),
        (WRONG, RIGHT, True, 0.8),
        (WRONG, WRONG, True, 0.1),
        (WRONG, WRONG, False, 0.05),
    ],
)
def test_the_planner_is_paid_by_equation_4(first: Outcome, final: Outcome, replanned: bool, expected: float) -> None:
    run = PlannerOutcome(first=first, final=final, replanned=replanned, format_ok=True)
    assert planner_reward(run) == pytest.approx(expected)


def test_without_its_tool_term_a_call_earns_nothing_and_an_outage_is_no_sample_still() -> None:
    for tool in (True, False):
        run = ExecutorOutcome(verdict=Outcome.CORRECT, tool_ok=tool, format_ok=True)
        assert executor_reward_without_tool(run) == pytest.approx(0.8)
    assert executor_reward_without_tool(ExecutorOutcome(verdict=None, tool_ok=True, format_ok=True)) is None


def test_a_missing_verdict_is_no_sample_and_not_a_zero() -> None:
    assert executor_reward(ExecutorOutcome(verdict=None, tool_ok=True, format_ok=True)) is None
    for first, final in ((None, RIGHT), (RIGHT, None), (None, None)):
        assert planner_reward(PlannerOutcome(first=first, final=final, replanned=False, format_ok=True)) is None
    unjudged = PlannerOutcome(first=RIGHT, final=None, replanned=False, format_ok=True)
    assert planner_reward_unsupervised(unjudged) is None


def test_the_published_unsupervised_reward_is_kept_for_comparison() -> None:
    run = PlannerOutcome(first=None, final=RIGHT, replanned=False, format_ok=True)
    assert planner_reward_unsupervised(run) == pytest.approx(1.0)


@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=12))
def test_advantages_of_a_group_sum_to_zero_and_masked_rollouts_have_none(rewards: list[float | None]) -> None:
    advantages = group_advantages(rewards)
    assert abs(advantages.sum()) < 1e-6
    assert all(advantages[i] == 0 for i, reward in enumerate(rewards) if reward is None)
    assert np.isfinite(advantages).all()


def test_a_masked_rollout_does_not_change_the_others() -> None:
    assert group_advantages([1.0, 0.0, None])[:2] == pytest.approx(group_advantages([1.0, 0.0]))


def test_equal_rewards_and_single_samples_teach_nothing() -> None:
    assert group_advantages([0.7, 0.7, 0.7]) == pytest.approx([0, 0, 0])
    assert group_advantages([1.0, None]) == pytest.approx([0, 0])


def test_a_reward_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="None instead"):
        group_advantages([1.0, float("nan")])


def test_the_papers_mean_weighs_rollouts_alike_and_token_mean_weighs_tokens_alike() -> None:
    written = [[4, 1], [2]]
    paper, tokens = loss_weights(written), loss_weights(written, "token")
    assert [[n * w for n, w in zip(*both, strict=True)] for both in zip(written, paper, strict=True)] == [
        [0.25, 0.25],
        [0.5],
    ]
    assert tokens == [[1 / 7, 1 / 7], [1 / 7]]


def test_a_rollout_that_wrote_nothing_weighs_nothing() -> None:
    means: tuple[Mean, ...] = ("sequence", "token")
    for mean in means:
        assert loss_weights([[0, 2], [0]], mean)[0][0] == loss_weights([[0, 2], [0]], mean)[1][0] == 0
        assert loss_weights([[0]], mean) == [[0.0]]
