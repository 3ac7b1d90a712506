"""Vectors that travel in an export, so that a bank of the same embedder need not make them again."""

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from secrets import choice
from typing import NamedTuple

import numpy as np

from retrieval.shape import features
from retrieval.vectors import Rows, Vectors, blob

__all__ = ["Carried", "Line", "believed", "carried", "vectors_line"]

SAME = 1e-3
"""Cosine that two machines may lose between the vectors of one text."""


class Carried(NamedTuple):
    """The vectors of one line, as they were read."""

    question: Rows
    caption: Rows | None = None
    masked: Rows | None = None


def vectors_line(vectors: Vectors) -> dict[str, str]:
    """Vectors as the field of a line: float32, little-endian, base64."""
    named = {"question": vectors.question, "caption": vectors.caption, "masked": vectors.masked}
    return {name: b64encode(blob(row)).decode() for name, row in named.items() if row is not None}


def carried(found: object) -> Carried | None:
    """What `vectors_line` wrote; None for anything that is no vectors of length 1 and of one size."""
    if not isinstance(found, dict) or not {"question"} <= found.keys() <= set(Carried._fields):
        return None
    rows = {name: _row(value) for name, value in found.items()}
    if any(row is None for row in rows.values()) or len({len(row) for row in rows.values() if row is not None}) != 1:
        return None
    question = rows.pop("question")
    return None if question is None else Carried(question, **rows)


class Line(NamedTuple):
    """What of a unit or pair decides which vectors it has, and those that came with it."""

    question: str
    caption: str | None
    unit: bool
    given: Carried | None


Embed = Callable[[Sequence[tuple[str, str | None]], int], Sequence[Vectors]]
"""Vectors of (question, caption) pairs, the first so many of them units."""


def believed(lines: Sequence[Line], embed: Embed, *, masked: bool) -> list[Vectors | None]:
    """The vectors of each line that may be used as they came. One line, picked by chance, is embedded again: a file
    whose vectors are not those of its texts is not believed in anything."""
    able = [at for at, line in enumerate(lines) if _whole(line, masked=masked and line.unit)]
    found: list[Vectors | None] = [None] * len(lines)
    if not able:
        return found
    probe = lines[choice(able)]
    (made,) = embed([(probe.question, probe.caption)], int(probe.unit))
    if probe.given is None or not _alike(probe.given, made):
        return found
    for at in able:
        given, line = lines[at].given, lines[at]
        if given is not None and len(given.question) == len(made.question):
            shape = features(line.question).tobytes() if line.unit else None
            found[at] = Vectors(given.question, given.caption, given.masked if line.unit else None, shape)
    return found


def _whole(line: Line, *, masked: bool) -> bool:
    given = line.given
    if given is None or (given.caption is None) != (line.caption is None):
        return False
    return given.masked is not None or not masked


def _alike(given: Carried, made: Vectors) -> bool:
    pairs = ((given.question, made.question), (given.caption, made.caption), (given.masked, made.masked))
    return all(
        one.shape == other.shape and float(one @ other) > 1 - SAME
        for one, other in pairs
        if one is not None and other is not None
    )


def _row(value: object) -> Rows | None:
    if not isinstance(value, str):
        return None
    try:
        raw = b64decode(value, validate=True)
    except ValueError:
        return None
    if not raw or len(raw) % 4:
        return None
    row = np.frombuffer(raw, dtype="<f4").astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        sound = abs(float(row @ row) - 1.0) < SAME
    return row if sound else None
