"""Test-time learning: one loop over the parts that exist (paper 3.4, algorithm 3; spec section 4).

Per batch: G plans a question, one is picked, its answer is written down; only then are all plans judged, rewarded and
learnt from. The answer that counts can therefore not have seen this batch's labels: the score is prequential.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import anyio
import anyio.to_thread

from mia_skill.agents.manager import Manager, Run
from mia_skill.core.errors import InputError, JudgeError, MiaError, ModelError, PlanError
from mia_skill.core.events import Event, Listener, silent
from mia_skill.core.types import Outcome, Plan, Question, Trajectory, Value
from mia_skill.core.verdict import Case, Label, Verdict
from retrieval.bank import MemoryQuery, PairHit, Recall
from training.groups import Group, Rollout, Tokens, Updater, UpdateStats
from training.reward import PlannerOutcome, planner_reward

__all__ = ["Answered", "Attempt", "Draft", "Learned", "Student", "TestTime", "gathered", "majority"]

T = TypeVar("T")


class Draft(Value):
    """What the Planner wrote for a question."""

    plan: Plan | None = None
    """None: it is no plan. That is a sample, and it earns nothing."""
    number: int = 0
    """By which the student knows it again."""
    tokens: tuple[Tokens, ...] = ()


class Attempt(Value):
    """One plan carried out, reflection included."""

    plan: Plan
    trajectory: Trajectory
    first_answer: str = ""
    replanned: bool = False
    format_ok: bool = True
    """Plan and reflection could both be read."""
    tokens: tuple[Tokens, ...] = ()
    """What the Planner wrote, where it is a policy that learns."""


class Student(Protocol):
    """Whoever plans and executes: agents with models, or the world's deterministic one."""

    async def plans(self, question: Question, recall: Recall, n: int) -> tuple[Draft, ...]:
        """`n` plans, sampled."""
        ...

    async def attempt(self, question: Question, draft: Draft) -> Attempt:
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
    picked: int | None
    """None: no plan was written, and the question stays unanswered."""
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
    drafts: tuple[Draft, ...]
    picked: int | None
    """None: nothing that was written is a plan."""
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
    eager: bool = False
    """Carry all plans out at once and not the picked one first: for a model server that has room for them."""
    answered: int = 0

    async def batch(self, questions: Sequence[Question]) -> Learned:
        """Answer, then learn from, one batch.

        Raises:
            InputError: the batch is empty or holds a question twice.
            MiaError: the update failed; the answers stand and the Planner is what it was.
        """
        if not questions or len({one.text for one in questions}) != len(questions):
            raise InputError("a batch holds at least one question, and none twice")
        opened = await gathered([self._open(one) for one in questions])
        sittings = [one for one in opened if one is not None]
        records = [self._record(one) for one in sittings]
        await gathered([self._carry_out(sitting) for sitting in sittings])
        await gathered([self._judge(sitting) for sitting in sittings])
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
        """Recall, plan, pick and carry out the pick; None when a model failed: no sample."""
        await self.listener(Event(stage="plan", message=question.text))
        query = self.query(question)
        recall = await self.manager.recall(query)
        pairs = await anyio.to_thread.run_sync(self._pairs, question)
        try:
            drafts = await self.student.plans(question, recall, self.width)
            readable = [index for index, draft in enumerate(drafts) if draft.plan is not None]
            plans = [draft.plan for draft in drafts if draft.plan is not None]
            sitting = Sitting(question, recall, drafts, None, [None] * len(drafts))
            if plans:
                chosen = await self.pick(question, plans, pairs)
                if not 0 <= chosen < len(plans):
                    raise PlanError(f"plan {chosen} of {len(plans)} was picked", raw=str(chosen))
                sitting.picked = readable[chosen]
                others = [self._carry_out(sitting)] if self.eager else []
                await gathered([self._attempt(sitting, sitting.picked), *others])
        except (ModelError, PlanError):
            return None
        return sitting

    def _pairs(self, question: Question) -> tuple[PairHit, ...]:
        return self.manager.bank.similar_pairs(question.text, caption=question.caption, namespace=self.namespace)

    def _record(self, sitting: Sitting) -> Answered:
        attempt = None if sitting.picked is None else sitting.attempts[sitting.picked]
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

    async def _attempt(self, sitting: Sitting, index: int) -> None:
        sitting.attempts[index] = await self.student.attempt(sitting.question, sitting.drafts[index])

    async def _carry_out(self, sitting: Sitting) -> None:
        """All other plans too; one whose model fails is no sample."""

        async def one(index: int) -> None:
            try:
                await self._attempt(sitting, index)
            except (ModelError, PlanError):
                return

        known = [index for index, attempt in enumerate(sitting.attempts) if attempt is not None]
        done = {sitting.picked, *known}
        left = [index for index, draft in enumerate(sitting.drafts) if draft.plan and index not in done]
        await gathered([one(index) for index in left])

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
        """Equation 4 for each plan; None where the judge failed or abstained, 0 for what is no plan."""
        made: list[float | None] = []
        for draft, attempt, (first, final) in zip(sitting.drafts, sitting.attempts, sitting.verdicts, strict=True):
            if draft.plan is None:
                made.append(0.0)
                continue
            if attempt is None or first is None or final is None:
                made.append(None)
                continue
            run = PlannerOutcome(
                first=held(first),
                final=held(final),
                replanned=attempt.replanned,
                format_ok=attempt.format_ok,
            )
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
    rollouts = []
    for draft, attempt, reward in zip(sitting.drafts, sitting.attempts, rewards, strict=True):
        text = draft.plan.text if draft.plan else ""
        rollouts.append(Rollout(text=text, reward=reward, tokens=attempt.tokens if attempt else draft.tokens))
    key = sitting.question.id or sitting.question.text
    return Group(key=key, prompt=sitting.question.text, rollouts=tuple(rollouts))


def held(verdict: Verdict) -> Outcome | None:
    """What a reward counts: no answer is not a right one, and needs no judge; an abstention counts as nothing."""
    return Outcome.INCORRECT if verdict.label is Label.NOT_ATTEMPTED else verdict.outcome


async def gathered(work: Sequence[Awaitable[T]]) -> list[T]:
    """All at once, results in their order. The first error that is ours stops the others and is raised as it is."""
    made: dict[int, T] = {}

    async def one(place: int, task: Awaitable[T]) -> None:
        made[place] = await task

    try:
        async with anyio.create_task_group() as group:
            for place, task in enumerate(work):
                group.start_soon(one, place, task)
    except* MiaError as errors:
        raise first_of(errors) from None
    return [made[place] for place in range(len(work))]


def first_of(errors: BaseExceptionGroup[MiaError]) -> MiaError:
    one = errors.exceptions[0]
    return first_of(one) if isinstance(one, BaseExceptionGroup) else one


def majority(answers: Sequence[str]) -> str:
    """maj@G: the most frequent answer, whatever its case; the first of equals. Empty answers do not vote."""
    votes = Counter(" ".join(answer.casefold().split()) for answer in answers if answer.strip())
    if not votes:
        return ""
    best = max(votes.values())
    return next(one for one in answers if votes.get(" ".join(one.casefold().split())) == best)
