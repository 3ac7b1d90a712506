"""The arguments of the tools: bounded, described, and as forgiving as their meaning allows."""

from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from mia_skill.agents.notes import StepNote
from mia_skill.core.types import Text

__all__ = [
    "FILLED_IN",
    "Answer",
    "AsOf",
    "Asked",
    "Caption",
    "Given",
    "Handle",
    "Id",
    "Ids",
    "Namespace",
    "Note",
    "PlanText",
    "Queries",
    "Score",
    "Several",
    "Steps",
]


def lines(value: object) -> object:
    """A plan sent as a list of steps, as text."""
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return "\n".join(f"{number}. {one}" for number, one in enumerate(value, 1))
    return value


def listed(value: object) -> object:
    """One text where a list is due."""
    return [value] if isinstance(value, str) else value


Id = Annotated[Text, Field(min_length=1, max_length=200)]
Ids = Annotated[list[Id], BeforeValidator(listed), Field(min_length=1, max_length=100)]
Asked = Annotated[Text, Field(min_length=1, max_length=4000)]
Caption = Annotated[Text, Field(max_length=2000, description="what the image shows")]
Answer = Annotated[Text, Field(max_length=20_000)]
AsOf = Annotated[Text, Field(max_length=40, description="today's date")]
PlanText = Annotated[Text, BeforeValidator(lines), Field(max_length=20_000)]
Steps = Annotated[list[StepNote], Field(max_length=100)]
Given = Annotated[list[Id], BeforeValidator(listed), Field(max_length=100)]
Note = Annotated[Text, Field(max_length=2000)]
Namespace = Annotated[str, Field(pattern=r"^[\w.:@-]{0,64}$")]
Queries = Annotated[
    list[Annotated[Text, Field(min_length=1, max_length=1000)]],
    BeforeValidator(listed),
    Field(min_length=1, max_length=10),
]
Several = Annotated[int, Field(ge=1, le=20)]
FILLED_IN = WithJsonSchema({"type": "object", "description": "the brief's, filled in"})
"""A brief carries the schema of its form; the listing need not."""
Score = Annotated[float, Field(ge=-10, le=10, allow_inf_nan=False)]
Handle = Annotated[str, Field(min_length=1, max_length=64)]
