"""The shape of a question: its words with names, numbers and quotations masked, so that "who wrote Dune?" and "who
wrote The Silver Violin?" meet (pure). Masked n-grams find the same procedure better than plain words (lab notes).
"""

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

__all__ = ["RECIPE", "SHAPED", "features", "features_of", "mask", "masked_text", "sentence"]

RECIPE = 1
"""Grows with any change to what `features` or `masked_text` give: stored ones are then made anew."""
SHAPED = np.dtype([("feature", "<u4"), ("impact", "<f4")])
"""A feature of a question, hashed, and its BM25 term weight without the inverse document frequency."""
MAX_CHARS = 4_000
"""What comes after says little about the shape and costs time."""
NAME, NUMBER, QUOTE = "⟨name⟩", "⟨number⟩", "⟨text⟩"
PLACEHOLDERS = frozenset({NAME, NUMBER, QUOTE})
K1, B, PIVOT = 1.2, 0.4, 24.0
"""BM25's saturation, length share, and a fixed length to compare with: a mean that moves with the bank would change
every stored weight (as good as the true mean on the tuning halves)."""

QUOTED = re.compile(
    r"\"[^\"\n]{1,300}\"|“[^”\n]{1,300}”|«[^»\n]{1,300}»|「[^」\n]{1,300}」|(?<!\w)'[^'\n]{1,80}'(?!\w)|`[^`\n]{1,300}`"
)
WORD = r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’][^\W\d_\u3040-\u30ff\u3400-\u9fff]+)*"
"""Chinese and Japanese have no spaces: a character is a word there."""
WORDS = re.compile(WORD)
TOKENS = re.compile(rf"⟨(?:name|number|text)⟩|{WORD}|[.!?:;\n]")
ENDS = frozenset(".!?:;\n")
LINKS = frozenset("of the de la von van for".split())
OPENERS = frozenset(
    "a about according add after all also among an and any are as ask at be before between both but buy by can change "
    "check could count create did do does during each every find for from get give go had has have he help her his how "
    "if in into is it its let list look make me my no not of on one open or order our out over please post pull put "
    "rate remove rename reply search set she should show since some star tell that the their them then there these "
    "they this those through to under until update up upon was we were what when where whether which while who whom "
    "whose why will with within would you your".split()
)
"""First words of a sentence whose capital says nothing."""


def mask(text: str) -> tuple[str, ...]:
    """The words of `text` in lower case, with a placeholder for each name, number and quotation.

    A name is a run of capitalised words, also linked by "of" or "the". A capital at the start of a sentence counts only
    before another one. Never raises; the mask of a mask, joined by blanks, is itself.
    """
    tokens = TOKENS.findall(QUOTED.sub(f" {QUOTE} ", text[:MAX_CHARS]))
    shape: list[str] = []
    start = True
    for token, following in pairwise([*tokens, ""]):
        if token in ENDS:
            start = True
            continue
        slot = _slot(token, following, start=start)
        if slot is None:
            shape += WORDS.findall(token.lower())
        else:
            _append_slot(shape, slot)
        start = False
    return tuple(shape)


def masked_text(text: str) -> str:
    """The mask of `text` as a sentence."""
    return sentence(mask(text))


def sentence(shape: Sequence[str]) -> str:
    """A mask as a sentence for an embedder that has never seen our placeholders."""
    return " ".join("X" if token in PLACEHOLDERS else token for token in shape) or "X"


def features(text: str) -> NDArray[np.void]:
    """The features of `text`'s mask."""
    return features_of(mask(text))


def features_of(shape: Sequence[str]) -> NDArray[np.void]:
    """Masked words and pairs of neighbours, each once, by hash; `SHAPED`. Never empty."""
    words = ("^", *shape, "$")
    grams = [*words[1:-1], *(f"{first}\n{second}" for first, second in pairwise(words))]
    counts = Counter(crc32(gram.encode("utf-8", "surrogatepass")) for gram in grams)
    norm = K1 * (1 - B + B * len(grams) / PIVOT)
    rows = [(feature, count * (K1 + 1) / (count + norm)) for feature, count in sorted(counts.items())]
    return np.array(rows, dtype=SHAPED)


def _slot(token: str, following: str, *, start: bool) -> str | None:
    """The placeholder that `token` becomes; None keeps the word."""
    if token in PLACEHOLDERS:
        return token
    if not token.isalpha() and any(letter.isdigit() for letter in token):
        return NUMBER
    if token == token.lower() or token == "I" or token.startswith(("I'", "I’")):
        return None
    if start and (token.lower() in OPENERS or (token[1:] == token[1:].lower() and not _capital(following))):
        return None
    return NAME


def _capital(token: str) -> bool:
    return token[:1] != token[:1].lower()


def _append_slot(shape: list[str], slot: str) -> None:
    """Add a placeholder; neighbours of a kind are one, and so are "NAME of NAME"."""
    if shape and shape[-1] == slot:
        return
    if slot == NAME and len(shape) > 1 and shape[-1] in LINKS and shape[-2] == NAME:
        shape.pop()
        return
    shape.append(slot)
