"""Compress a run into a workflow without any model: keep the steps that led to the answer, leave out every fact.

Spec section 1 (Memory Manager): numbered steps of the form "purpose (input -> output)". The steps that mattered are
found backwards from the answer: the one whose text held it, then the ones whose text held the names it needed.
"""

import re
from collections.abc import Sequence

from mia_skill.core.types import Step, Trajectory

__all__ = ["compress", "slice_back", "workflow_text"]

NAME = re.compile(
    r"(?<![\w])(?:[A-Z][\w'’.-]*|\d[\d.,:/-]*)"
    r"(?:(?:\s+(?:of|the|de|van|von|al)\b)?\s+(?:[A-Z][\w'’.-]*|\d[\d.,]*))*"
)
WORD = re.compile(r"\w+")
QUESTION_WORDS = frozenset(
    (
        "what which who whom whose when where why how in on at of the a an is are was were did does do has have had to "
        "for by from and or than more most"
    ).split()
)
UNKNOWN = frozenset({"", "unknown", "none", "n/a", "i don't know"})


def compress(question: str, run: Trajectory) -> tuple[str, ...]:
    """The workflow of `run`: entity-free steps. Empty when the run holds no step that brought anything."""
    kept = slice_back(question, run)
    lines = []
    known = dict.fromkeys(names(question))
    found: dict[str, str] = {}
    for number, step in enumerate(kept, 1):
        purpose, used = mask(step.query, known, found)
        last = number == len(kept)
        outcome = "the answer" if last and run.answer.casefold() not in UNKNOWN else f"[found {number}]"
        lines.append(f"look up {purpose} ({used} -> {outcome})")
        fresh = {name: f"[found {number}]" for later in kept[number:] for name in names(later.query)}
        body = said(step)
        found |= {name: label for name, label in fresh.items() if name not in found and has(body, name)}
    return tuple(dict.fromkeys(lines))


def workflow_text(steps: Sequence[str]) -> str:
    """The steps, numbered."""
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def slice_back(question: str, run: Trajectory) -> tuple[Step, ...]:
    """The steps that the answer depends on, in order; all that brought something when the answer is in none."""
    useful = distinct([step for step in run.steps if step.error is None and said(step)])
    wanted = [run.answer] if run.answer.casefold().strip() not in UNKNOWN else []
    asked = set(names(question))
    kept: list[int] = []
    limit = len(useful)
    while wanted:
        target = wanted.pop()
        position = next((i for i in range(limit) if has(said(useful[i]), target)), None)
        if position is None or position in kept:
            continue
        kept.append(position)
        wanted += [name for name in names(useful[position].query) if name not in asked and not has(question, name)]
    return tuple(useful[position] for position in sorted(kept)) or tuple(useful)


def distinct(steps: Sequence[Step]) -> list[Step]:
    """Without repeated queries; the first of each is kept."""
    first: dict[str, Step] = {}
    for step in steps:
        first.setdefault(" ".join(sorted(WORD.findall(step.query.casefold()))), step)
    return list(first.values())


def names(text: str) -> list[str]:
    """Capitalised names and numbers in `text`, without the capital of a sentence's question word."""
    found = []
    for match in NAME.finditer(text):
        words = match.group().strip(" .,;:?!'’").split()
        while words and words[0].casefold() in QUESTION_WORDS:
            words = words[1:]
        if words:
            found.append(" ".join(words))
    return found


def mask(query: str, known: dict[str, None], found: dict[str, str]) -> tuple[str, str]:
    """The query with its names replaced by roles, and the list of roles used."""
    used: list[str] = []
    text = query
    for name in sorted(names(query), key=len, reverse=True):
        label = found.get(name) or next((found[one] for one in found if has(one, name) or has(name, one)), None)
        if label is None:
            label = f"[name {list(known).index(name) + 1}]" if name in known else "[name in the question]"
        text = text.replace(name, label)
        used.append(label)
    body = " ".join(text.split()) or "the question"
    return body, ", ".join(dict.fromkeys(used)) or "the question"


def said(step: Step) -> str:
    """Everything a step brought."""
    return "\n".join([*(f"{passage.title}: {passage.text}" for passage in step.passages), step.observation]).strip()


def has(text: str, part: str) -> bool:
    """Does `part` stand in `text` as whole words, whatever the case?"""
    words = WORD.findall(part.casefold())
    if not words:
        return False
    return re.search(r"(?<!\w)" + r"\W+".join(map(re.escape, words)) + r"(?!\w)", text.casefold()) is not None
