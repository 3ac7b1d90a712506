"""What is evaluated on: questions with gold answers, and the rows that could not be read."""

from hashlib import sha256
from random import Random

import orjson
from pydantic import Field

from mia_skill.core.errors import InputError
from mia_skill.core.picture import Picture
from mia_skill.core.types import Question, Text, Value

__all__ = ["Fault", "Task", "TaskSet"]


class Task(Value):
    """One question with its gold answers."""

    id: str = Field(min_length=1)
    question: Question
    gold: tuple[Text, ...] = Field(min_length=1)
    """The answer and its aliases."""
    dataset: str = ""
    kind: str = ""
    """The data set's own word for the sort of question."""
    hops: int | None = Field(default=None, ge=1)
    """Steps it takes, or its level, where the file says so in a number."""
    picture: Picture | None = Field(default=None, repr=False)
    image_id: str = ""
    """Names the image in prepared image results."""


class Fault(Value):
    """A row that was left out, and why. It is reported, never counted as a wrong answer."""

    row: int = Field(ge=1)
    reason: str


class TaskSet(Value):
    """A data set as it was read."""

    name: str
    tasks: tuple[Task, ...]
    faults: tuple[Fault, ...] = ()

    @property
    def digest(self) -> str:
        """Of questions, gold answers and images, in order."""
        seen = sha256()
        for task in self.tasks:
            image = sha256(task.picture.data).hexdigest() if task.picture else ""
            seen.update(orjson.dumps([task.id, task.question.text, task.gold, image]))
        return seen.hexdigest()[:12]

    def stream(self, *, limit: int | None = None, seed: int | None = None) -> tuple[Task, ...]:
        """At most `limit` tasks: in the order of the file, or, with a seed, shuffled before they are cut.

        Raises:
            InputError: there is no task.
        """
        if not self.tasks:
            first = f"; row {self.faults[0].row}: {self.faults[0].reason}" if self.faults else ""
            raise InputError(f"{self.name} holds no question that can be used{first}")
        order = list(self.tasks)
        if seed is not None:
            Random(f"stream {seed}").shuffle(order)
        return tuple(order[:limit])
