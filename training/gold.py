"""Judges and picks that need no model: gold answers, with a stretch of wrong ones to test the guard, and first-plan."""

from collections.abc import Callable, Sequence

from mia_skill.core.types import Outcome, Plan, Question
from mia_skill.core.verdict import Case, Label, MemoryAdvice, Verdict
from retrieval.bank import PairHit

__all__ = ["GoldJudge", "first_plan"]


class GoldJudge:
    """Compares with the gold answer. `lies` says for which questions it says the opposite."""

    def __init__(
        self, right: Callable[[Question, str], bool], lies: Callable[[Question], bool] = lambda _question: False
    ) -> None:
        self._right, self._lies = right, lies

    async def __call__(self, question: Question, case: Case, /) -> Verdict:
        """The verdict; never an abstention."""
        right = self._right(question, case.answer) != self._lies(question)
        label, outcome = (Label.CORRECT, Outcome.CORRECT) if right else (Label.INCORRECT, Outcome.INCORRECT)
        return Verdict(label=label, backend="gold", memory_advice=MemoryAdvice(store="yes", outcome=outcome))


async def first_plan(_question: Question, _plans: Sequence[Plan], _pairs: Sequence[PairHit], /) -> int:
    """The first plan: for a student that puts its best plan first."""
    return 0
