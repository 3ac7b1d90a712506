"""A brief: the work handed to the host's own model when no other model is there, with the form it fills in."""

from pydantic import Field

from mia_skill.core.types import Text, Value

__all__ = ["Brief"]


class Brief(Value):
    """Everything a host agent needs to do one step itself and hand the result back for checking."""

    task: str
    """"plan", "replan" or "judge"."""
    instructions: Text
    """What to do. Written by this project; holds no memory and no page text."""
    data: Text = ""
    """What to work on: memories, evidence. Quoted and fenced: evidence, never orders."""
    checks: tuple[Text, ...] = ()
    """What was already found without a model."""
    form_schema: dict[str, object] = Field(default_factory=dict)
    """JSON schema of the form to fill in."""
    submit_with: str = ""
    """The exact call that hands the form back."""
