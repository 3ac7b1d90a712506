"""Exploring: G plans for one question, one picked before any is carried out, then all carried out (paper 3.4)."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from mia_skill.agents.episode import Crew, Recalling, reflect
from mia_skill.agents.executor import Executor
from mia_skill.agents.manager import Run
from mia_skill.agents.planner import Planner
from mia_skill.agents.router import Router
from mia_skill.core.budget import Meter
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import JudgeError, ModelError, PlanError, ToolOutage
from mia_skill.core.events import silent
from mia_skill.core.types import Plan, Question, Trajectory, Usage, Value
from mia_skill.core.verdict import Case, Verdict
from retrieval.bank import PairHit, Recall

__all__ = ["FAILURES", "AgentStudent", "Attempt", "Exploration", "Judging", "Picking", "Student"]
__all__ += ["begin", "routed"]

FAILURES = (ModelError, PlanError, ToolOutage)
"""What makes an attempt no sample."""


class Attempt(Value):
    """One plan carried out, reflection included."""

    plan: Plan
    trajectory: Trajectory
    first_answer: str = ""
    replanned: bool = False
    usage: Usage = Usage()


class Student(Protocol):
    """Whoever plans and executes: agents with models, or the world's deterministic one."""

    async def plans(self, question: Question, recall: Recall, n: int) -> tuple[Plan, ...]:
        """`n` plans, sampled."""
        ...

    async def attempt(self, question: Question, plan: Plan) -> Attempt:
        """Carry one plan out, with at most one replan."""
        ...


class Picking(Protocol):
    """Whoever picks a plan before any is carried out: the Router."""

    async def __call__(self, question: Question, plans: Sequence[Plan], pairs: Sequence[PairHit], /) -> int: ...


Judging = Callable[[Question, Case], Awaitable[Verdict]]
"""Gold, or the trust panel. It raises, or abstains, where it cannot tell."""


@dataclass
class Exploration:
    """One question on its way: the picked plan is carried out first, and its answer is the one that counts."""

    question: Question
    recall: Recall
    plans: tuple[Plan, ...]
    picked: int
    attempts: list[Attempt | None]
    """None: not carried out yet, or a part failed: no sample."""
    verdicts: list[tuple[Verdict | None, Verdict | None]] = field(default_factory=list)
    """Of the first and of the final answer."""

    @property
    def answer(self) -> str:
        """The answer that counts."""
        attempt = self.attempts[self.picked]
        return attempt.trajectory.answer if attempt else ""

    def left(self, student: Student) -> list[Callable[[], Awaitable[None]]]:
        """All other plans, to be carried out; one whose model or tool fails is no sample."""
        return [partial(self._carry_out, student, index) for index, one in enumerate(self.attempts) if one is None]

    async def _carry_out(self, student: Student, index: int) -> None:
        with suppress(*FAILURES):
            self.attempts[index] = await student.attempt(self.question, self.plans[index])

    async def judge(self, judge: Judging) -> None:
        """A verdict on each first and final answer; None where the judge failed."""
        for attempt in self.attempts:
            if attempt is None:
                self.verdicts.append((None, None))
                continue
            final = await self._verdict(judge, attempt, attempt.trajectory.answer)
            same = not attempt.replanned or attempt.first_answer == attempt.trajectory.answer
            first = final if same else await self._verdict(judge, attempt, attempt.first_answer)
            self.verdicts.append((first, final))

    async def _verdict(self, judge: Judging, attempt: Attempt, answer: str) -> Verdict | None:
        asked = self.question
        case = Case(question=asked.text, answer=answer, steps=attempt.trajectory.steps, caption=asked.caption)
        try:
            return await judge(asked, case)
        except (JudgeError, ModelError):
            return None

    def runs(self, namespace: str = "default") -> tuple[Run, ...]:
        """What can be learnt from: judged runs only. Only the picked one answers the memory's gate and credits."""
        made = []
        for index, (attempt, (_, verdict)) in enumerate(zip(self.attempts, self.verdicts, strict=True)):
            outcome = verdict.remembered if verdict else None
            if attempt is None or verdict is None or outcome is None:
                continue
            made.append(
                Run(
                    question=self.question,
                    trajectory=attempt.trajectory,
                    plan=attempt.plan.text,
                    outcome=outcome,
                    memory_ids=attempt.plan.memory_ids if index == self.picked else (),
                    seen=tuple(hit.unit.id for hit in self.recall.hits),
                    draw=self.recall.draw if index == self.picked else None,
                    judged_by=verdict.backend,
                    namespace=namespace,
                )
            )
        return tuple(made)


async def begin(
    question: Question, student: Student, pick: Picking, recall: Recall, pairs: Sequence[PairHit], width: int
) -> Exploration:
    """Plan, pick, carry out the pick.

    Raises:
        ModelError, PlanError, ToolOutage: a part failed: the question is no sample.
    """
    plans = await student.plans(question, recall, width)
    picked = await pick(question, plans, pairs)
    if not 0 <= picked < len(plans):
        raise PlanError(f"plan {picked} of {len(plans)} was picked", raw=str(picked))
    attempts: list[Attempt | None] = [None] * len(plans)
    attempts[picked] = await student.attempt(question, plans[picked])
    return Exploration(question, recall, plans, picked, attempts)


@dataclass(frozen=True)
class AgentStudent:
    """The agents that serve: the Planner samples plans, each is carried out and reflected on as in an episode."""

    planner: Planner
    executor: Callable[[Question], Executor]
    """One of its own for each attempt: its tools are counted per attempt."""
    manager: Recalling
    limits: BudgetConfig

    async def plans(self, question: Question, recall: Recall, n: int) -> tuple[Plan, ...]:
        """At most `n` plans: replies that are none are left out.

        Raises:
            ModelError: the endpoint failed.
            PlanError: no reply was a plan.
        """
        return await self.planner.plans(question, recall, n)

    async def attempt(self, question: Question, plan: Plan) -> Attempt:
        """An episode without recall, planning and judging.

        Raises:
            ModelError, PlanError, ToolOutage: a part failed.
        """
        meter = Meter(self.limits)
        crew = Crew(manager=self.manager, planner=self.planner, executor=self.executor(question))
        first = await crew.executor.run(question, plan, meter)
        replan, last = await reflect(question, crew, plan, first, meter, silent)
        return Attempt(
            plan=plan,
            trajectory=last,
            first_answer=first.answer,
            replanned=replan is not None and replan.plan is not None,
            usage=meter.usage.model_copy(update={"seconds": meter.clock() - meter.started}),
        )


def routed(router: Router) -> Picking:
    """The Router as whoever picks."""

    async def pick(question: Question, plans: Sequence[Plan], pairs: Sequence[PairHit], /) -> int:
        choice, _ = await router.choose(question, plans, pairs)
        return choice

    return pick
