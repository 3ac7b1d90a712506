"""Words and sentences of a text with their places, for languages with and without spaces."""

import re
import unicodedata
from functools import lru_cache
from typing import NamedTuple

from trust.lexicon import FAMILIES, STOP

__all__ = ["Span", "Word", "content", "fold_word", "sentences", "stem", "terms", "words"]

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uac00-\ud7af\u0e00-\u0e7f"
WORD = re.compile(rf"[{CJK}]|\d+(?:[.,:]\d+)*|(?:(?![{CJK}])[^\W\d_])+(?:['’](?:(?![{CJK}])[^\W\d_])+)?")
ONE_CJK = re.compile(rf"[{CJK}]")
SENTENCE_END = re.compile(
    r"[.!?…]+[\"'”’)\]]*(?=\s)|[。！？；]+[」』”）]*|(?<=[a-z0-9)\]\"”])[.!?](?=[A-Z\"“(])|\n\s*|[;](?=\s)|\s[•|]\s"
)
ABBREVIATION = re.compile(
    r"(?:\b(?:[A-Z]|St|Mt|Dr|Mr|Mrs|Ms|Prof|Sr|Jr|vs|No|Inc|Ltd|Co|Corp|Gen|Col|Lt|Sgt|Rev|Hon|approx|ca?|e\.g|i\.e|"
    r"etc|al|cf|Fig|Vol|pp?|ft|oz|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|U\.S|U\.K|D\.C|Ph\.D))\.$"
)
LONGEST_SENTENCE = 600
SUFFIXES = (
    "ations", "ation", "ments", "ment", "ings", "ing", "ions", "ion", "ers", "er", "ors", "or", "edly", "ed", "ies",
    "es", "s", "ly", "e", "y",
)  # fmt: skip


class Span(NamedTuple):
    """A piece of a text: `text[start:end]`."""

    start: int
    end: int


class Word(NamedTuple):
    """One word: its stem, its place, and whether it starts with a capital."""

    stem: str
    start: int
    end: int
    capital: bool


def words(text: str) -> tuple[Word, ...]:
    """Every word of `text` in order. Scripts without spaces give overlapping pairs of characters."""
    found: list[Word] = []
    for match in WORD.finditer(text):
        raw = match.group()
        start, end = match.span()
        if len(raw) == 1 and ONE_CJK.match(raw):
            following = text[end : end + 1]
            if following and ONE_CJK.match(following):
                found.append(Word(raw + following, start, end + 1, False))
            elif not (start and ONE_CJK.match(text[start - 1])):
                found.append(Word(raw, start, end, False))
            continue
        found.append(Word(stem(raw), start, end, raw[0].isupper()))
    return tuple(found)


def terms(text: str) -> tuple[str, ...]:
    """The stems of `text`, stop words included."""
    return tuple(word.stem for word in words(text))


def content(text: str) -> tuple[str, ...]:
    """The stems that carry meaning, each once, in order."""
    return tuple(dict.fromkeys(one for one in terms(text) if one not in STOP))


@lru_cache(maxsize=65536)
def fold_word(word: str) -> str:
    """Lower case, without accents and without a possessive ending."""
    word = re.sub(r"['’]s?$", "", word.casefold())
    if word.isascii():
        return word
    plain = unicodedata.normalize("NFKD", word)
    return "".join(char for char in plain if not unicodedata.combining(char))


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """One form for a word, its inflections and its close relatives ("directed", "director"; "born", "birth")."""
    word = fold_word(word)
    if word in FAMILIES:
        return FAMILIES[word]
    if word in STOP or len(word) < 4 or not word.isascii() or not word.isalpha():
        return word.replace(",", "") if word[:1].isdigit() else word
    for suffix in SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= 4 and not word.endswith("ss"):
            word = word[: -len(suffix)]
            break
    if len(word) > 4 and word[-1] == word[-2] and word[-1] not in "sl":
        word = word[:-1]
    word = word.removesuffix("e") if len(word) > 4 else word
    return FAMILIES.get(word, word)


def sentences(text: str) -> tuple[Span, ...]:
    """The sentences of `text`, roughly; none longer than 600 characters."""
    spans: list[Span] = []
    start = 0
    for match in SENTENCE_END.finditer(text):
        if match.end() <= start or ABBREVIATION.search(text, max(start, match.end() - 12), match.end()):
            continue
        _add(spans, text, start, match.end())
        start = match.end()
    _add(spans, text, start, len(text))
    return tuple(spans)


def _add(spans: list[Span], text: str, start: int, end: int) -> None:
    while end - start > LONGEST_SENTENCE:
        cut = text.rfind(" ", start + LONGEST_SENTENCE // 2, start + LONGEST_SENTENCE)
        cut = cut if cut > start else start + LONGEST_SENTENCE
        _trim(spans, text, start, cut)
        start = cut
    _trim(spans, text, start, end)


def _trim(spans: list[Span], text: str, start: int, end: int) -> None:
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    if piece.strip():
        spans.append(Span(start + left, start + len(piece.rstrip())))
