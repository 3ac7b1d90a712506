"""The JSON forms that a Planner fills in, whoever plays it: an endpoint, the host's model, or the host agent."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from mia_skill.core.types import Text

__all__ = ["PlanForm", "ReplanForm", "RouterForm", "WorkflowForm"]

StepText = Annotated[Text, StringConstraints(min_length=1, max_length=600, strip_whitespace=True)]
Steps = Annotated[list[StepText], Field(min_length=1, max_length=12)]


class Form(BaseModel):
    """Base of all forms: frozen; unknown fields are refused so that a misspelt one is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanForm(Form):
    """A plan."""

    steps: Steps
    memory_ids: Annotated[list[Annotated[str, StringConstraints(max_length=64)]], Field(max_length=40)] = []
    """The memories that were really used; ids that were not shown are dropped."""


class ReplanForm(Form):
    """Whether to plan again, and how."""

    need_replan: bool
    reason: Annotated[Text, StringConstraints(max_length=2000)] = ""
    steps: Annotated[list[StepText], Field(max_length=12)] = []

    @model_validator(mode="after")
    def _steps_go_with_yes(self) -> "ReplanForm":
        if self.need_replan and not self.steps:
            raise ValueError("need_replan is true, so steps must hold the new plan")
        return self


class WorkflowForm(Form):
    """A compressed run."""

    steps: Steps


class RouterForm(Form):
    """A choice among numbered plans."""

    choice: Annotated[int, Field(ge=1)]
    reason: Annotated[Text, StringConstraints(max_length=2000)] = ""
