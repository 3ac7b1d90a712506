"""Runs one method over one stream: answer first, learn after; and takes up again where a run was broken off."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import MiaError
from mia_skill.core.together import together
from mia_skill.core.types import Outcome, Value
from mia_skill.evaluation.advice import Attempt, Done
from mia_skill.evaluation.judging import Graded
from mia_skill.evaluation.method import Learnt, Method
from mia_skill.evaluation.mind import Mind
from mia_skill.evaluation.task import Task
from mia_skill.evaluation.trace import Journal, Lesson, Row, read_lines

__all__ = ["EndpointGone", "Past", "Progress", "Protocol", "Runner", "outcome_of", "past_of"]

Grading = Callable[[Task, Attempt], Awaitable[Graded]]
Watch = Callable[["Progress"], None]


OUT = ("ModelUnreachableError", "ToolOutage")


class EndpointGone(MiaError):
    """A whole wave found no endpoint, or a tool that was down: the run stops instead of filling with empty rows."""


class Progress(Value):
    """Where a run stands."""

    method: str
    seed: int
    done: int
    total: int
    right: int
    no_sample: int
    answering_s: float = 0.0
    """Wall time of this run so far, in waves of answers; what was read from the journal took none."""
    learning_s: float = 0.0
    """Wall time of this run so far, between the waves."""


@dataclass(frozen=True)
class Past:
    """What a journal holds already."""

    rows: Mapping[str, Row]
    lessons: Mapping[str, Lesson]


def past_of(path: Path) -> Past:
    """The last row and lesson of each task.

    Raises:
        InputError: a line is damaged.
    """
    rows: dict[str, Row] = {}
    lessons: dict[str, Lesson] = {}
    for line in read_lines(path):
        if isinstance(line, Row):
            rows[line.task] = line
        else:
            lessons[line.task] = line
    return Past(rows, lessons)


class Protocol(Value):
    """How a stream is run."""

    concurrency: int = 1
    """Episodes of a wave. All of a wave are answered with the memory of the wave before, then learnt in order."""
    frozen_after: int | None = None
    """Learns from this many first questions only, and then never again: a frozen memory."""


@dataclass
class Runner:
    """One method, one seed, one journal."""

    method: Method
    seed: int
    mind: Mind
    grade: Grading
    limits: BudgetConfig
    journal: Journal
    protocol: Protocol = field(default_factory=Protocol)
    watch: Watch = lambda _progress: None
    retold: Callable[[str, Done], Done] | None = None
    clock: Callable[[], float] = time.monotonic
    answering_s: float = 0.0
    learning_s: float = 0.0

    async def run(self, tasks: Sequence[Task], past: Past) -> None:
        """All tasks that have no sample yet, in waves. What is in the journal is not asked again, only learnt again.

        Raises:
            EndpointGone: no episode of a wave reached its endpoint; run again to go on.
            TraceUnwritable: the disk is full.
        """
        rows = dict(past.rows)
        size = self.protocol.concurrency
        for start in range(0, len(tasks), size):
            wave = tasks[start : start + size]
            missing = [(start + place, one) for place, one in enumerate(wave) if not sampled(rows.get(one.id))]
            began = self.clock()
            fresh = await self.answer(missing)
            self.answering_s += self.clock() - began
            rows |= {row.task: row for row in fresh}
            if fresh and all(row.error.startswith(OUT) for row in fresh):
                self.tell([rows[one.id] for one in tasks[: start + size]], len(tasks))
                kept = f"{len(rows)} rows are kept: run the same command again to go on"
                raise EndpointGone(f"{self.method.name}: {fresh[0].error}; {kept}")
            began = self.clock()
            await self.learn([(start + place, rows[task.id]) for place, task in enumerate(wave)], past)
            self.learning_s += self.clock() - began
            self.tell([rows[one.id] for one in tasks[: start + size]], len(tasks))

    async def answer(self, wave: Sequence[tuple[int, Task]]) -> list[Row]:
        """The episodes of a wave, each in the journal as soon as it ended."""
        rows: list[Row] = []

        async def one(position: int, task: Task) -> None:
            row = await self.episode(position, task)
            self.journal.write(row)
            rows.append(row)

        await together(partial(one, position, task) for position, task in wave)
        return rows

    async def episode(self, position: int, task: Task) -> Row:
        """Advice, attempt, grade. A part that fails makes a row without a sample."""
        row = Row(
            method=self.method.name,
            seed=self.seed,
            position=position,
            task=task.id,
            dataset=task.dataset,
            kind=task.kind,
            question=task.question.text,
            gold=task.gold,
            status="no_sample",
        )
        try:
            task, spent = await self.mind.seen(task)
            advice = await self.method.advise(task.question)
            attempt = await self.mind.attempt(task, advice, self.limits)
        except MiaError as error:
            return row.model_copy(update={"error": f"{type(error).__name__}: {error}"})
        found = await self.grade(task, attempt)
        return row.model_copy(
            update={
                "status": "sample",
                "error": found.note,
                "grade": found.grade,
                "graded_by": found.by,
                "exact": found.exact,
                "f1": found.f1,
                "evidence": found.evidence,
                "told": found.unsupervised,
                "shown": advice.shown,
                "attempt": attempt,
                "usage": spent + advice.usage + attempt.usage,
                "judging": found.usage,
            }
        )

    async def learn(self, wave: Sequence[tuple[int, Row]], past: Past) -> None:
        """What the rows of a wave teach, applied in their order: read from the journal, or found out now and written
        there before it is used."""
        frozen = self.protocol.frozen_after
        rows = [row for place, row in wave if row.attempt is not None and (frozen is None or place < frozen)]
        lessons = dict(past.lessons)
        if self.method.independent:
            missing = [row for row in rows if row.task not in lessons]
            await together(partial(self.find_out, row, lessons) for row in missing)
        for row in rows:
            await self.find_out(row, lessons)
            if change := lessons[row.task].change:
                self.method.apply(change)

    async def find_out(self, row: Row, lessons: dict[str, Lesson]) -> None:
        """The row's lesson, unless it is known."""
        if row.attempt is not None and row.task not in lessons:
            lesson = await self.lesson(row, row.attempt)
            self.journal.write(lesson)
            lessons[row.task] = lesson

    async def lesson(self, row: Row, attempt: Attempt) -> Lesson:
        """A method that cannot learn from a row says so in the journal, and goes on unchanged."""
        done = Done(
            attempt=attempt,
            outcome=outcome_of(row, self.method.supervised),
            shown=row.shown,
            judged_by="gold" if self.method.supervised else "evidence",
        )
        if self.retold is not None:
            done = self.retold(row.task, done)
        try:
            learnt: Learnt = await self.method.learn(row.task, done, self.mind)
        except MiaError as error:
            return Lesson(task=row.task, change={}, error=f"{type(error).__name__}: {error}")
        return Lesson(task=row.task, change=learnt.change, usage=learnt.usage)

    def tell(self, known: Sequence[Row], total: int) -> None:
        """Progress, for whoever watches."""
        self.watch(
            Progress(
                method=self.method.name,
                seed=self.seed,
                done=len(known),
                total=total,
                right=sum(row.right is True for row in known),
                no_sample=sum(row.status == "no_sample" for row in known),
                answering_s=self.answering_s,
                learning_s=self.learning_s,
            )
        )


def sampled(row: Row | None) -> bool:
    """Was there an answer to grade? Rows without one are asked again when a run is taken up."""
    return row is not None and row.status == "sample"


def outcome_of(row: Row, supervised: bool) -> Outcome | None:
    """What a method is told: the grade, or what the evidence said. Nobody is told anything of an ungraded row."""
    if not supervised:
        return row.told
    if row.right is None:
        return None
    return Outcome.CORRECT if row.right else Outcome.INCORRECT
