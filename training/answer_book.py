"""What a run of test-time learning leaves in its folder: a line a question, a line a batch, and with what it is run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from mia_skill.core.errors import InputError, TrainingError, boundary
from mia_skill.core.proportion import wilson
from mia_skill.core.types import Value
from training.task import Task

__all__ = ["AnswerBook", "BatchLine", "Line", "Score"]

ANSWERS, BATCHES, RUN = "answers.jsonl", "batches.jsonl", "run.json"


class Line(Value):
    """One question, written down before anything was learnt from it."""

    number: int
    id: str
    question: str
    answer: str
    right: bool | None = None
    """None: there is no gold answer."""
    planned: bool = True
    """False: none of the replies was a plan, so there is no answer either. That is counted, and not left out."""
    memories: int = 0
    version: int = 0
    """Of the weights that planned."""


class BatchLine(Value):
    """What one batch taught."""

    asked: int
    drawn: int
    """Plans drawn beside those that were answered with."""
    rewarded: int
    stored: int
    """Questions of which something was remembered."""
    believed: bool
    version: int
    """Of the weights after it."""
    majority: Mapping[str, str]
    """By question id, the most frequent answer of all its plans."""
    majority_right: int
    metrics: Mapping[str, float]


class Score(Value):
    """The whole run so far. What is right was counted before anything was learnt from it."""

    asked: int
    answered: int
    planless: int
    """Questions for which none of the replies was a plan."""
    lost: int
    """Questions that a model or a tool failed at: no sample, and asked again when the run is gone on with."""
    why: str = ""
    """Of the last such failure."""
    with_gold: int
    right: int
    half: int
    """Questions with gold in the second half of them, and how many of these are right."""
    right_late: int
    majority_right: int
    drawn: int
    rewarded: int
    stored: int
    version: int
    """Updates that moved weights."""
    planner: Path | None = None
    """What was learnt, for vLLM; None: no weight has moved."""

    @property
    def line(self) -> str:
        """All of it, to be read."""
        told = f"{self.asked} questions, {self.answered} answered"
        if self.with_gold:
            low, high = wilson(self.right, self.with_gold)
            told += f"; right before learning {self.right}/{self.with_gold} (95% {low:.2f} to {high:.2f})"
            told += f", second half {self.right_late}/{self.half}, maj@G {self.majority_right}"
        told += f"; {self.rewarded} of {self.drawn} drawn plans rewarded, {self.stored} questions remembered"
        told += f", {self.version} updates"
        told += f"; {self.planless} got no plan" if self.planless else ""
        return told + (f"; {self.lost} not answered yet, for a part failed: {self.why}" if self.lost else "")


@dataclass
class AnswerBook:
    """The lines of one folder. What was asked once is not asked again: its answer stands."""

    folder: Path
    lines: list[Line] = field(default_factory=list)
    batches: list[BatchLine] = field(default_factory=list)

    @classmethod
    def open(cls, folder: Path, told: Mapping[str, object]) -> "AnswerBook":
        """A new folder, or one to go on with. A line that was cut off is removed.

        Raises:
            InputError: it is of a run with other weights, another judge or another memory.
            TrainingError: it cannot be written.
        """
        with boundary(TrainingError, f"writing {folder}", OSError):
            folder.mkdir(parents=True, exist_ok=True)
            lines = [Line.model_validate_json(one) for one in whole(folder / ANSWERS)]
            batches = [BatchLine.model_validate_json(one) for one in whole(folder / BATCHES)]
            before = orjson.loads((folder / RUN).read_bytes()) if lines else told
            other = [
                f"{name} {before.get(name)!r}, not {one!r}" for name, one in told.items() if before.get(name) != one
            ]
            if other:
                raise InputError(f"{folder} is of a run with {', '.join(other)}: give the same flags, or another --out")
            (folder / RUN).write_bytes(orjson.dumps(told))
        return cls(folder, lines, batches)

    def left(self, tasks: Sequence[Task]) -> list[Task]:
        """The questions that were not asked yet.

        Raises:
            InputError: one has the id of another question that was.
        """
        known = {line.id: line.question for line in self.lines}
        for task in tasks:
            if known.get(task.name, task.question.text) != task.question.text:
                raise InputError(f"{task.name!r} is another question in {self.folder / ANSWERS}: give another --out")
        return [task for task in tasks if task.name not in known]

    def write(self, line: Line) -> None:
        """Keep one answer. Raises: TrainingError: it cannot be written."""
        self.lines.append(line)
        self._append(ANSWERS, line)

    def learnt(self, line: BatchLine) -> None:
        """Keep what a batch taught. Raises: TrainingError: it cannot be written."""
        self.batches.append(line)
        self._append(BATCHES, line)

    def score(self, lost: int, why: str, planner: Path | None, version: int) -> Score:
        """The figures of all lines."""
        known = [line for line in self.lines if line.right is not None]
        late = known[len(known) // 2 :]
        return Score(
            asked=len(self.lines),
            answered=sum(bool(line.answer) for line in self.lines),
            planless=sum(not line.planned for line in self.lines),
            lost=lost,
            why=why,
            with_gold=len(known),
            right=sum(line.right is True for line in known),
            half=len(late),
            right_late=sum(line.right is True for line in late),
            majority_right=sum(one.majority_right for one in self.batches),
            drawn=sum(one.drawn for one in self.batches),
            rewarded=sum(one.rewarded for one in self.batches),
            stored=sum(one.stored for one in self.batches),
            version=version,
            planner=planner,
        )

    def _append(self, name: str, line: Value) -> None:
        with boundary(TrainingError, f"writing {self.folder / name}", OSError), (self.folder / name).open("ab") as file:
            file.write(line.model_dump_json().encode() + b"\n")


def whole(file: Path) -> list[bytes]:
    """The lines that were written to their end; the rest is cut off."""
    if not file.exists():
        return []
    data = file.read_bytes()
    kept = data[: data.rfind(b"\n") + 1]
    if kept != data:
        file.write_bytes(kept)
    return kept.splitlines()
