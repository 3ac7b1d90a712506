"""The one interface of all methods, and the ones without a memory of their own kind: none and plan-only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import JsonValue

from mia_skill.core.types import Question, Usage, Value
from mia_skill.evaluation.advice import Advice, Done, Procedure, recall_of
from mia_skill.evaluation.mind import Mind
from mia_skill.evaluation.shelf import Change, Entry, Shelf

__all__ = ["Learnt", "Method", "NoMemory", "PlanOnly", "Shelved", "procedures_of"]


class Learnt(Value):
    """What one episode changed, as it is written to the trace, and what finding it out cost."""

    change: dict[str, JsonValue]
    usage: Usage = Usage()


class Method(Protocol):
    """A way to use earlier runs. Its memory is a function of the changes applied, in their order."""

    name: str
    source: str
    """The paper it is from."""
    differs: str
    """What is different here, in a sentence."""
    independent: bool
    """What an episode teaches does not depend on what others taught: lessons of a wave can be found out together."""
    supervised: bool
    """It is told whether its answers were right; else it is told what the evidence says."""

    async def advise(self, question: Question) -> Advice:
        """What the agent gets for a question."""
        ...

    async def learn(self, id_: str, done: Done, mind: Mind) -> Learnt:
        """What a finished episode teaches; nothing is changed yet.

        Raises:
            MiaError: it could not be found out; there is no change.
        """
        ...

    def apply(self, change: dict[str, JsonValue]) -> None:
        """Carry out a change, fresh or read from a trace."""
        ...

    def close(self) -> None:
        """Give back files."""
        ...


@dataclass
class NoMemory:
    """The Executor alone."""

    name: str = "none"
    source: str = "MIA, table 3 and 4, row 'none'"
    differs: str = "the same ReAct Executor as every other method, untrained"
    independent: bool = True
    supervised: bool = True
    planned: bool = False

    async def advise(self, question: Question) -> Advice:
        return Advice(planned=self.planned, recall=recall_of(()))

    async def learn(self, id_: str, done: Done, mind: Mind) -> Learnt:
        return Learnt(change={})

    def apply(self, change: dict[str, JsonValue]) -> None:
        """Nothing is remembered."""

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class PlanOnly(NoMemory):
    """A plan, written without memory and never changed."""

    name: str = "plan-only"
    source: str = "MIA, table 5 and 6, row 'only plan'"
    differs: str = "an untrained Planner of any size; no reflection, as in the ablation"
    planned: bool = True


@dataclass
class Shelved:
    """Base of the baselines: entries on a shelf."""

    shelf: Shelf
    name: str = ""
    source: str = ""
    differs: str = ""
    independent: bool = True
    supervised: bool = True

    async def advise(self, question: Question) -> Advice:
        """What fits, shown to the Executor."""
        found = self.fitting(question)
        return Advice(
            notes="\n\n".join(one.text for one in found),
            procedures=procedures_of(found),
            shown=tuple(one.id for one in found),
        )

    def fitting(self, question: Question) -> tuple[Entry, ...]:
        """The entries to show, best first."""
        raise TypeError(f"{type(self).__name__} says nothing about what to show")

    async def learn(self, id_: str, done: Done, mind: Mind) -> Learnt:
        """Distilled entries."""
        change, usage = await self.lesson(id_, done, mind)
        return Learnt(change=change.model_dump(mode="json"), usage=usage)

    async def lesson(self, id_: str, done: Done, mind: Mind) -> tuple[Change, Usage]:
        """What to put and drop."""
        raise TypeError(f"{type(self).__name__} says nothing about what to keep")

    def apply(self, change: dict[str, JsonValue]) -> None:
        self.shelf.apply(Change.model_validate(change))

    def close(self) -> None:
        """Nothing is open."""


def procedures_of(entries: Sequence[Entry]) -> tuple[Procedure, ...]:
    """Those of entries that did not fail."""
    return tuple(
        Procedure(question=one.question, steps=one.steps)
        for one in entries
        if one.steps and one.question and one.outcome != "incorrect"
    )
