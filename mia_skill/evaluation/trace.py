"""The record of a run: JSON lines, one for each episode and one for what it taught, on the disk before it counts."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, cast

from pydantic import Field, JsonValue, TypeAdapter, ValidationError

from mia_skill.core.errors import InputError, MiaError
from mia_skill.core.types import Outcome, Text, Usage, Value
from mia_skill.evaluation.advice import Attempt

__all__ = ["Grade", "Journal", "Lesson", "Line", "Row", "TraceUnwritable", "read_lines", "rows_of"]

Grade = Literal["correct", "incorrect", "not_attempted", "ungraded"]


class TraceUnwritable(MiaError):
    """The trace cannot be written: the run stops, and what is on the disk stays."""


class Row(Value):
    """One episode: asked, answered or not, graded."""

    line: Literal["episode"] = "episode"
    method: str
    seed: int
    position: int = Field(ge=0)
    task: str
    dataset: str = ""
    kind: str = ""
    question: Text
    gold: tuple[Text, ...]
    status: Literal["sample", "no_sample"]
    """"no_sample": a part failed, and there is nothing to grade. Never counted as wrong."""
    error: Text = ""
    grade: Grade = "ungraded"
    graded_by: str = ""
    exact: bool = False
    f1: float = 0.0
    evidence: str = ""
    """What the evidence alone says, without gold: correct, incorrect, abstain or not_attempted."""
    told: Outcome | None = None
    """What a method without gold is told of it."""
    shown: tuple[str, ...] = ()
    attempt: Attempt | None = None
    usage: Usage = Usage()
    """Answering and, if a model advised, advising; grading and learning are apart."""
    judging: Usage = Usage()

    @property
    def right(self) -> bool | None:
        """None without a sample or a grade."""
        return None if self.status == "no_sample" or self.grade == "ungraded" else self.grade == "correct"

    @property
    def answer(self) -> str:
        """What was answered."""
        return self.attempt.trajectory.answer if self.attempt else ""


class Lesson(Value):
    """What an episode taught its method."""

    line: Literal["lesson"] = "lesson"
    task: str
    change: dict[str, JsonValue]
    error: Text = ""
    """Why nothing could be learnt."""
    usage: Usage = Usage()


Line = Annotated[Row | Lesson, Field(discriminator="line")]
LINE: TypeAdapter[Any] = TypeAdapter(cast("Any", Line))  # a union is a type to some versions of mypy only


class Journal:
    """Appends lines; each is on the disk when `write` returns."""

    def __init__(self, path: Path) -> None:
        """Opens the file; half a line at its end, left by a kill, is cut off.

        Raises:
            TraceUnwritable: it cannot be opened.
        """
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: BinaryIO = path.open("ab")
            self._file.truncate(whole_length(path))
        except OSError as cause:
            raise TraceUnwritable(f"cannot write {path}: {cause.strerror}") from None

    def write(self, line: Row | Lesson) -> None:
        """One line, fsynced.

        Raises:
            TraceUnwritable: the disk is full or gone. The same command goes on from the last whole line.
        """
        try:
            self._file.write(line.model_dump_json().encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as cause:
            raise TraceUnwritable(
                f"cannot write {self._path}: {cause.strerror}; make room and run the same command again"
            ) from None

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):  # what could not be written was said when it was written
            self._file.close()


def whole_length(path: Path) -> int:
    """Bytes up to the end of the last whole line."""
    data = path.read_bytes()
    return data.rfind(b"\n") + 1


def read_lines(path: Path) -> Iterator[Row | Lesson]:
    """All whole lines; none where there is no file.

    Raises:
        InputError: a line is damaged; it is named.
    """
    if not path.is_file():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield LINE.validate_json(line)
            except ValidationError as cause:
                first = cause.errors(include_url=False, include_context=False, include_input=False)[0]
                raise InputError(f"{path}, line {number}: no line of a trace: {first['msg']}") from None


def rows_of(path: Path) -> tuple[Row, ...]:
    """The last word on each task, in the order of the stream.

    Raises:
        InputError: a line is damaged.
    """
    latest = {line.task: line for line in read_lines(path) if isinstance(line, Row)}
    return tuple(sorted(latest.values(), key=lambda row: row.position))
