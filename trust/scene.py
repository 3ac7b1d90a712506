"""The evidence cut into lines (sentences) with an index: what stands where, and how rare a word is."""

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from trust.items import Item, visible
from trust.lexicon import FAMILIES, STOP
from trust.words import Word, sentences, words

__all__ = ["Line", "Scene", "look"]

MOST_CHARS = 120_000
"""Of all evidence together; beyond it only the sentences that share a word with question or answer are kept."""
MOST_LINES = 1500


@dataclass(frozen=True)
class Line:
    """One sentence of one item, `item.text[start:end]`."""

    item: int
    start: int
    end: int
    words: tuple[Word, ...]
    stems: frozenset[str]
    names: frozenset[str]
    """Stems of its capitalised words."""


@dataclass(frozen=True)
class Scene:
    """All lines of the evidence, in order."""

    items: tuple[Item, ...]
    lines: tuple[Line, ...]
    titles: tuple[frozenset[str], ...]
    """Stems of each item's title."""
    cut: bool = False
    """The evidence was longer than what is read."""
    places: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Stem -> the lines it stands in."""

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every stem that stands anywhere, titles included."""
        return frozenset(self.places).union(*self.titles) if self.titles else frozenset(self.places)

    def rarity(self, stem: str) -> float:
        """How much it says that a line holds `stem`: at least 0.2, the more the fewer lines hold it."""
        return max(0.2, math.log(1 + len(self.lines) / (1 + len(self.places.get(stem, ())))))

    def text(self, line: Line) -> str:
        """The words of a line as they stand."""
        return self.items[line.item].text[line.start : line.end]


def look(items: Sequence[Item], wanted: frozenset[str]) -> Scene:
    """Read the evidence. `wanted` are the stems of question and answer: they decide what is kept of long texts."""
    lines: list[Line] = []
    total = sum(len(item.text) for item in items)
    for number, item in enumerate(items):
        lines += _lines(number, item, wanted if total > MOST_CHARS else None)
    cut = len(lines) > MOST_LINES
    if cut:
        best = sorted(range(len(lines)), key=lambda n: (-len(lines[n].stems & wanted), n))[:MOST_LINES]
        lines = [lines[n] for n in sorted(best)]
    places: defaultdict[str, list[int]] = defaultdict(list)
    for position, line in enumerate(lines):
        for stem in line.stems:
            places[stem].append(position)
    titles = tuple(frozenset(word.stem for word in words(item.title[:500])) - STOP for item in items)
    return Scene(tuple(items), tuple(lines), titles, cut, {stem: tuple(where) for stem, where in places.items()})


def _lines(number: int, item: Item, wanted: frozenset[str] | None) -> list[Line]:
    text = visible(item.text)
    made = []
    likely = _likely(wanted) if wanted is not None else None
    for span in sentences(text):
        sentence = text[span.start : span.end]
        if likely is not None and sentence.isascii() and not likely.search(sentence):
            continue
        found = words(sentence)
        stems = frozenset(word.stem for word in found)
        if not stems or (wanted is not None and not stems & wanted):
            continue
        shifted = tuple(Word(one.stem, one.start + span.start, one.end + span.start, one.capital) for one in found)
        names = frozenset(one.stem for one in found if one.capital and one.stem not in STOP)
        made.append(Line(number, span.start, span.end, shifted, stems, names))
    return made


def _likely(wanted: frozenset[str]) -> re.Pattern[str]:
    """Finds sentences that may hold one of the stems, before they are cut into words: that is what takes the time."""
    stems = {stem for stem in wanted if stem not in STOP and not stem.endswith("~")}
    stems |= {word for word, family in FAMILIES.items() if family in wanted}
    return re.compile(r"\b(?:" + "|".join(sorted(map(re.escape, stems))) + ")" if stems else r"(?!)", re.IGNORECASE)
