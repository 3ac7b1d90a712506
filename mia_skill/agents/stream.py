"""A stream of questions: answer first, learn after (paper 3.4, algorithm 3, without the update of the weights).

Per batch: each question is answered by the picked plan, and the answers are written down; only then are all plans
carried out, judged and learnt from. An answer can therefore not have seen the labels of its own batch.

Within these steps a batch's questions and plans are played at once, begun in their order. What is written down, drawn
or stored is so in the order of the questions, so that the same seed gives the same stream.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import anyio.to_thread

from mia_skill.agents.explore import FAILURES, Exploration, Judging, Picking, Student, begin
from mia_skill.agents.manager import Manager
from mia_skill.core.errors import InputError
from mia_skill.core.events import Event, Listener, silent
from mia_skill.core.together import together
from mia_skill.core.types import Question
from retrieval.bank import MemoryQuery, PairHit, Recall

__all__ = ["Record", "Stream", "unrecorded"]

Record = Callable[[Exploration], object]
"""Called with every answer before anything is learnt from it."""


def unrecorded(_explored: Exploration) -> None:
    """For a caller that reads the answers of a batch only when it is over."""


@dataclass(kw_only=True)
class Stream:
    """One stream over one bank."""

    manager: Manager
    student: Student
    judge: Judging
    pick: Picking
    query: Callable[[Question], MemoryQuery]
    """What to ask the bank: with its share withheld, so that the do-no-harm gate measures and acts."""
    record: Record
    width: int = 4
    """G (paper: 4)."""
    namespace: str = "default"
    parallel: int = 16
    """Plans under way at most, over all questions of a batch."""
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    listener: Listener = silent

    async def batch(self, questions: Sequence[Question]) -> tuple[Exploration, ...]:
        """Answer, then learn from, one batch. Questions that failed as a whole are missing: no sample, not wrong.

        Raises:
            InputError: the batch is empty or holds a question twice.
        """
        explored = await self.answer(questions)
        await self.finish(explored)
        for one in explored:
            await self.keep(one)
        return explored

    async def answer(self, questions: Sequence[Question]) -> tuple[Exploration, ...]:
        """The picked plan of each question, carried out; then all answers are recorded.

        Raises:
            InputError: the batch is empty or holds a question twice.
        """
        if not questions or len({one.text for one in questions}) != len(questions):
            raise InputError("a batch holds at least one question, and none twice")
        shown = [await self._shown(one) for one in questions]
        begun: list[Exploration | None] = [None] * len(questions)

        async def start(place: int) -> None:
            begun[place] = await self._begin(questions[place], *shown[place])

        await together([partial(start, place) for place in range(len(questions))], most=self.parallel)
        explored = tuple(one for one in begun if one is not None)
        for one in explored:
            self.record(one)
        return explored

    async def finish(self, explored: Sequence[Exploration]) -> None:
        """All other plans, then the verdicts on all."""
        await together([work for one in explored for work in one.left(self.student)], most=self.parallel)
        await together([partial(one.judge, self.judge) for one in explored], most=self.parallel)

    async def keep(self, explored: Exploration) -> bool:
        """What a question taught, in one transaction; False when there is nothing to remember."""
        runs = explored.runs(self.namespace)
        if not runs:
            return False
        try:
            await self.manager.consolidate(runs, rng=self.rng, listener=self.listener)
        except InputError:
            return False  # no step of any run brought anything
        return True

    async def _shown(self, question: Question) -> tuple[Recall, tuple[PairHit, ...]]:
        """What the bank has for a question: one after the other, for a thread's haste must not order a batch."""
        recall = await self.manager.recall(self.query(question))
        return recall, await anyio.to_thread.run_sync(self._pairs, question)

    async def _begin(self, question: Question, recall: Recall, pairs: tuple[PairHit, ...]) -> Exploration | None:
        """None when a model or a tool failed: no sample."""
        await self.listener(Event(stage="plan", message=question.text))
        try:
            return await begin(question, self.student, self.pick, recall, pairs, self.width)
        except FAILURES:
            return None

    def _pairs(self, question: Question) -> tuple[PairHit, ...]:
        return self.manager.bank.similar_pairs(question.text, caption=question.caption, namespace=self.namespace)
