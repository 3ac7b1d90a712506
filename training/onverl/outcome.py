"""The reward hook of veRL's runs: eq. 2 and eq. 4 over what the agent loop reports. Pure; no network, no files.

`reward.custom_reward_function.path=pkg://training.onverl.outcome` and `.name=compute_score`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from mia_skill.core.errors import InputError, JudgeError
from mia_skill.core.types import Outcome
from training.reward import (
    ExecutorOutcome,
    PlannerOutcome,
    executor_reward,
    executor_reward_without_tool,
    planner_reward,
    planner_reward_unsupervised,
)
from training.rollout import Rollout

__all__ = ["KEY", "compute_score", "report", "reward_of"]

KEY = "mia"
"""Where the loop's report lies among the extra fields."""


def report(made: Rollout, variant: str = "paper") -> dict[str, Any]:
    """What the reward, and whoever watches the run, need to know of a rollout. `variant` is `mia.executor_variant` or
    `mia.planner_variant`.

    Raises:
        JudgeError: there is no sample in it.
    """
    if made.outcome is None:
        raise JudgeError(made.lost or "nobody judged this rollout: no sample", raw="")
    steps = made.episode.trajectory.steps if made.episode else ()
    kind = "executor" if isinstance(made.outcome, ExecutorOutcome) else "planner"
    told = {"kind": kind, "variant": variant, "outcome": made.outcome.model_dump(mode="json"), "searches": len(steps)}
    return told | {"group": made.task.name, "written": sum(talk.written for talk in made.conversations)}


def reward_of(told: Mapping[str, Any]) -> float:
    """The reward, by the variant that the report names.

    Raises:
        InputError: the report is not one of ours.
        JudgeError: a verdict is missing. Never means 0.
    """
    try:
        if told["kind"] == "executor":
            run = ExecutorOutcome.model_validate(told["outcome"])
            bare = told.get("variant") == "without_tool"
            reward = executor_reward_without_tool(run) if bare else executor_reward(run)
        else:
            outcome = PlannerOutcome.model_validate(told["outcome"])
            published = told.get("variant") == "unsupervised"
            reward = planner_reward_unsupervised(outcome) if published else planner_reward(outcome)
    except (KeyError, TypeError, ValidationError) as cause:
        raise InputError(f"this rollout was not made by an agent loop of training.onverl.loops: {cause!r}") from None
    if reward is None:
        raise JudgeError("a verdict is missing: no sample", raw="")
    return reward


async def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: object,
    extra_info: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, float]:
    """veRL's reward function: the score, and figures that become metrics.

    Raises:
        InputError, JudgeError: no reward; veRL marks the sample as failed and leaves it out of its group.
    """
    told = (extra_info or {}).get(KEY)
    if not isinstance(told, Mapping):
        raise InputError(f"there is no report of an agent loop under {KEY!r} of {data_source}")
    outcome = told.get("outcome", {})
    final = outcome.get("verdict", outcome.get("final"))
    first = outcome.get("first", final)
    return {
        "score": reward_of(told),
        "acc": float(final == Outcome.CORRECT),
        "first_acc": float(first == Outcome.CORRECT),
        "format_ok": float(bool(outcome.get("format_ok"))),
        "tool_ok": float(bool(outcome.get("tool_ok", True))),
        "replanned": float(bool(outcome.get("replanned"))),
        "searches": float(told.get("searches", 0)),
    }
