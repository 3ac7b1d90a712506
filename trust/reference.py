"""Grading against a known answer: exact match and F1 as in SQuAD, and a strict SimpleQA-style grader with a model."""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from secrets import token_hex

from mia_skill.core.chat import ChatModel, Message
from mia_skill.core.errors import JudgeError, ModelError
from mia_skill.core.prompts import fence, load_prompt
from mia_skill.core.types import Outcome
from mia_skill.core.verdict import Label, MemoryAdvice, Verdict

__all__ = ["Grader", "exact_match", "f1", "normalised", "parse_grade"]

ARTICLES = frozenset(("a", "an", "the"))
GRADES = {"CORRECT": Label.CORRECT, "INCORRECT": Label.INCORRECT, "NOT_ATTEMPTED": Label.NOT_ATTEMPTED}
CJK = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af])")


def normalised(text: str) -> tuple[str, ...]:
    """Its words: lower case, without articles, accents, punctuation and thousands separators; CJK by character."""
    text = unicodedata.normalize("NFKD", text.casefold())
    text = "".join(char for char in text if not unicodedata.combining(char))
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", CJK.sub(r" \1 ", unicodedata.normalize("NFC", text)))
    words = re.findall(r"\d+(?:\.\d+)?|[^\W_]+", text)
    return tuple(word for word in words if word not in ARTICLES) or tuple(words)


def exact_match(answer: str, gold: Sequence[str]) -> bool:
    """Is the answer one of the gold answers, normalised?"""
    given = normalised(answer)
    return bool(given) and any(given == normalised(one) for one in gold)


def f1(answer: str, gold: Sequence[str]) -> float:
    """Best word overlap with one of the gold answers, 0 to 1."""
    given = Counter(normalised(answer))
    best = 0.0
    for one in gold:
        wanted = Counter(normalised(one))
        common = sum((given & wanted).values())
        if common:
            best = max(best, 2 * common / (sum(given.values()) + sum(wanted.values())))
    return best


def parse_grade(text: str) -> Label:
    """The one word of the grader; white space around it is allowed, and nothing else.

    Raises:
        JudgeError: anything else. Never means "wrong".
    """
    grade = GRADES.get(text.strip(" \t\r\n"))
    if grade is None:
        raise JudgeError(f"expected CORRECT, INCORRECT or NOT_ATTEMPTED, got {text[:60]!r}", raw=text)
    return grade


@dataclass(frozen=True)
class Grader:
    """Grades with a model when words alone do not show that the answer is right."""

    model: ChatModel

    async def grade(self, question: str, answer: str, gold: Sequence[str]) -> Verdict:
        """The verdict against `gold`. An exact match needs no call; an empty answer is not attempted.

        Raises:
            JudgeError: the model failed or did not answer with a grade. Never means "wrong".
        """
        if exact_match(answer, gold):
            return _verdict(Label.CORRECT, "the same words as the reference")
        if not normalised(answer):
            return _verdict(Label.NOT_ATTEMPTED, "there is no answer")
        prompt = load_prompt("reference_grader")
        mark = token_hex(6)
        text = prompt.render(
            question=fence("question", question, mark=mark),
            reference=fence("reference", "\n".join(gold), mark=mark),
            answer=fence("answer", answer, mark=mark),
        )
        try:
            (reply,) = await self.model.complete([Message(role="user", content=text)], temperature=0.0)
        except ModelError as cause:
            raise JudgeError(f"the grader is out: {cause}", raw="") from cause
        verdict = _verdict(parse_grade(reply.text), "graded against the reference")
        return verdict.model_copy(update={"usage": reply.usage, "prompt_digests": {prompt.name: prompt.digest}})


def _verdict(label: Label, why: str) -> Verdict:
    outcome = {Label.CORRECT: Outcome.CORRECT, Label.INCORRECT: Outcome.INCORRECT}.get(label)
    store = "yes" if outcome else "no"
    p = {Label.CORRECT: 1.0, Label.INCORRECT: 0.0}.get(label)
    advice = MemoryAdvice(store=store, outcome=outcome, trust=1.0 if outcome else 0.0)
    return Verdict(label=label, p_correct=p, reasons=(why,), memory_advice=advice, backend="gold")
