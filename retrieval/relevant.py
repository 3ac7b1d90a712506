"""The pieces of a long page that matter for a question: exact slices with their offsets. Pure functions of text."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Span", "blocks", "relevant"]

WORD = re.compile(r"[^\W_]+")
WIDE = re.compile(r"[぀-ヿ㐀-鿿가-힯]")
"""Scripts without spaces: every character is a word."""
LONGEST = 900
"""Characters of a block: a few sentences."""
BREAKS = (
    re.compile(r"\n\s*\n"),
    re.compile(r"\n"),
    re.compile(r"(?<=[.!?。！？])\s+|(?<=[。！？])"),
    re.compile(r"\s+"),
)


class Span(NamedTuple):
    """A slice `text[start:end]`."""

    start: int
    end: int


def blocks(text: str, longest: int = LONGEST) -> list[Span]:
    """The whole text as slices of at most `longest` characters, cut at paragraphs, lines, sentences or words."""
    found, start = [], 0
    while start < len(text):
        end = min(start + longest, len(text))
        if end < len(text):
            end = _break(text, start, end)
        found.append(Span(start, end))
        start = end
    return found


def _break(text: str, start: int, end: int) -> int:
    """The best place to cut before `end`: the last break of the strongest kind in the second half."""
    for kind in BREAKS:
        cuts = [found.end() for found in kind.finditer(text, start + (end - start) // 2, end)]
        if cuts:
            return cuts[-1]
    return end


def relevant(text: str, question: str, room: int) -> list[Span]:
    """The slices of `text` that share the rarest words with `question`, at most `room` characters, in their order.

    BM25 over the blocks of this one page; its opening comes along when there is room, for it says what the page is.
    Empty when no block shares a word.
    """
    parts = blocks(text)
    scores = _scores([words(text[one.start : one.end]) for one in parts], set(words(question)))
    ranked = sorted((place for place, score in enumerate(scores) if score > 0), key=lambda place: -scores[place])
    if not ranked:
        return []
    chosen, used = set(), 0
    for place in [ranked[0], 0, *ranked[1:]]:
        size = parts[place].end - parts[place].start
        if place not in chosen and used + size <= room:
            chosen.add(place)
            used += size
    return _joined([parts[place] for place in sorted(chosen)])


def words(text: str) -> list[str]:
    """Words, case-folded; single characters in scripts without spaces."""
    found = []
    for word in WORD.findall(text.casefold()):
        found += WIDE.findall(word) if WIDE.search(word) else [word]
    return found


def _scores(parts: Sequence[Sequence[str]], asked: set[str], k1: float = 1.2, b: float = 0.75) -> list[float]:
    mean = sum(map(len, parts)) / max(1, len(parts)) or 1.0
    counts = [Counter(word for word in part if word in asked) for part in parts]
    spread = Counter(word for count in counts for word in count)
    rarity = {word: math.log(1 + (len(parts) - n + 0.5) / (n + 0.5)) for word, n in spread.items()}
    return [
        sum(rarity[word] * n * (k1 + 1) / (n + k1 * (1 - b + b * len(part) / mean)) for word, n in count.items())
        for part, count in zip(parts, counts, strict=True)
    ]


def _joined(spans: Sequence[Span]) -> list[Span]:
    """Neighbours made one."""
    made: list[Span] = []
    for one in spans:
        if made and made[-1].end == one.start:
            made[-1] = Span(made[-1].start, one.end)
        else:
            made.append(one)
    return made
