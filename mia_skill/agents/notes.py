"""A run as a host agent reports it: short notes that refer to passages by id, or carry their text."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mia_skill.agents.ledger import Ledger
from mia_skill.core.types import Step, Text

__all__ = ["StepNote", "steps_of"]

Short = Annotated[Text, StringConstraints(max_length=4000)]


class StepNote(BaseModel):
    """One thing the host did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: Short = ""
    found: Annotated[Text, StringConstraints(max_length=100_000)] = Field(
        default="", description="text, unless in passage_ids"
    )
    passage_ids: Annotated[list[Annotated[str, StringConstraints(max_length=200)]], Field(max_length=50)] = Field(
        default=[], description="of search, visit"
    )
    error: Short = ""
    thought: Short = Field(default="", description="no evidence")
    tool: Annotated[str, StringConstraints(max_length=100)] = "search"


def steps_of(notes: Sequence[StepNote], ledger: Ledger) -> tuple[Step, ...]:
    """The notes as steps; ids that this process has not shown are named in the step's observation."""
    return tuple(step_of(note, ledger) for note in notes)


def step_of(note: StepNote, ledger: Ledger) -> Step:
    """One note as a step."""
    passages = ledger.passages(note.passage_ids)
    known = {passage.id for passage in passages}
    missing = [one for one in note.passage_ids if one not in known]
    return Step(
        tool=note.tool,
        query=note.query,
        thought=note.thought,
        passages=passages,
        observation=note.found,
        error=note.error or (f"unknown passage ids: {', '.join(missing)}" if missing and not passages else None),
    )
