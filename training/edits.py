"""Pairs of a claim and the evidence it is checked against, made without labels: true sentences and their edited twins.

A sentence of a passage is supported by that passage; the same sentence with another number, another name, the two
names changed over, or a negation is not. Questions of the fictional encyclopedia add what no single sentence holds:
an answer that stands in the evidence and does not answer the question (facts/trust.md: supported is not yet right).
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random

from retrieval.world import World, WorldQuestion

__all__ = ["EDITS", "Pair", "edit_pairs", "world_pairs"]

SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")
NUMBER = re.compile(r"(?<![\w.,-])\d[\d,]*(?:\.\d+)?(?![\w-])")
NAME = re.compile(r"\b(?:[A-Z][\w'-]+)(?:\s+(?:of|the|de|van|[A-Z][\w'-]+))*(?<=\w)")
VERB = re.compile(r"\b(is|are|was|were|has|have|had|can|could|will|would|did|does)\b")
OPPOSITES = (
    ("before", "after"), ("first", "last"), ("north", "south"), ("east", "west"), ("more", "less"),
    ("largest", "smallest"), ("oldest", "youngest"), ("longer", "shorter"), ("higher", "lower"), ("won", "lost"),
    ("all", "none"), ("increased", "decreased"), ("early", "late"), ("father", "son"), ("teacher", "pupil"),
)  # fmt: skip
SHORTEST, LONGEST = 30, 300
"""Characters of a sentence that makes a claim."""
FEWEST_WORDS = 4


@dataclass(frozen=True)
class Pair:
    """A claim (or a question with an answer), one piece of evidence, and whether the evidence supports the claim."""

    claim: str
    evidence: str
    supported: bool
    kind: str
    """How the claim was made: `same`, an edit of `EDITS`, or the name of a data set."""
    group: str
    """Pairs of one group (a passage, a question) are never split between training and test."""


def change_number(sentence: str, _passage: str, random: Random) -> str | None:
    """Another number of the same length, so that size alone says nothing."""
    found = list(NUMBER.finditer(sentence))
    if not found:
        return None
    one = random.choice(found)
    digits = [place for place, mark in enumerate(one.group()) if mark.isdigit()]
    place = random.choice(digits)
    old = one.group()[place]
    new = random.choice([mark for mark in ("123456789" if place == 0 else "0123456789") if mark != old])
    return sentence[: one.start() + place] + new + sentence[one.start() + place + 1 :]


def swap_name(sentence: str, passage: str, random: Random) -> str | None:
    """One name gives way to another that stands in the same passage."""
    here = names(sentence)
    others = [one for one in names(passage) if one not in sentence and not any(one in name for name in here)]
    if not here or not others:
        return None
    return sentence.replace(random.choice(here), random.choice(others), 1)


def change_roles(sentence: str, _passage: str, random: Random) -> str | None:
    """Two names of the sentence change places: who did what to whom."""
    here = names(sentence)
    if len(here) < 2:
        return None
    one, two = random.sample(here, 2)
    if one in two or two in one:
        return None
    return sentence.replace(one, "\0", 1).replace(two, one, 1).replace("\0", two, 1)


def negate(sentence: str, _passage: str, _random: Random) -> str | None:
    """A "not" behind the first verb that can carry one, or an existing one taken out."""
    if " not " in sentence:
        return sentence.replace(" not ", " ", 1)
    found = VERB.search(sentence)
    return f"{sentence[: found.end()]} not{sentence[found.end() :]}" if found else None


def turn(sentence: str, _passage: str, random: Random) -> str | None:
    """A word gives way to its opposite."""
    pairs = [*OPPOSITES, *((two, one) for one, two in OPPOSITES)]
    random.shuffle(pairs)
    for old, new in pairs:
        found = re.search(rf"\b{old}\b", sentence)
        if found:
            return sentence[: found.start()] + new + sentence[found.end() :]
    return None


Edit = Callable[[str, str, Random], str | None]
EDITS: dict[str, Edit] = {
    "number": change_number, "name": swap_name, "roles": change_roles, "negation": negate, "opposite": turn,
}  # fmt: skip


def edit_pairs(passages: Iterable[tuple[str, str]], random: Random) -> Iterator[Pair]:
    """For each (id, text): one true sentence, one edited twin of another sentence, one sentence of another passage."""
    before: str | None = None
    for name, text in passages:
        sentences = [one for one in SENTENCE.split(text) if usable(one)]
        if not sentences:
            continue
        chosen = random.choice(sentences)
        yield Pair(chosen, text, True, "same", name)
        kinds = list(EDITS)
        random.shuffle(kinds)
        for kind in kinds:
            base = random.choice(sentences)
            changed = EDITS[kind](base, text, random)
            if changed and changed not in text:
                yield Pair(base, text, True, "same", name)
                yield Pair(changed, text, False, kind, name)
                break
        if before is not None and random.random() < 0.3:
            yield Pair(before, text, False, "elsewhere", name)
        before = chosen


def usable(sentence: str) -> bool:
    return SHORTEST <= len(sentence) <= LONGEST and len(sentence.split()) >= FEWEST_WORDS


def names(text: str) -> list[str]:
    """Names in order of appearance, without a sentence's first word when it stands alone."""
    found = [one.group() for one in NAME.finditer(text) if one.start() > 0 or " " in one.group()]
    return list(dict.fromkeys(found))


def world_pairs(world: World, random: Random) -> Iterator[Pair]:
    """Right answers, answers that stand in the same pages, and right answers with a page of the way left out."""
    pages = {page.id: page for page in world.pages}
    for question in world.questions:
        read = [pages[one] for one in question.gold_ids]
        text = " ".join(f"{page.title}. {page.text}" for page in read)
        group = f"world-{world.seed}-{question.id}"
        yield Pair(asked(question.text, question.answer), text, True, "answer", group)
        wrong = wrong_answer(question, text, random)
        if wrong:
            yield Pair(asked(question.text, wrong), text, False, "other answer", group)
        if len(read) > 1 and question.kind in ("chain", "numeric"):
            kept = " ".join(f"{page.title}. {page.text}" for page in read[:-1])
            if question.answer not in kept:
                yield Pair(asked(question.text, question.answer), kept, False, "page missing", group)


def wrong_answer(question: WorldQuestion, text: str, random: Random) -> str | None:
    """Something of the right form that the same pages hold."""
    if question.kind == "yesno":
        return "no" if question.answer == "yes" else "yes"
    if question.kind == "comparison":
        return next((one for one in question.entities if one != question.answer), None)
    pool = NUMBER.findall(text) if question.kind == "numeric" else names(text)
    right = {question.answer, *question.aliases}
    held = [one for one in pool if one not in right and question.answer not in one and one not in question.text]
    return random.choice(sorted(set(held))) if held else None


def asked(question: str, answer: str) -> str:
    """How a question with its answer stands before the checker."""
    return f"{question} {answer}"
