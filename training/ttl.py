"""Test-time learning: one loop over the parts that exist (paper 3.4, algorithm 3; spec section 4).

Per batch: G plans a question, one is picked, its answer is written down; only then are all plans judged, rewarded and
learnt from. The answer that counts can therefore not have seen this batch's labels: the score is prequential.
"""

import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mia_skill.agents.canaries import believed
from mia_skill.agents.explore import Attempt, Exploration, Judging, Picking, Student
from mia_skill.agents.manager import Manager
from mia_skill.agents.stream import Record, Stream
from mia_skill.core.events import Event, Listener, silent
from mia_skill.core.types import Outcome, Plan, Question, Value
from mia_skill.core.verdict import Label, Verdict
from retrieval.bank import MemoryQuery
from training.groups import Group, Rollout, Tokens, Updater, UpdateStats
from training.reward import PlannerOutcome, planner_reward

__all__ = ["Answered", "Attempt", "Judging", "Learned", "Picking", "Student", "Talks", "TestTime", "majority"]


class Talks(Protocol):
    """What a Planner that learns wrote, token by token: a student that is a policy keeps it."""

    def of(self, plan: Plan) -> tuple[Tokens, ...]:
        """The conversations behind a plan, its reflection included."""
        ...

    def well_formed(self, plan: Plan) -> bool:
        """Could its reflection be read too?"""
        ...

    def sampled(self, plan: Plan) -> bool:
        """Is it a draw from the policy? What was written to be served only is no sample, and has no reward."""
        ...

    def spoilt(self, question: Question) -> tuple[tuple[Tokens, ...], ...]:
        """Of this question, the replies that were no plan: samples, and they earn nothing."""
        ...


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
    believed: bool
    """False: the judge's canaries speak against it, so its verdicts are no samples: no reward, no update."""
    skipped: int
    """Questions that failed as a whole: no sample, not wrong answers."""


@dataclass
class TestTime:
    """The stream, with an update of the Planner between the verdicts and the memory. `record` is called with every
    answer before a judge or an updater is; what it is told never changes."""

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
    parallel: int = 16
    """Plans under way at most."""
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    listener: Listener = silent
    talks: Talks | None = None
    """Of a student whose weights learn."""
    vouch: Callable[[], Awaitable[bool]] = believed
    """Of a watched judge (`CanaryWatch.vouch`): may the verdicts of this batch move weights?"""
    answered: int = 0

    async def batch(self, questions: Sequence[Question]) -> Learned:
        """Answer, then learn from, one batch.

        Raises:
            InputError: the batch is empty or holds a question twice.
            MiaError: the update failed; the answers stand and the Planner is what it was.
        """
        records: list[Answered] = []
        stream = self._stream(lambda one: records.append(self._recorded(one)))
        explored = await stream.answer(questions)
        await stream.finish(explored)
        vouched = await self.vouch()
        rewards = [rewards_of(one, self.talks) if vouched else (None,) * len(one.plans) for one in explored]
        await self.listener(Event(stage="update", message=self.updater.name))
        groups = [group_of(*both, self.talks) for both in zip(explored, rewards, strict=True)]
        stats = await self.updater.update(groups)
        stored = [await stream.keep(one) for one in explored]
        told = [
            one.model_copy(update={"majority": majority([a.trajectory.answer for a in all_.attempts if a])})
            for one, all_ in zip(records, explored, strict=True)
        ]
        return Learned(
            answered=tuple(told),
            rewards=tuple(rewards),
            update=stats,
            stored=sum(stored),
            believed=vouched,
            skipped=len(questions) - len(explored),
        )

    def _stream(self, record: Record) -> Stream:
        return Stream(
            manager=self.manager,
            student=self.student,
            judge=self.judge,
            pick=self.pick,
            query=self.query,
            record=record,
            width=self.width,
            namespace=self.namespace,
            parallel=self.parallel,
            rng=self.rng,
            listener=self.listener,
        )

    def _recorded(self, explored: Exploration) -> Answered:
        told = Answered(
            number=self.answered,
            question=explored.question,
            picked=explored.picked,
            answer=explored.answer,
            memories=len(explored.recall.hits),
        )
        self.answered += 1
        self.record(told)
        return told


def rewards_of(explored: Exploration, talks: Talks | None = None) -> tuple[float | None, ...]:
    """Equation 4 for each plan; None where the judge failed or abstained, and for what is no sample of the policy."""
    made: list[float | None] = []
    for plan, attempt, (first, final) in zip(explored.plans, explored.attempts, explored.verdicts, strict=True):
        drawn = talks is None or talks.sampled(plan)
        if attempt is None or first is None or final is None or not drawn:
            made.append(None)
            continue
        form = talks is None or talks.well_formed(plan)
        run = PlannerOutcome(first=held(first), final=held(final), replanned=attempt.replanned, format_ok=form)
        made.append(planner_reward(run))
    return tuple(made)


def held(verdict: Verdict) -> Outcome | None:
    """What a reward counts: no answer is not a right one, and needs no judge; an abstention counts as nothing."""
    return Outcome.INCORRECT if verdict.label is Label.NOT_ATTEMPTED else verdict.outcome


def group_of(explored: Exploration, rewards: Sequence[float | None], talks: Talks | None = None) -> Group:
    """The plans of one question as a group, and with them what was written for it and is no plan."""
    rollouts = [
        Rollout(text=plan.text, reward=reward, tokens=talks.of(plan) if talks else ())
        for plan, reward in zip(explored.plans, rewards, strict=True)
    ]
    asked = explored.question
    if talks is not None:
        rollouts += [Rollout(text="", reward=0.0, tokens=tokens) for tokens in talks.spoilt(asked)]
    return Group(key=asked.id or asked.text, prompt=asked.text, rollouts=tuple(rollouts))


def majority(answers: Sequence[str]) -> str:
    """maj@G: the most frequent answer, whatever its case; the first of equals. Empty answers do not vote."""
    votes = Counter(" ".join(answer.casefold().split()) for answer in answers if answer.strip())
    if not votes:
        return ""
    best = max(votes.values())
    return next(one for one in answers if votes.get(" ".join(one.casefold().split())) == best)
