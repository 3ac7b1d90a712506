"""One episode, four callers: command line, MCP tool, evaluation, RL (design: flow of an episode)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from mia_skill.agents.executor import Executor
from mia_skill.agents.manager import Run
from mia_skill.agents.planner import Replan
from mia_skill.core.budget import Meter
from mia_skill.core.config import BudgetConfig
from mia_skill.core.events import Event, Listener, silent
from mia_skill.core.prompts import prompt_digests
from mia_skill.core.types import Plan, Question, Step, StopReason, Trajectory, Usage, Value
from mia_skill.core.verdict import Case, Verdict
from retrieval.bank import MemoryQuery, Recall
from retrieval.gate import Draw
from trust.process import Signal, signals

__all__ = ["Crew", "Episode", "Judging", "Planning", "Recalling", "run_episode"]


class Judging(Protocol):
    """Whoever gives verdicts: gold, the panel, evidence checks."""

    async def __call__(self, case: Case, /) -> Verdict: ...


class Recalling(Protocol):
    """Whoever has memories: the `Manager`, or what was collected from it in advance (training)."""

    async def recall(self, query: MemoryQuery) -> Recall: ...


class Planning(Protocol):
    """Whoever plans: a `Planner`, or a plan that is given (stage 1 of training)."""

    async def plan(self, question: Question, recall: Recall) -> tuple[Plan, Usage]: ...

    async def replan(
        self, question: Question, plan: Plan, steps: Sequence[Step], answer: str, signals: Sequence[Signal]
    ) -> tuple[Replan, Usage]: ...


@dataclass(frozen=True)
class Crew:
    """The agents of one episode. It never learns which caller it works for."""

    manager: Recalling
    planner: Planning
    executor: Executor
    judge: Judging | None = None


class Episode(Value):
    """Everything that happened for one question."""

    question: Question
    plan: Plan
    replan: Replan | None = None
    trajectory: Trajectory
    first_answer: str = ""
    """The answer before the replan: the Planner's reward asks for it (eq. 4)."""
    verdict: Verdict | None = None
    """None when nobody judged: never stored as success or failure, never rewarded."""
    memory_ids: tuple[str, ...] = ()
    draw: Draw | None = None
    """What the memory's gate did."""
    usage: Usage = Usage()
    prompts: dict[str, str]
    """Prompt name to digest."""

    @property
    def run(self) -> Run:
        """What the Manager keeps of it."""
        plan = self.replan.plan if self.replan and self.replan.plan else self.plan
        return Run(
            question=self.question,
            trajectory=self.trajectory,
            plan=plan.text,
            outcome=self.verdict.remembered if self.verdict else None,
            memory_ids=self.memory_ids,
            draw=self.draw,
            judged_by=self.verdict.backend if self.verdict else "none",
        )


async def run_episode(
    question: Question,
    crew: Crew,
    query: MemoryQuery,
    limits: BudgetConfig,
    *,
    listener: Listener = silent,
    meter: Callable[[BudgetConfig], Meter] = Meter,
) -> Episode:
    """Recall, plan, execute, reflect once, execute on, judge. Nothing is stored here: learning comes after.

    Raises:
        ModelError, PlanError, JudgeError, ToolOutage: a part failed; there is no episode, and nothing is counted as
            wrong.
    """
    spent = meter(limits)
    await listener(Event(stage="recall", message=question.text))
    recall: Recall = await crew.manager.recall(query)
    await listener(Event(stage="plan", message=recall.note))
    plan, usage = await crew.planner.plan(question, recall)
    spent.charge(usage)
    first = await crew.executor.run(question, plan, spent, listener=listener)
    replan, trajectory = await reflect(question, crew, plan, first, spent, listener)
    verdict = None
    if crew.judge is not None:
        await listener(Event(stage="judge", message=trajectory.answer))
        verdict = await crew.judge(Case(question=question.text, answer=trajectory.answer, steps=trajectory.steps))
        spent.charge(verdict.usage)
    return Episode(
        question=question,
        plan=plan,
        replan=replan,
        trajectory=trajectory,
        first_answer=first.answer,
        verdict=verdict,
        memory_ids=plan.memory_ids,
        draw=recall.draw,
        usage=spent.usage.model_copy(update={"seconds": spent.clock() - spent.started}),
        prompts=prompt_digests(),
    )


async def reflect(
    question: Question, crew: Crew, plan: Plan, first: Trajectory, spent: Meter, listener: Listener
) -> tuple[Replan | None, Trajectory]:
    """The one replan (never more, spec section 1). None when a limit had already ended the run."""
    if first.stop not in (StopReason.ANSWERED, StopReason.GAVE_UP):
        return None, first
    found = signals(question.text, first.steps, first.answer)
    decision, usage = await crew.planner.replan(question, plan, first.steps, first.answer, found)
    spent.charge(usage)
    if decision.plan is None:
        return decision, first
    await listener(Event(stage="replan", message=decision.reason))
    second = await crew.executor.run(
        question, decision.plan, spent, before=first.steps, plan_index=1, listener=listener
    )
    last = second if second.answer else first
    steps = first.steps + second.steps
    return decision, Trajectory(steps=steps, answer=last.answer, stop=second.stop, cites=last.cites)
