"""Grades of answers: against the gold, by the reference grader where a judge model is set; and without gold."""

from collections.abc import Sequence
from dataclasses import dataclass

import anyio.to_thread

from mia_skill.core.errors import InputError, JudgeError
from mia_skill.core.types import Outcome, Usage, Value
from mia_skill.core.verdict import Case, Label, Verdict
from mia_skill.evaluation.advice import Attempt
from mia_skill.evaluation.task import Task
from mia_skill.evaluation.trace import Grade
from trust.evidence import examine
from trust.panel import Panel
from trust.reference import Grader, exact_match, f1, normalised

__all__ = ["Graded", "Graders", "validate"]


class Graded(Value):
    """All that is said about one answer."""

    grade: Grade
    by: str
    exact: bool
    f1: float
    evidence: str
    unsupervised: Outcome | None
    """What a method without gold is told."""
    usage: Usage = Usage()
    note: str = ""


@dataclass(frozen=True)
class Graders:
    """`reference` needs a judge model; without it exact match grades. `panel` judges without gold where it is set."""

    reference: Grader | None = None
    panel: Panel | None = None

    async def __call__(self, task: Task, attempt: Attempt) -> Graded:
        """A grader that is out leaves the answer ungraded: that is no wrong answer."""
        answer = attempt.trajectory.answer
        case = Case(question=task.question.text, answer=answer, steps=attempt.trajectory.steps)
        examined = await anyio.to_thread.run_sync(examine, case)
        usage, note, by = Usage(), "", "exact match"
        grade: Grade
        if self.reference is None:
            grade = by_words(answer, task.gold)
        else:
            by = f"reference grader ({self.reference.model.name})"
            try:
                verdict = await self.reference.grade(task.question.text, answer, task.gold)
                grade, usage = graded(verdict), verdict.usage
            except JudgeError as error:
                grade, note = "ungraded", str(error)
        told = examined
        if self.panel is not None and answer:
            try:
                told = await self.panel.judge(case)
                usage = usage + told.usage
            except JudgeError as error:
                note = note or str(error)
        return Graded(
            grade=grade,
            by=by,
            exact=exact_match(answer, task.gold),
            f1=f1(answer, task.gold),
            evidence=str(told.label),
            unsupervised=told.remembered,
            usage=usage,
            note=note,
        )


def by_words(answer: str, gold: Sequence[str]) -> Grade:
    """Exact match; "unknown" and nothing at all are not attempted."""
    if exact_match(answer, gold):
        return "correct"
    if not normalised(answer) or normalised(answer) == ("unknown",):
        return "not_attempted"
    return "incorrect"


def graded(verdict: Verdict) -> Grade:
    """The reference grader's label."""
    labels: dict[Label, Grade] = {
        Label.CORRECT: "correct",
        Label.INCORRECT: "incorrect",
        Label.NOT_ATTEMPTED: "not_attempted",
    }
    return labels.get(verdict.label, "ungraded")


async def validate(tasks: Sequence[Task], graders: Graders) -> None:
    """Every grader must accept every gold answer before a run counts.

    Raises:
        InputError: one does not; the tasks are named.
        JudgeError: the grader is out.
    """
    refused = []
    for task in tasks:
        for gold in task.gold:
            fine = (
                exact_match(gold, task.gold) and f1(gold, task.gold) == 1.0 and by_words(gold, task.gold) == "correct"
            )
            if fine and graders.reference is not None:
                verdict = await graders.reference.grade(task.question.text, gold, task.gold)
                fine = verdict.label is Label.CORRECT
            if not fine:
                refused.append(f"{task.id} ({gold[:40]!r})")
    if refused:
        raise InputError(
            f"{len(refused)} gold answers are not accepted by the grader: {', '.join(refused[:5])}; leave these rows "
            "out, for no answer to them could be right"
        )
