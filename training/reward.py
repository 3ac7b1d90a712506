"""Rewards of the paper as pure functions: no network, no defaults for a missing verdict (spec section 3).

A run that nobody could judge has no reward: every function answers None then, and the sample is masked out. It is
never 0, which would teach the policy that the outage was its fault.
"""

from mia_skill.core.types import Outcome, Value

__all__ = [
    "ExecutorOutcome",
    "PlannerOutcome",
    "executor_reward",
    "executor_reward_without_tool",
    "planner_reward",
    "planner_reward_unsupervised",
]


class ExecutorOutcome(Value):
    """What is known of one Executor rollout."""

    verdict: Outcome | None
    """None when the judge gave no verdict."""
    tool_ok: bool
    """There is at least one successful, well-formed tool call (paper; the code counted any named call)."""
    format_ok: bool
    """Every turn parses: thought, then one call or one answer."""


class PlannerOutcome(Value):
    """What is known of one Planner rollout: plan, first answer, reflection, final answer."""

    first: Outcome | None
    """Verdict of the answer before the reflection."""
    final: Outcome | None
    replanned: bool
    format_ok: bool


def executor_reward(run: ExecutorOutcome) -> float | None:
    """Paper eq. 2: 0.7 correct + 0.2 tool + 0.1 format. None: no verdict, no sample."""
    if run.verdict is None:
        return None
    return 0.7 * (run.verdict is Outcome.CORRECT) + 0.2 * run.tool_ok + 0.1 * run.format_ok


def executor_reward_without_tool(run: ExecutorOutcome) -> float | None:
    """Eq. 2 without its tool term, 0.7 correct + 0.1 format: for an ablation. Peers found that a policy that is not
    paid for calls stops to search (spec section 9)."""
    return None if run.verdict is None else 0.7 * (run.verdict is Outcome.CORRECT) + 0.1 * run.format_ok


def planner_reward(run: PlannerOutcome) -> float | None:
    """Paper eq. 4: 0.7 correct(final) + 0.2 correct(first) + 0.05 reflection + 0.05 format.

    Reflection is right when the first answer was right and the plan was kept, or wrong and it was changed.
    None when either verdict is missing: no sample.
    """
    if run.first is None or run.final is None:
        return None
    first_ok = run.first is Outcome.CORRECT
    reflected_well = first_ok != run.replanned
    return 0.7 * (run.final is Outcome.CORRECT) + 0.2 * first_ok + 0.05 * reflected_well + 0.05 * run.format_ok


def planner_reward_unsupervised(run: PlannerOutcome) -> float | None:
    """The published code's unsupervised variant, 0.9 correct + 0.1 format (spec 8.1): kept for comparison.

    The paper uses eq. 4 with the panel's verdicts; so do we by default (`planner_reward`).
    """
    if run.final is None:
        return None
    return 0.9 * (run.final is Outcome.CORRECT) + 0.1 * run.format_ok
