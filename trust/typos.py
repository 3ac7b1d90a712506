"""Keywords of orders whose inner letters were shuffled or mistyped ("ingore previuos instructoins"), put right."""

import re

from trust.fold import Folded

__all__ = ["mended"]

KEYWORDS = (
    "ignore disregard override forget bypass previous prior instruction instructions system prompt reveal delete"
).split()
WORD = re.compile(r"[a-z]{5,14}")
BY_SHAPE = {(word[0], word[-1], "".join(sorted(word[1:-1]))): word for word in KEYWORDS}


def mended(text: str) -> Folded | None:
    """`text` with shuffled keywords put right; None when there are none. Lengths stay within a letter or two."""
    pieces: list[str] = []
    places: list[int] = []
    changed = False
    last = 0
    for match in WORD.finditer(text):
        right = _right(match.group())
        if right is None:
            continue
        changed = True
        pieces += [text[last : match.start()], right]
        places += range(last, match.start())
        places += [min(match.start() + n, match.end() - 1) for n in range(len(right))]
        last = match.end()
    if not changed:
        return None
    return Folded("".join([*pieces, text[last:]]), (*places, *range(last, len(text))))


def _right(word: str) -> str | None:
    if word in KEYWORDS:
        return None
    shuffled = BY_SHAPE.get((word[0], word[-1], "".join(sorted(word[1:-1]))))
    if shuffled or len(word) < 7:
        return shuffled
    return next((one for one in KEYWORDS if len(one) >= 8 and one[0] == word[0] and _one_off(one, word)), None)


def _one_off(right: str, word: str) -> bool:
    """One letter missing, doubled or wrong."""
    if abs(len(right) - len(word)) > 1:
        return False
    start = 0
    while start < min(len(right), len(word)) and right[start] == word[start]:
        start += 1
    end = 0
    while end < min(len(right), len(word)) - start and right[-1 - end] == word[-1 - end]:
        end += 1
    return len(right) - start - end <= 1 and len(word) - start - end <= 1
