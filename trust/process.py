"""What a run shows about itself without any model: repeated searches, dead ends, an answer nobody read anywhere.

On real runs these say more than word overlap: half of the wrong answers stand verbatim in an observation (facts/trust,
finding 5). `replan` and the judge read the same signals.
"""

import re
from collections.abc import Iterator, Sequence

from mia_skill.core.types import Step, Text, Value
from mia_skill.core.verdict import Case
from trust.items import Item, collect
from trust.refusal import is_refusal
from trust.words import content, stem, words

__all__ = ["Signal", "signals"]

MANY_STEPS = 8
NAME = re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w'’-]+")


class Signal(Value):
    """One thing that stands out in a run."""

    name: str
    """"repeated_search", "empty_results", "errors", "no_evidence", "no_evidence_for_relation", "gave_up",
    "answer_not_in_evidence", "answer_repeats_question", "long_run"."""
    detail: Text = ""
    severity: str = "medium"
    """"low", "medium" or "high"."""


def signals(question: str, steps: Sequence[Step], answer: str = "") -> tuple[Signal, ...]:
    """What stands out, most severe first. Empty for an ordinary run."""
    items = collect(Case(question=question or "?", steps=tuple(steps))).items
    found = [*_of_steps(steps), *_of_evidence(question, steps, items), *_of_answer(question, items, answer)]
    order = {"high": 0, "medium": 1, "low": 2}
    return tuple(sorted(found, key=lambda one: order[one.severity]))


def _of_steps(steps: Sequence[Step]) -> Iterator[Signal]:
    asked = [frozenset(content(step.query)) or frozenset([step.query.casefold().strip()]) for step in steps]
    repeated = [steps[n].query for n, key in enumerate(asked) if steps[n].query.strip() and key in asked[:n]]
    if repeated:
        severity = "high" if len(repeated) > 1 else "medium"
        yield Signal(name="repeated_search", detail=_listed("searched again", repeated), severity=severity)
    failed = [step for step in steps if step.error is not None]
    if failed:
        severity = "high" if len(failed) == len(steps) else "medium"
        detail = f"{len(failed)} of {len(steps)} tool calls failed: {_short(failed[0].error or '')}"
        yield Signal(name="errors", detail=detail, severity=severity)
    empty = [
        step.query for step in steps if step.error is None and not collect(Case(question="?", steps=(step,))).items
    ]
    if empty:
        severity = "high" if len(empty) == len(steps) else "medium"
        yield Signal(name="empty_results", detail=_listed("nothing came back for", empty), severity=severity)
    if len(steps) >= MANY_STEPS:
        yield Signal(name="long_run", detail=f"{len(steps)} tool calls: long runs are more often wrong", severity="low")


def _of_evidence(question: str, steps: Sequence[Step], items: Sequence[Item]) -> Iterator[Signal]:
    if not items:
        why = "nothing was searched" if not steps else "no tool call brought any text"
        yield Signal(name="no_evidence", detail=why, severity="high")
        return
    read = {word.stem for item in items for word in words(f"{item.title}\n{item.text}")}
    missing = [one for one in content(question) if one not in read]
    named = {stem(name) for name in NAME.findall(question)}
    if lost := [one for one in missing if one in named]:
        detail = _listed("named in the question and found nowhere", lost)
        yield Signal(name="no_evidence_for_relation", detail=detail, severity="high")
    elif missing and len(missing) * 2 >= len(content(question)):
        detail = _listed("asked for and found nowhere", [one.rstrip("~") for one in missing])
        yield Signal(name="no_evidence_for_relation", detail=detail, severity="medium")


def _of_answer(question: str, items: Sequence[Item], answer: str) -> Iterator[Signal]:
    if not answer.strip() or is_refusal(answer):
        detail = "the run ended without an answer" if not answer.strip() else "the answer says that it is none"
        yield Signal(name="gave_up", detail=detail, severity="high")
        return
    core = [one for one in content(answer) if one not in set(content(question))]
    if not core:
        if answer.strip(" .!").casefold() not in ("yes", "no"):
            yield Signal(
                name="answer_repeats_question", detail="the answer adds nothing to the question", severity="low"
            )
        return
    read = {word.stem for item in items for word in words(f"{item.title}\n{item.text}")}
    if lost := [one.rstrip("~") for one in core if one not in read]:
        severity = "high" if len(lost) == len(core) else "medium"
        detail = _listed("in the answer and in no text that was read", lost)
        yield Signal(name="answer_not_in_evidence", detail=detail, severity=severity)


def _listed(what: str, things: Sequence[str]) -> str:
    shown = ", ".join(f'"{_short(one)}"' for one in dict.fromkeys(things[:4]))
    return f"{what}: {shown}" + (f" and {len(things) - 4} more" if len(things) > 4 else "")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."
