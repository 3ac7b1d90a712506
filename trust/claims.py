"""The answer cut into checkable claims, each reduced to what it adds to the question."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from trust.lexicon import STOP
from trust.quantity import Date, Quantity, dates, quantities
from trust.question import Asked
from trust.words import Word, sentences, words

__all__ = ["Statement", "names_in", "statements"]

LEAD = re.compile(
    r"\s*(?:(?:so|therefore|thus|hence),?\s+)?(?:(?:the|my|our)\s+)?(?:(?:final|short|correct)\s+)?(?:answer|result|response)"
    r"(?:\s+to\s+(?:the|this|your)\s+question)?\s*(?:is|was|:|=)\s*:?\s*|\s*(?:a|answer)\s*:\s+",
    re.IGNORECASE,
)
MARKER = re.compile(r"\[(?:\d{1,3}|[\w.:#-]{1,60}|https?://[^\]\s]+)\](?:\([^)\s]*\))?|\(https?://[^)\s]+\)")
HEDGE = re.compile(
    r"\b(?:i think|i believe|probably|perhaps|maybe|possibly|likely|apparently|it seems|presumably)\b,?", re.I
)
BARE = 6
"""Words up to which an answer can be a bare one."""
SAYS = re.compile(r"\b(?:is|are|was|were|has|have|had|did|does|will|can)\b", re.IGNORECASE)
MOST = 40
"""Claims of one answer; a longer answer is read up to there."""
LOWER = frozenset(("of", "the", "de", "la", "van", "von", "al", "and", "for", "del", "di", "da", "du", "le", "y", "&"))


@dataclass(frozen=True)
class Statement:
    """One claim."""

    text: str
    start: int
    end: int
    words: tuple[Word, ...]
    """With places inside the answer."""
    core: tuple[str, ...]
    """Stems that carry meaning and are not in the question."""
    stems: frozenset[str]
    names: tuple[tuple[str, ...], ...]
    """Proper names as stems, those of the question left out."""
    quantities: tuple[Quantity, ...]
    dates: tuple[Date, ...]
    figures: frozenset[str]
    """Stems that belong to numbers, units and dates: compared by value, not as words."""
    short: bool
    """A bare answer rather than a sentence of its own."""

    @property
    def kind(self) -> str:
        """ "date", "number", "entity", "yesno" or "statement": what mainly has to be checked."""
        if self.short:
            return "date" if self.dates else "number" if self.quantities else "entity"
        return "statement"


def statements(answer: str, asked: Asked) -> tuple[Statement, ...]:
    """The claims of `answer`, at most 40. Citation marks and "the answer is" are no part of them."""
    masked = MARKER.sub(lambda match: " " * len(match.group()), HEDGE.sub(lambda m: " " * len(m.group()), answer))
    lead = LEAD.match(masked)
    begin = lead.end() if lead and masked[lead.end() :].strip() else 0
    known = frozenset(asked.terms)
    made = []
    for span in sentences(masked[begin:])[:MOST]:
        start, end = span.start + begin, span.end + begin
        made.append(_statement(masked[start:end], answer[start:end], start, known))
    return tuple(one for one in made if one.words)


def names_in(found: Sequence[Word], text: str, offset: int = 0) -> tuple[tuple[str, ...], ...]:
    """Runs of capitalised words, small linking words inside them allowed; `text[word.start - offset:]` is the word."""
    runs: list[list[Word]] = []
    for place, word in enumerate(found):
        starts = word.capital and (word.stem not in STOP or (bool(runs) and bool(runs[-1]) and place > 0))
        if not starts:
            continue
        gap = text[runs[-1][-1].end - offset : word.start - offset] if runs else "."
        joined = re.fullmatch(r"(?:[\s.'’-]|\b(?:of|the|de|la|van|von|al|and|for|del|di|da|du|le|y|&)\b)*", gap)
        if runs and joined and len(gap) <= 12:
            runs[-1].append(word)
        elif word.stem not in STOP:
            runs.append([word])
    return tuple(tuple(word.stem for word in run if word.stem not in STOP) for run in runs)


def _statement(masked: str, text: str, start: int, known: frozenset[str]) -> Statement:
    found = words(masked)
    core = tuple(dict.fromkeys(one.stem for one in found if one.stem not in STOP and one.stem not in known))
    names = tuple(name for name in names_in(found, masked) if not set(name) <= known)
    shifted = tuple(Word(one.stem, one.start + start, one.end + start, one.capital) for one in found)
    stems = frozenset(one.stem for one in found)
    spans = [(one.start, one.end) for one in quantities(masked)] + [(one.start, one.end) for one in dates(masked)]
    figures = frozenset(one.stem for one in found if any(low <= one.start < high for low, high in spans))
    short = len(found) <= BARE and not (len(found) >= 4 and stems & known) and not SAYS.search(masked)
    return Statement(
        text.strip(),
        start,
        start + len(text),
        shifted,
        core,
        stems,
        names,
        quantities(masked),
        dates(masked),
        figures,
        short,
    )
