"""Text as a reader's eye takes it: look-alike letters, invisible characters and odd forms undone, places kept."""

import re
import unicodedata
from dataclasses import dataclass

__all__ = ["Folded", "fold", "hidden"]

INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f"
    "\ufeff\U000e0000-\U000e007f\U000e0100-\U000e01ef]"
)
TAGS = re.compile("[\U000e0020-\U000e007e]{3,}")
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
INSIDE_WORD = re.compile("(?<=[A-Za-z])[\u200b\u2060\ufeff\u00ad\u200c\u200d]+(?=[A-Za-z])")
EASTERN = re.compile("[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7af]")
"""Decomposing these takes letters apart."""
CONFUSABLE = str.maketrans(
    {
        "а": "a", "в": "b", "е": "e", "ѐ": "e", "ё": "e", "к": "k", "м": "m", "н": "h", "о": "o", "р": "p", "с": "c",
        "т": "t", "у": "y", "х": "x", "ѕ": "s", "і": "i", "ї": "i", "ј": "j", "ԁ": "d", "ԛ": "q", "ԝ": "w", "ɡ": "g",
        "α": "a", "β": "b", "ε": "e", "η": "n", "ι": "i", "κ": "k", "ν": "v", "ο": "o", "ρ": "p", "τ": "t", "υ": "u",
        "χ": "x", "ω": "w", "ı": "i", "ł": "l", "ø": "o", "ɑ": "a", "ɪ": "i", "ʏ": "y", "ⅼ": "l", "ⅰ": "i",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Folded:
    """A folded text and, for each of its characters, where it stood."""

    text: str
    places: tuple[int, ...] | None = None
    """None when nothing moved."""

    def raw_span(self, start: int, end: int) -> tuple[int, int]:
        """The place in the raw text of `text[start:end]`."""
        if self.places is None:
            return start, end
        return self.places[start], self.places[end - 1] + 1


def fold(text: str) -> Folded:
    """Lower case, compatibility forms undone, accents and invisible characters dropped, look-alikes of Latin letters
    turned into them inside words that mix scripts, tag characters turned into the letters they hide."""
    if text.isascii():
        return Folded(text.lower())
    chars: list[str] = []
    places: list[int] = []
    for place, char in enumerate(text):
        code = ord(char)
        if 0xE0020 <= code <= 0xE007E:
            plain = chr(code - 0xE0000).lower()
        elif char.isascii():
            plain = char.lower()
        elif INVISIBLE.match(char):
            continue
        else:
            decomposed = unicodedata.normalize("NFKC" if EASTERN.match(char) else "NFKD", char)
            plain = "".join(one for one in decomposed if not unicodedata.combining(one)).casefold()
        chars += plain
        places += [place] * len(plain)
    return Folded(_unmix("".join(chars)), tuple(places))


def hidden(text: str) -> list[tuple[int, int, str]]:
    """Runs of characters that a reader does not see but a model does: place and kind."""
    if text.isascii():
        return []
    found = [(match.start(), match.end(), "invisible_tags") for match in TAGS.finditer(text)]
    found += [
        (match.start(), match.end(), "bidi_override")
        for match in BIDI.finditer(text)
        if match.group() in "\u202d\u202e"
    ]
    if len(joints := list(INSIDE_WORD.finditer(text))) >= 3:
        found.append((joints[0].start(), joints[-1].end(), "invisible_inside_words"))
    return found


def _unmix(text: str) -> str:
    """Look-alikes become Latin, place by place, in words that hold both; a wholly Cyrillic word stays Cyrillic."""

    def plain(match: re.Match[str]) -> str:
        word = match.group()
        return word.translate(CONFUSABLE) if re.search("[a-z]", word) or len(word) == 1 else word

    return re.sub(r"[a-z\u0370-\u052f\u0131\u0142\u00f8\u0251\u0261\u026a\u028f]+", plain, text)
