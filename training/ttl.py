"""Test-time learning: one loop over the parts that exist (paper 3.4, algorithm 3; spec section 4).

Per batch: G plans a question, one is picked, its answer is written down; only then are all plans judged, rewarded and
learnt from. The answer that counts can therefore not have seen this batch's labels: the score is prequential.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import anyio
import anyio.to_thread

from mia_skill.agents.manager import Manager, Run
from mia_skill.core.errors import InputError, JudgeError, ModelError, PlanError, ToolOutage
from mia_skill.core.events import Event, Listener, silent
from mia_skill.core.types import Outcome, Plan, Question, Trajectory, Value
from mia_skill.core.verdict import Case, Verdict
from retrieval.bank import MemoryQuery, PairHit, Recall
from training.groups import Group, Rollout, Updater, UpdateStats
from training.reward import PlannerOutcome, planner_reward

__all__ = ["Answered", "Attempt", "Learned", "Student", "TestTime", "majority"]


class Attempt(Value):
    """One plan carried out, reflection included."""

    plan: Plan
    trajectory: Trajectory
    first_answer: str = ""
    replanned: bool = False


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


class Answered(Value):
    """The answer that counts for one question, written down before anything was learnt from it."""

    number: int
    question: Question
    picked: int
    answer: str
    majority: str = ""
    """maj@G: the most frequent answer of all plans, to compare with. Known only after all were carried out."""
    memories: int = 0


class Learned(Value):
    """What one batch taught."""

    answered: tuple[Answered, ...]
    rewards: tuple[tuple[float | None, ...], ...]
    update: UpdateStats
    stored: int
    """Questions of which something was kept."""
    skipped: int
    """Questions that failed as a whole: no sample, not wrong answers."""


@dataclass
class Sitting:
    """One question on its way through a batch."""

    question: Question
    recall: Recall
    plans: tuple[Plan, ...]
    picked: int
    attempts: list[Attempt | None]
    verdicts: list[tuple[Verdict | None, Verdict | None]] = field(default_factory=list)
    """Of the first and of the final answer."""


@dataclass
class TestTime:
    """The loop. `record` is called with every answer before a judge or an updater is; what it is told never changes."""

    __test__ = False

    manager: Manager
    student: Student
    judge: Judging
    updater: Updater
    pick: Picking
    query: Callable[[Question], MemoryQuery]
    """What to ask the bank: with its share withheld, so that the do-no-harm gate measures and acts."""
    record: Callable[[Answered], None]
    width: int = 4
    """G (paper: 4)."""
    namespace: str = "default"
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    listener: Listener = silent
    answered: int = 0

    async def batch(self, questions: Sequence[Question]) -> Learned:
        """Answer, then learn from, one batch.

        Raises:
            InputError: the batch is empty or holds a question twice.
            MiaError: the update failed; the answers stand and the Planner is what it was.
        """
        if not questions or len({one.text for one in questions}) != len(questions):
            raise InputError("a batch holds at least one question, and none twice")
        sittings = [sitting for one in questions if (sitting := await self._open(one)) is not None]
        records = [self._record(one) for one in sittings]
        for sitting in sittings:
            await self._carry_out(sitting)
        for sitting in sittings:
            await self._judge(sitting)
        rewards = [self._rewards(one) for one in sittings]
        await self.listener(Event(stage="update", message=self.updater.name))
        stats = await self.updater.update([group_of(*both) for both in zip(sittings, rewards, strict=True)])
        stored = [await self._store(sitting) for sitting in sittings]
        told = [
            one.model_copy(update={"majority": majority([a.trajectory.answer for a in sitting.attempts if a])})
            for one, sitting in zip(records, sittings, strict=True)
        ]
        return Learned(
            answered=tuple(told),
            rewards=tuple(rewards),
            update=stats,
            stored=sum(stored),
            skipped=len(questions) - len(sittings),
        )

    async def _open(self, question: Question) -> Sitting | None:
        """Recall, plan, pick and carry out the pick; None when a model or a tool failed: no sample."""
        await self.listener(Event(stage="plan", message=question.text))
        query = self.query(question)
        recall = await self.manager.recall(query)
        pairs = await anyio.to_thread.run_sync(self._pairs, question)
        try:
            plans = await self.student.plans(question, recall, self.width)
            picked = await self.pick(question, plans, pairs)
            if not 0 <= picked < len(plans):
                raise PlanError(f"plan {picked} of {len(plans)} was picked", raw=str(picked))
            attempts: list[Attempt | None] = [None] * len(plans)
            attempts[picked] = await self.student.attempt(question, plans[picked])
        except (ModelError, PlanError, ToolOutage):
            return None
        return Sitting(question, recall, plans, picked, attempts)

    def _pairs(self, question: Question) -> tuple[PairHit, ...]:
        return self.manager.bank.similar_pairs(question.text, caption=question.caption, namespace=self.namespace)

    def _record(self, sitting: Sitting) -> Answered:
        attempt = sitting.attempts[sitting.picked]
        told = Answered(
            number=self.answered,
            question=sitting.question,
            picked=sitting.picked,
            answer=attempt.trajectory.answer if attempt else "",
            memories=len(sitting.recall.hits),
        )
        self.answered += 1
        self.record(told)
        return told

    async def _carry_out(self, sitting: Sitting) -> None:
        """All other plans too; one whose model or tool fails is no sample."""
        for index, plan in enumerate(sitting.plans):
            if sitting.attempts[index] is None:
                try:
                    sitting.attempts[index] = await self.student.attempt(sitting.question, plan)
                except (ModelError, PlanError, ToolOutage):
                    continue

    async def _judge(self, sitting: Sitting) -> None:
        for attempt in sitting.attempts:
            if attempt is None:
                sitting.verdicts.append((None, None))
                continue
            final = await self._verdict(sitting.question, attempt, attempt.trajectory.answer)
            same = not attempt.replanned or attempt.first_answer == attempt.trajectory.answer
            first = final if same else await self._verdict(sitting.question, attempt, attempt.first_answer)
            sitting.verdicts.append((first, final))

    async def _verdict(self, question: Question, attempt: Attempt, answer: str) -> Verdict | None:
        case = Case(question=question.text, answer=answer, steps=attempt.trajectory.steps, caption=question.caption)
        try:
            return await self.judge(question, case)
        except (JudgeError, ModelError):
            return None

    def _rewards(self, sitting: Sitting) -> tuple[float | None, ...]:
        """Equation 4 for each plan; None where the judge failed or abstained."""
        made: list[float | None] = []
        for attempt, (first, final) in zip(sitting.attempts, sitting.verdicts, strict=True):
            if attempt is None or first is None or final is None:
                made.append(None)
                continue
            run = PlannerOutcome(first=first.outcome, final=final.outcome, replanned=attempt.replanned, format_ok=True)
            made.append(planner_reward(run))
        return tuple(made)

    async def _store(self, sitting: Sitting) -> bool:
        """What this question taught, in one transaction. Only judged runs, and only one of them answers the gate."""
        runs = []
        for index, attempt in enumerate(sitting.attempts):
            verdict = sitting.verdicts[index][1]
            outcome: Outcome | None = verdict.remembered if verdict else None
            if attempt is None or verdict is None or outcome is None:
                continue
            runs.append(
                Run(
                    question=sitting.question,
                    trajectory=attempt.trajectory,
                    plan=attempt.plan.text,
                    outcome=outcome,
                    memory_ids=attempt.plan.memory_ids if index == sitting.picked else (),
                    seen=tuple(hit.unit.id for hit in sitting.recall.hits),
                    draw=sitting.recall.draw if index == sitting.picked else None,
                    judged_by=verdict.backend,
                    namespace=self.namespace,
                )
            )
        if not runs:
            return False
        try:
            await self.manager.consolidate(runs, rng=self.rng, listener=self.listener)
        except InputError:
            return False  # no step of any run brought anything: there is nothing to remember
        return True


def group_of(sitting: Sitting, rewards: Sequence[float | None]) -> Group:
    """The plans of one question as a group."""
    rollouts = tuple(
        Rollout(text=plan.text, reward=reward) for plan, reward in zip(sitting.plans, rewards, strict=True)
    )
    return Group(key=sitting.question.id or sitting.question.text, prompt=sitting.question.text, rollouts=rollouts)


def majority(answers: Sequence[str]) -> str:
    """maj@G: the most frequent answer, whatever its case; the first of equals. Empty answers do not vote."""
    votes = Counter(" ".join(answer.casefold().split()) for answer in answers if answer.strip())
    if not votes:
        return ""
    best = max(votes.values())
    return next(one for one in answers if votes.get(" ".join(one.casefold().split())) == best)
