"""Harmful memory: lessons spoiled by chance before a method learns them, to see which method lets them do harm."""

from dataclasses import dataclass
from random import Random

from mia_skill.core.types import Outcome
from mia_skill.evaluation.advice import Done

__all__ = ["Spoiler"]


@dataclass(frozen=True)
class Spoiler:
    """For a share of the episodes, drawn by the question's id alone: alike for every method."""

    share: float

    def __call__(self, task: str, done: Done) -> Done:
        """The run as the memory is told of it: each search's findings under another's query, claimed a success."""
        if Random(f"harm {task}").random() >= self.share:
            return done
        run = done.attempt.trajectory
        queries = [step.query for step in run.steps][::-1]
        steps = tuple(step.model_copy(update={"query": query}) for step, query in zip(run.steps, queries, strict=True))
        told = done.attempt.model_copy(update={"trajectory": run.model_copy(update={"steps": steps})})
        return done.model_copy(update={"attempt": told, "outcome": Outcome.CORRECT})
