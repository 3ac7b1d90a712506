"""One rollout: the episode that everybody runs, with the trained part played by a `TokenPolicy`, and its reward."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from mia_skill.agents.episode import Crew, Episode, Judging, Planning, run_episode
from mia_skill.agents.executor import Executor, Finder, closed, read
from mia_skill.agents.planner import Planner, Replan
from mia_skill.core.chat import ChatModel
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import JudgeError, ModelError, PlanError, ToolOutage
from mia_skill.core.types import Outcome, Plan, Question, Step, StopReason, Usage
from mia_skill.core.verdict import Case, Label
from retrieval.bank import MemoryQuery, Recall
from training.policy import ContextFull, Conversation, TokenPolicy
from training.reward import ExecutorOutcome, PlannerOutcome, executor_reward, planner_reward
from training.task import Task
from trust.process import Signal

__all__ = ["GivenPlan", "Preset", "Role", "Rollout", "Setting", "roll_out", "run_task"]

Role = Literal["executor", "planner"]
NO_PLAN = PlannerOutcome(first=Outcome.INCORRECT, final=Outcome.INCORRECT, replanned=False, format_ok=False)
"""A trained Planner wrote no plan: eq. 4 gives 0."""


@dataclass(frozen=True)
class Preset:
    """Memories that were collected in advance."""

    memories: Recall

    async def recall(self, query: MemoryQuery) -> Recall:
        return self.memories


@dataclass(frozen=True)
class GivenPlan:
    """Stage 1: the plan is given, and the judge with the gold answer decides whether to replan (spec section 3)."""

    steps: tuple[str, ...]
    judge: Judging
    frozen: Planning | None = None
    """Who writes the second plan; None never replans."""

    async def plan(self, question: Question, recall: Recall) -> tuple[Plan, Usage]:
        """Raises: PlanError: the task came without a plan."""
        if not self.steps:
            raise PlanError("the task has no plan: collect initial plans first (`mia train data`)", raw="")
        return Plan(steps=self.steps, brain="none"), Usage()

    async def replan(
        self, question: Question, plan: Plan, steps: Sequence[Step], answer: str, signals: Sequence[Signal]
    ) -> tuple[Replan, Usage]:
        """Raises: PlanError, ModelError, JudgeError: no decision, so no sample."""
        verdict = await self.judge(Case(question=question.text, answer=answer, steps=tuple(steps)))
        if self.frozen is None or right(verdict.label):
            return Replan(need_replan=False), Usage()
        return await self.frozen.replan(question, plan, steps, answer, signals)


@dataclass(frozen=True)
class Setting:
    """Everything about a rollout but its task: who is trained, who is frozen, what may be used."""

    role: Role
    finder: Finder
    policy: TokenPolicy
    other: ChatModel | None = None
    """The frozen agent: for the Planner's rollouts the Executor; for the Executor's the Planner that replans."""
    judge: Judging | None = None
    """None: the gold answers of the task."""
    k: int = 1
    limits: BudgetConfig = field(default_factory=lambda: BudgetConfig(steps=5, searches=5))


@dataclass(frozen=True)
class Rollout:
    """One sample, or the reason why there is none."""

    task: Task
    conversations: tuple[Conversation, ...]
    reward: float | None
    """None: no sample. Masked, never 0."""
    right: bool | None = None
    first_right: bool | None = None
    episode: Episode | None = None
    lost: str = ""
    """Why there is no sample, or no episode."""
    outcome: ExecutorOutcome | PlannerOutcome | None = None
    """What the reward was computed from; None without a sample."""


def right(label: Label) -> bool:
    """Raises: JudgeError: the judge abstained; no reward can be had from that."""
    if label is Label.ABSTAIN:
        raise JudgeError("the judge abstained: no sample", raw=str(label))
    return label is Label.CORRECT


async def run_task(task: Task, planner: Planning, executor: ChatModel, setting: Setting, judge: Judging) -> Episode:
    """The episode of one task."""
    crew = Crew(
        manager=Preset(task.recall),
        planner=planner,
        executor=Executor(executor, setting.finder, setting.k),
        judge=judge,
    )
    return await run_episode(task.question, crew, MemoryQuery(text=task.question.text), setting.limits)


async def roll_out(task: Task, setting: Setting) -> Rollout:
    """One rollout with its reward (eq. 2 or eq. 4).

    A part that failed and is not trained here makes no sample. A trained Planner whose reply is no plan made one: it
    gets 0, as in the published code (its conversation has the wrong length then).
    """
    from training.task import GoldJudge

    judge = setting.judge or GoldJudge(task.gold)
    policy = setting.policy
    try:
        if setting.role == "executor":
            frozen = Planner(setting.other) if setting.other else None
            episode = await run_task(task, GivenPlan(task.plan, judge, frozen), policy, setting, judge)
            return executor_rollout(task, episode, policy)
        if setting.other is None:
            raise PlanError("a Planner is trained with a frozen Executor", raw="")
        episode = await run_task(task, Planner(policy), setting.other, setting, judge)
        return await planner_rollout(task, episode, policy, judge)
    except PlanError as cause:
        written = setting.role == "planner" and any(talk.written for talk in policy.conversations)
        return lost(task, policy, f"plan: {cause}", reward=0.0 if written else None)
    except ContextFull as cause:
        return lost(task, policy, f"context: {cause}")
    except (ModelError, JudgeError, ToolOutage) as cause:
        return lost(task, policy, f"{type(cause).__name__}: {cause}")


def lost(task: Task, policy: TokenPolicy, why: str, reward: float | None = None) -> Rollout:
    wrong = None if reward is None else False
    outcome = None if reward is None else NO_PLAN
    return Rollout(task, tuple(policy.conversations), reward, wrong, wrong, lost=why, outcome=outcome)


def executor_rollout(task: Task, episode: Episode, policy: TokenPolicy) -> Rollout:
    """Eq. 2 of an episode."""
    is_right = verdict_of(episode)
    outcome = ExecutorOutcome(
        verdict=outcome_of(is_right),
        tool_ok=any(step.error is None and step.passages for step in episode.trajectory.steps),
        format_ok=episode.trajectory.stop is StopReason.ANSWERED
        and all(well_formed(reply) for talk in policy.conversations for reply in talk.replies),
    )
    talks = tuple(policy.conversations)
    return Rollout(task, talks, executor_reward(outcome), is_right, is_right, episode, outcome=outcome)


async def planner_rollout(task: Task, episode: Episode, policy: TokenPolicy, judge: Judging) -> Rollout:
    """Eq. 4 of an episode. Both forms were read, or there would be no episode: the format is right."""
    is_right = verdict_of(episode)
    first = is_right
    replanned = episode.replan is not None and episode.replan.plan is not None
    if replanned:
        case = Case(question=task.question.text, answer=episode.first_answer, steps=episode.trajectory.steps)
        first = right((await judge(case)).label)
    outcome = PlannerOutcome(
        first=outcome_of(first),
        final=outcome_of(is_right),
        replanned=replanned,
        format_ok=not any(talk.cut for talk in policy.conversations),
    )
    talks = tuple(policy.conversations)
    return Rollout(task, talks, planner_reward(outcome), is_right, first, episode, outcome=outcome)


def verdict_of(episode: Episode) -> bool:
    """Raises: JudgeError: nobody judged."""
    if episode.verdict is None:
        raise JudgeError("nobody judged this run: no sample", raw="")
    return right(episode.verdict.label)


def outcome_of(is_right: bool) -> Outcome:
    return Outcome.CORRECT if is_right else Outcome.INCORRECT


def well_formed(reply: str) -> bool:
    """One call or one answer."""
    turn = read(closed(reply))
    return turn is not None and (len(turn.calls) == 1) != (turn.answer is not None)
