"""One layer of hiding undone: base64, percent signs, rot13, hexadecimal, HTML entities."""

import base64
import binascii
import codecs
import html
import re
from collections.abc import Iterator
from urllib.parse import unquote

__all__ = ["decoded"]

BASE64 = re.compile(r"(?<![A-Za-z0-9+/=_-])[A-Za-z0-9+/_-]{20,}={0,2}(?![A-Za-z0-9+/=])")
PERCENT = re.compile(r"(?<![\w.~+-])(?:[\w.~+-]*%[0-9A-Fa-f]{2}){4,}[\w.~+%-]*")
"""Begins where a word begins, else a page that is one long word takes the square of its length."""
HEX = re.compile(r"(?:(?:\\x|0x)?[0-9a-fA-F]{2}[\s,]?){16,}")
ENTITIES = re.compile(r"(?:&#x?[0-9a-fA-F]{2,6};[\w ]{0,2}){6,}")
ROT13_SIGNS = re.compile(
    r"\b(?:vtaber|qvfertneq|cerivbhf|vafgehpgvba|vafgehpgvbaf|flfgrz|nafjre|bireevqr|sbetrg)\b", re.I
)
MOST = 50


def decoded(text: str) -> Iterator[tuple[int, int, str, str]]:
    """Place, plain text and layer of everything in `text` that decodes to readable text."""
    for layer, pattern, read in (
        ("base64", BASE64, _base64),
        ("percent", PERCENT, unquote),
        ("hex", HEX, _hex),
        ("entities", ENTITIES, html.unescape),
    ):
        for number, match in enumerate(pattern.finditer(text)):
            if number >= MOST:
                break
            if (plain := read(match.group())) and _readable(plain):
                yield match.start(), match.end(), plain, layer
    if signs := list(ROT13_SIGNS.finditer(text)):
        start = max(text.rfind("\n", 0, signs[0].start()), text.rfind(": ", 0, signs[0].start()) + 1, 0)
        yield signs[0].start(), signs[-1].end(), codecs.decode(text[start : signs[-1].end() + 200], "rot13"), "rot13"


def _base64(text: str) -> str:
    standard = text.translate(str.maketrans("-_", "+/")).rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _hex(text: str) -> str:
    try:
        return bytes.fromhex(re.sub(r"\\x|0x|[\s,]", "", text)).decode("utf-8")
    except ValueError:
        return ""


def _readable(text: str) -> bool:
    letters = sum(char.isalpha() or char.isspace() for char in text)
    return len(text) >= 8 and letters >= 0.7 * len(text) and text.isprintable()
