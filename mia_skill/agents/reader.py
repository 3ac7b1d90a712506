"""How the agent without a model reads: plain heuristics. It knows some English and nothing about the world."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from mia_skill.agents.workflow import OPENERS, names, sentences, stands_in
from mia_skill.core.types import Passage

__all__ = ["Link", "Reading", "asked_kind", "best_reading", "by_wording", "comparison", "cues", "links"]
__all__ += ["one_chain", "question_items", "same_name", "same_shape"]

WORD = re.compile(r"[a-z]+")
YEAR = re.compile(r"\b(1\d{3}|20\d{2})\b")
NUMBER = re.compile(r"\b\d[\d.,]*\d|\b\d\b")
LABEL = re.compile(r"\[[^\]]*\]")
LABEL_PARTS = re.compile(r"(\[[^\]]*\])")

SYNONYMS = (
    "founder founded found set established started created launched",
    "born birth birthplace native cradle raised older came world",
    "author wrote written writer penned composed",
    "capital seat government",
    "country nation state realm land",
    "city town",
    "mayor head leads led governs office",
    "headquarters headquartered based office offices seat",
    "located lies situated stands sits home",
    "river flows runs waterway passes",
    "long length stretches measures longer kilometres source",
    "studied graduated trained student educated attended alumnus",
    "successor succeeded followed replaced",
    "people population inhabitants residents populous larger",
    "founded established began earlier older set up charter",
    "designed built builder made maker architect",
    "published appeared released",
    "mentor teacher pupil taught teaches trained",
    "builder built shipyard yard slipway",
    "publisher published edition printed press",
    "captain commanded command commander",
    "director run directed leads head",
    "coach trainer trains coached",
    "discoverer discovered identified described",
    "language spoken speak tongue",
    "ruler rules reigns state head",
)
"""Everyday English: any two words of a line may stand for each other."""


@dataclass(frozen=True)
class Reading:
    """A candidate, and the sentence it stands in."""

    value: str
    sentence: str
    score: float


def stem(word: str) -> str:
    """A crude stem: enough to let "flows" meet "flow"."""
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


EMPTY = frozenset("person place one most many much do also same s".split())
"""Words of a question that tell nothing about what to look for."""

GROUPS = tuple(frozenset(stem(word) for word in line.split()) for line in SYNONYMS)


def stems(text: str) -> set[str]:
    """Stems of the words that carry meaning, names and labels left out."""
    plain = LABEL.sub(" ", text)
    for name in names(plain):
        plain = plain.replace(name, " ")
    return {stem(word) for word in WORD.findall(plain.casefold()) if word not in OPENERS and len(word) > 1}


def cues(text: str) -> set[str]:
    """What to look for: the stems of `text` and their everyday synonyms."""
    own = stems(text)
    return own.union(*(group for group in GROUPS if group & own))


def asked_kind(question: str) -> str:
    """What kind of thing a question asks for: "year", "number", "yesno" or "name"."""
    first = " ".join(question.casefold().split()[:3])
    if re.search(r"\bwhen\b|\b(what|which) year\b", question.casefold()):
        return "year"
    if re.match(r"how (many|long|large|tall|old|much|far|deep|high|populous)\b", first):
        return "number"
    if re.match(r"(is|are|was|were|do|does|did|has|have)\b", first):
        return "yesno"
    return "name"


def candidates(sentence: str, kind: str) -> list[str]:
    """The values of that kind in a sentence."""
    if kind == "year":
        return YEAR.findall(sentence)
    if kind == "number":
        return NUMBER.findall(sentence)
    if kind == "any":
        return [*NUMBER.findall(sentence), *candidates(sentence, "name")]
    return [name for name in names(sentence) if not name[0].isdigit()]


def best_reading(
    passages: Sequence[Passage], subject: str, wanted: set[str], kind: str, without: Iterable[str]
) -> Reading | None:
    """The best candidate of `kind` about `subject`, in a sentence that shares words with `wanted`."""
    taken = [subject, *without]
    best: Reading | None = None
    for passage in passages:
        own_page = same_name(passage.title, subject)
        for sentence in sentences(passage.text):
            overlap = len(stems(sentence) & wanted)
            if not overlap or not (own_page or stands_in(sentence, subject)):
                continue
            for value in candidates(sentence, kind):
                if any(stands_in(one, value) or stands_in(value, one) for one in taken if one):
                    continue
                score = overlap + 1.5 * own_page
                if best is None or score > best.score:
                    best = Reading(value, sentence, score)
    return best


def by_wording(passages: Sequence[Passage], wording: str, known: dict[str, str], target: str) -> Reading | None:
    """The value that stands where a remembered wording has the label `target`, as in "set up in [...] by [found 1]".

    `known` gives the names behind the other labels; a label without one stands for anything.
    """
    pattern = pattern_of(wording, known, target)
    if pattern is None:
        return None
    for passage in passages:
        for sentence in sentences(passage.text):
            match = pattern.search(sentence)
            found = [*names(match["value"]), *NUMBER.findall(match["value"])] if match else []
            if found:
                return Reading(found[0], sentence, 10.0)
    return None


def pattern_of(wording: str, known: dict[str, str], target: str) -> re.Pattern[str] | None:
    """A remembered wording as a pattern with one group, "value"; None when it has no such label."""
    parts = []
    for piece in LABEL_PARTS.split(wording):
        if piece == target:
            parts.append("(?P<value>.{1,80}?)" if "(?P<value>.{1,80}?)" not in parts else "(?P=value)")
        elif LABEL.fullmatch(piece):
            parts.append(re.escape(known[piece]) if piece in known else ".{1,80}?")
        else:
            parts.append(re.escape(piece))
    if "(?P<value>.{1,80}?)" not in parts:
        return None
    return re.compile("".join(parts) + r"(?!\w)", flags=re.IGNORECASE)


@dataclass(frozen=True)
class Link:
    """A sentence about a subject that holds a candidate, and which of the question's words it covers."""

    value: str
    sentence: str
    covered: frozenset[str]
    own_page: bool
    """It stands on the page that bears the subject's name."""
    literal: int
    """How many of the question's words stand there themselves, not only a synonym."""


def links(passages: Sequence[Passage], subject: str, items: dict[str, set[str]], kind: str) -> list[Link]:
    """Everything the passages say about `subject` that touches the question. `items` maps each of the question's
    words to the stems that mean the same."""
    found = []
    for passage in passages:
        own_page = same_name(passage.title, subject)
        for sentence in sentences(passage.text):
            if not (own_page or stands_in(sentence, subject)):
                continue
            said = stems(sentence)
            covered = frozenset(word for word, alike in items.items() if alike & said)
            literal = sum(stem(word) in said for word in covered)
            for value in candidates(sentence, kind) if covered else ():
                if not (stands_in(subject, value) or stands_in(value, subject)):
                    found.append(Link(value, sentence, covered, own_page, literal))
    return found


def same_name(title: str, subject: str) -> bool:
    """Is this page about exactly that subject?"""
    return bool(subject) and stands_in(title, subject) and len(title.split()) <= len(subject.split()) + 1


def question_items(question: str) -> dict[str, set[str]]:
    """The question's words that carry meaning, each with the stems that mean the same."""
    plain = question
    for name in sorted(names(question), key=len, reverse=True):
        plain = plain.replace(name, " ")
    words = [word for word in WORD.findall(plain.casefold()) if word not in OPENERS and word not in EMPTY]
    return {word: cues(word) for word in words if cues(word)}


def comparison(question: str) -> tuple[str, str, bool] | None:
    """The two names of an either-or question, and whether the smaller value wins."""
    options = names(question)
    if re.search(r"\bor\b", question) is None or len(options) < 2:
        return None
    smaller = re.search(r"\b(earlier|older|first|shorter|smaller|fewer|less|before)\b", question.casefold())
    return options[-2], options[-1], smaller is not None


def one_chain(question: str) -> bool:
    """Is the answer found at the end of one way? A procedure is one chain: it neither compares two things nor says yes
    or no."""
    return comparison(question) is None and asked_kind(question) != "yesno"


def same_shape(question: str, remembered: str) -> bool:
    """Do both questions ask for the same things in the same kind of words, names aside? A workflow is followed only
    then: the most similar memory can still be about another question."""
    one, other = question_items(question), question_items(remembered)
    return asked_kind(question) == asked_kind(remembered) and matched(one, other) and matched(other, one)


def matched(one: Mapping[str, set[str]], other: Mapping[str, set[str]]) -> bool:
    """Has every word of `one` a like word in `other`?"""
    return all(any(alike & theirs for theirs in other.values()) for alike in one.values())
