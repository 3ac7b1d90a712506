"""The forms a reviewer fills in: an endpoint's model, or the host in one go."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from mia_skill.core.types import Text

__all__ = ["REVIEWERS", "JudgeForm", "ReviewForm"]

REVIEWERS = ("reasoning", "sourcing", "validity")
SourceId = Annotated[Text, StringConstraints(max_length=500)]


class ReviewForm(BaseModel):
    """One review."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    own_answer: Annotated[Text, StringConstraints(max_length=2000)] = ""
    """The reviewer's own answer from the evidence alone; asked of the validity reviewer, compared by us."""
    score: float = Field(ge=0, le=10, allow_inf_nan=False)
    reason: Annotated[Text, StringConstraints(max_length=4000)] = ""
    cited: Annotated[list[SourceId], Field(max_length=50)] = []
    """Ids of the sources the score rests on. Each is looked up; an unknown one voids the review."""


class JudgeForm(BaseModel):
    """All three reviews: what a host fills in for a brief. A host has no chair: where its reviews split, we abstain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reasoning: ReviewForm
    sourcing: ReviewForm
    validity: ReviewForm
