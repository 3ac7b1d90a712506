"""Long texts cut into overlapping pieces at word boundaries, each saying where it was."""

from collections.abc import Iterator

from mia_skill.core.types import Passage

__all__ = ["chunks", "spans"]


def spans(text: str, chars: int, overlap: int) -> list[tuple[int, int]]:
    """`(start, end)` of pieces of at most `chars` characters that cover `text`; neighbours share about `overlap`.

    A piece ends after a sentence if one ends in its last third, else at white space, else where it is full.
    """
    if len(text) <= chars:
        return [(0, len(text))]
    made: list[tuple[int, int]] = []
    start = 0
    while True:
        end = _end(text, start, chars)
        made.append((start, end))
        if end == len(text):
            return made
        start = _start(text, max(end - overlap, start + 1), end)


def chunks(passage: Passage, chars: int, overlap: int) -> Iterator[Passage]:
    """The passage itself if it is short or `chars` is 0; else its pieces `ID@start-end`, under the same title."""
    if not chars or len(passage.text) <= chars:
        yield passage
        return
    for start, end in spans(passage.text, chars, overlap):
        if piece := passage.text[start:end].strip():
            yield passage.model_copy(update={"id": f"{passage.id}@{start}-{end}", "text": piece})


def _end(text: str, start: int, chars: int) -> int:
    full = start + chars
    if full >= len(text):
        return len(text)
    least = start + 2 * chars // 3
    stops = [text.rfind(mark, least, full) for mark in (". ", "! ", "? ", ".\n", "\n\n")]
    if (stop := max(stops)) >= least:
        return stop + 1
    blank = max(text.rfind(mark, least, full) for mark in (" ", "\n"))
    return blank if blank > start else full


def _start(text: str, wanted: int, end: int) -> int:
    """The first word that begins at or after `wanted`; `end` when there is none before it."""
    for at in range(wanted, end):
        if text[at - 1].isspace():
            return at
    return wanted if not any(map(str.isspace, text[wanted:end])) else end
