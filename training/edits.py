"""Pairs of a claim and the evidence it is checked against, made without labels: true sentences and their edited twins.

A sentence of a passage is supported by that passage; the same sentence with another number, date or name, the two
names changed over, or a negation is not, nor is any sentence once it was taken out. True and edited sentences are
loosened alike (parentheses and side clauses dropped, "he" made the name), so that standing there word for word tells
nothing; a sentence with a gap is a question. Worlds (training.edits_world) add what no single sentence holds.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from random import Random

__all__ = ["EDITS", "NUMBER", "SENTENCE", "Pair", "asked", "edit_pairs", "names", "usable"]

SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'])")
NUMBER = re.compile(r"(?<![\w.,-])\d[\d,]*(?:\.\d+)?(?![\w-])")
NAME = re.compile(r"\b(?:[A-Z][\w'-]+)(?:\s+(?:of|the|de|van|[A-Z][\w'-]+))*(?<=\w)")
VERB = re.compile(r"\b(is|are|was|were|has|have|had|can|could|will|would|did|does)\b")
OPPOSITES = (
    ("before", "after"), ("first", "last"), ("north", "south"), ("east", "west"), ("more", "less"),
    ("largest", "smallest"), ("oldest", "youngest"), ("longer", "shorter"), ("higher", "lower"), ("won", "lost"),
    ("all", "none"), ("increased", "decreased"), ("early", "late"), ("father", "son"), ("teacher", "pupil"),
)  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "June", "July", "August", "September", "October", "November", "December",
)  # fmt: skip
MONTH = re.compile(r"\b(?:" + "|".join(MONTHS) + r")\b")
YEAR = re.compile(r"\b(?:1[5-9]|20)\d\d\b")
ASIDE = re.compile(r"\s*\([^()]{1,120}\)")
SIDE_CLAUSE = re.compile(
    r",\s+(?:which|who|whose|where|including|such as|and|but|although|while)\s[^,;.]{8,}(?=[.!?]?$)"
)
PRONOUN = re.compile(r"^(?:He|She|It|They)(?= (?:is|was|were|are|has|had|have|[a-z]+ed)\b)")
LOOSE = 0.6
"""Share of the claims that are loosened."""
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


def change_date(sentence: str, _passage: str, random: Random) -> str | None:
    """Another month, or a year some years away."""
    if found := list(MONTH.finditer(sentence)):
        one = random.choice(found)
        new = random.choice([name for name in MONTHS if name != one.group()])
    elif found := list(YEAR.finditer(sentence)):
        one = random.choice(found)
        new = str(int(one.group()) + random.choice((-1, 1)) * random.randint(1, 12))
    else:
        return None
    return sentence[: one.start()] + new + sentence[one.end() :]


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
    "number": change_number, "date": change_date, "name": swap_name, "roles": change_roles, "negation": negate,
    "opposite": turn,
}  # fmt: skip


def edit_pairs(passages: Iterable[tuple[str, str]], random: Random) -> Iterator[Pair]:
    """For each (id, text), with its title as the first of `text`'s lines where it has one: a true sentence and the
    edited twin of one, a sentence taken out or of another passage, and a question with a right and a wrong answer."""
    before: str | None = None
    for name, text in passages:
        title, _, body = text.rpartition("\n")
        sentences = [one for one in SENTENCE.split(body) if usable(one)]
        if not sentences:
            continue
        yield from twins(name, title, body, sentences, random)
        yield from gaps(name, body, random.choice(sentences), random)
        lost = random.choice(sentences)
        rest = body.replace(lost, " ")
        if random.random() < 0.3 and len(rest) > LONGEST:
            yield Pair(loosened(lost, title, random), rest, False, "taken out", name)
        if before is not None and random.random() < 0.2:
            yield Pair(before, body, False, "elsewhere", name)
        before = loosened(random.choice(sentences), title, random)


def twins(name: str, title: str, body: str, sentences: list[str], random: Random) -> Iterator[Pair]:
    """A true sentence, and another one with its edited twin."""
    yield Pair(loosened(random.choice(sentences), title, random), body, True, "same", name)
    kinds = list(EDITS)
    random.shuffle(kinds)
    for kind in kinds:
        base = random.choice(sentences)
        changed = EDITS[kind](base, body, random)
        if changed and changed not in body:
            state = random.getstate()
            yield Pair(loosened(base, title, random), body, True, "same", name)
            random.setstate(state)  # both are loosened in the same way: only the edit tells them apart
            claim = loosened(changed, title, random)
            if claim not in body:
                yield Pair(claim, body, False, kind, name)
            return


def gaps(name: str, body: str, sentence: str, random: Random) -> Iterator[Pair]:
    """A sentence with a gap, what stood there, and something else of the passage."""
    numbers = [one.group() for one in NUMBER.finditer(sentence)]
    held = numbers if numbers and random.random() < 0.4 else names(sentence)
    if not held:
        return
    right = random.choice(held)
    pool = [one.group() for one in NUMBER.finditer(body)] if held is numbers else names(body)
    others = sorted({one for one in pool if one not in sentence and right not in one})
    if not others:
        return
    question = sentence.replace(right, "which number" if held is numbers else "who or what", 1).rstrip(".!") + "?"
    yield Pair(asked(question, right), body, True, "gap", name)
    yield Pair(asked(question, random.choice(others)), body, False, "gap", name)


def loosened(sentence: str, title: str, random: Random) -> str:
    """The sentence as somebody else would repeat it; mostly shorter, never saying more."""
    if random.random() > LOOSE:
        return sentence
    sentence = ASIDE.sub("", sentence)
    if title and random.random() < 0.7:
        sentence = PRONOUN.sub(title, sentence)
    if random.random() < 0.5:
        sentence = SIDE_CLAUSE.sub("", sentence)
    return sentence


def usable(sentence: str) -> bool:
    return SHORTEST <= len(sentence) <= LONGEST and len(sentence.split()) >= FEWEST_WORDS


def names(text: str) -> list[str]:
    """Names in order of appearance, without a sentence's first word when it stands alone."""
    found = [one.group() for one in NAME.finditer(text) if one.start() > 0 or " " in one.group()]
    return list(dict.fromkeys(found))


def asked(question: str, answer: str) -> str:
    """How a question with its answer stands before the checker."""
    return f"{question} {answer}"
