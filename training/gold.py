"""Judges and picks that need no model: gold answers, with a stretch of wrong ones to test the guard, and first-plan."""

from collections.abc import Callable, Collection, Sequence

from mia_skill.core.types import Outcome, Plan, Question
from mia_skill.core.verdict import Case, Label, MemoryAdvice, Verdict
from retrieval.bank import PairHit
from trust.canary import Canary

__all__ = ["GoldJudge", "Stretch", "first_plan", "known_cases"]


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


class Stretch:
    """A period in which a judge lies: about the stream's questions in it, and about whatever else it is asked then."""

    def __init__(self, lied: Collection[str], stream: Collection[str]) -> None:
        self._lied, self._stream, self._now = frozenset(lied), frozenset(stream), False

    def reached(self, question: Question) -> None:
        """The stream has come to this question: its answer was written down, and is judged next."""
        self._now = question.text in self._lied

    def __call__(self, question: Question) -> bool:
        """Does it lie about this one?"""
        return question.text in self._lied if question.text in self._stream else self._now


def known_cases(known: Sequence[tuple[Question, str]], right: Callable[[Question, str], bool]) -> tuple[Canary, ...]:
    """Canaries of questions that a stream does not ask: in turn with their own answer and with another's."""
    made = []
    for number, (question, answer) in enumerate(known):
        label = Label.CORRECT
        if number % 2:
            answer = next((other for _, other in known if not right(question, other)), "")
            label = Label.INCORRECT
        made.append(Canary(question.text, Case(question=question.text, answer=answer), frozenset({label})))
    return tuple(made)


async def first_plan(_question: Question, _plans: Sequence[Plan], _pairs: Sequence[PairHit], /) -> int:
    """The first plan: for a student that puts its best plan first."""
    return 0
