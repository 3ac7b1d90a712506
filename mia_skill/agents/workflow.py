"""Compress a run into a workflow without any model: keep the steps that led to the answer, leave out every fact.

Spec section 1 (Memory Manager): numbered steps of the form "purpose (input -> output)". The steps that mattered are
found backwards from the answer: the one whose text held it, then the ones whose text held the names it needed. The
wording that carried each link is kept with its names masked, for it is what the next run has to look for.
"""

import re
from collections.abc import Sequence

from mia_skill.core.types import Step, Trajectory

__all__ = ["compress", "names", "sentences", "slice_back", "stands_in", "workflow_text"]

NAME = re.compile(
    r"(?<!\w)(?:[A-Z][\w'’-]*|\d[\d.,:/-]*)"
    r"(?:\s+(?:(?:of|the|de|van|von|al)\s+)?(?:[A-Z][\w'’-]*|\d[\d.,]*))*"
)
WORD = re.compile(r"\w+")
SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“(])|\n+")
OPENERS = frozenset(
    (
        "what which who whom whose when where why how in on at of the a an is are was were did does do has have had to "
        "for by from and or than more most it its he she they this that there these his her their as after before if "
        "name tell give find state between about for"
    ).split()
)
UNKNOWN = frozenset({"", "unknown", "none", "n/a", "i don't know"})
LINK_CHARS = 160


def compress(question: str, run: Trajectory) -> tuple[str, ...]:
    """The workflow of `run`: steps free of its names and numbers. Empty when no step brought anything."""
    kept = slice_back(question, run)
    labels = {name: f"[name {number}]" for number, name in enumerate(dict.fromkeys(names(question)), 1)}
    lines: list[str] = []
    for number, step in enumerate(kept, 1):
        last = number == len(kept)
        target = run.answer if last else next_name(step, kept[number:], labels)
        result = "the answer" if last and known(run.answer) else f"[found {number}]"
        masked = dict(labels)
        if target and target not in masked:
            masked[target] = f"[{result.strip('[]')}]"
        purpose = mask(step.query, labels)
        thoughts = " ".join(one.thought for one in run.steps)
        link = mask(link_sentence(step, target, labels, thoughts), masked) if target else ""
        inputs = ", ".join(dict.fromkeys(re.findall(r"\[(?:name|found) \d+\]", purpose))) or "the question"
        where = f'; look for wording like "{link}"' if link else ""
        lines.append(f"search {purpose}{where} ({inputs} -> {result})")
        labels |= {target: result} if target and target not in labels else {}
    return tuple(dict.fromkeys(lines))


def workflow_text(steps: Sequence[str]) -> str:
    """The steps, numbered."""
    return "\n".join(f"{number}. {step}" for number, step in enumerate(steps, 1))


def slice_back(question: str, run: Trajectory) -> tuple[Step, ...]:
    """The steps that the answer depends on, in order. All that brought something when the answer is in none of them,
    or was chosen rather than found: one of the question's own names, yes or no."""
    useful = distinct([step for step in run.steps if step.error is None and said(step)])
    found = known(run.answer) and not stands_in(question, run.answer) and run.answer.casefold() not in ("yes", "no")
    wanted = [run.answer] if found else []
    kept: set[int] = set()
    while wanted:
        target = wanted.pop()
        position = next((i for i, step in enumerate(useful) if stands_in(said(step), target)), None)
        if position is None or position in kept:
            continue
        kept.add(position)
        wanted += [name for name in names(useful[position].query) if not stands_in(question, name)]
    return tuple(useful[position] for position in sorted(kept)) or tuple(useful)


def distinct(steps: Sequence[Step]) -> list[Step]:
    """Without repeated queries; the first of each is kept."""
    first: dict[str, Step] = {}
    for step in steps:
        first.setdefault(" ".join(sorted(WORD.findall(step.query.casefold()))), step)
    return list(first.values())


def names(text: str) -> list[str]:
    """Capitalised names and numbers in `text`, without the capital of a sentence's first small word."""
    found = []
    for match in NAME.finditer(text):
        words = match.group().strip(" .,;:?!'’").split()
        while words and words[0].casefold() in OPENERS:
            words = words[1:]
        if words:
            found.append(re.sub(r"['’]s?$", "", " ".join(words)))
    return found


def next_name(step: Step, later: Sequence[Step], labels: dict[str, str]) -> str:
    """The name that a later query took from this step; empty when none did."""
    body = said(step)
    fresh = (name for one in later for name in names(one.query) if name not in labels)
    return next((name for name in fresh if stands_in(body, name)), "")


def link_sentence(step: Step, target: str, labels: dict[str, str], thoughts: str) -> str:
    """The sentence of this step that leads to `target`: one the agent itself pointed at in a thought, else the one
    with most of the names known so far."""
    holding = [one for one in sentences(said(step)) if stands_in(one, target)]
    return max(holding, key=lambda one: (one in thoughts, sum(stands_in(one, name) for name in labels)), default="")


def sentences(text: str) -> list[str]:
    """The sentences of `text`, roughly."""
    return [one.strip() for one in SENTENCE.split(text) if one.strip()]


def mask(text: str, labels: dict[str, str]) -> str:
    """`text` with known names replaced by their labels, and every other name or number by `[...]`."""
    if not text:
        return ""
    for name in sorted(labels, key=len, reverse=True):
        text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", labels[name], text, flags=re.IGNORECASE)
    parts = re.split(r"(\[[^\]]*\])", text)
    for position in range(0, len(parts), 2):
        for name in sorted(names(parts[position]), key=len, reverse=True):
            parts[position] = parts[position].replace(name, "[...]")
    return " ".join("".join(parts).split())[:LINK_CHARS]


def said(step: Step) -> str:
    """Everything a step brought."""
    return "\n".join([*(f"{passage.title}\n{passage.text}" for passage in step.passages), step.observation]).strip()


def known(answer: str) -> bool:
    """Is this an answer at all?"""
    return answer.casefold().strip(" .") not in UNKNOWN


def stands_in(text: str, part: str) -> bool:
    """Does `part` stand in `text` as whole words, whatever the case?"""
    words = WORD.findall(part.casefold())
    if not words:
        return False
    return re.search(r"(?<!\w)" + r"\W+".join(map(re.escape, words)) + r"(?!\w)", text.casefold()) is not None
