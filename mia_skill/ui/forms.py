"""What the page may ask. Every text has a limit, every list a length."""

from typing import Annotated, Literal

from pydantic import Field

from mia_skill.core.types import Outcome, Status, Text, Value

__all__ = ["EpisodeForm", "EpisodesForm", "ForgetForm", "LogForm", "MapForm", "Nothing", "OverviewForm", "PromoteForm"]
__all__ += ["RecallForm", "RunForm", "UnitForm", "UnitsForm", "VerifyForm"]

Id = Annotated[str, Field(min_length=1, max_length=200)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Cursor = Annotated[str, Field(max_length=20)]


class Nothing(Value):
    """A question without parts."""


class OverviewForm(Value):
    """Figures of a namespace, or of all."""

    namespace: Name | None = None


class UnitsForm(Value):
    """A page of units."""

    text: Text = Field(default="", max_length=2000)
    namespace: Name | None = None
    category: Name | None = None
    outcome: Outcome | None = None
    status: Status | None = None
    limit: int = Field(default=25, ge=1, le=100)
    cursor: Cursor | None = None


class RecallForm(Value):
    """What an agent would be shown for a question. Nothing is drawn and nothing is counted."""

    question: Text = Field(min_length=1, max_length=4000)
    namespace: Name | None = None
    k: int = Field(default=3, ge=1, le=20)


class UnitForm(Value):
    """One unit."""

    id: Id


class LogForm(Value):
    """A page of the log."""

    subject: Id | None = None
    limit: int = Field(default=50, ge=1, le=200)
    cursor: Cursor | None = None


class VerifyForm(Value):
    """A stretch of the log's check."""

    cursor: Annotated[str, Field(max_length=120)] | None = None


class MapForm(Value):
    """A map of so many units, by what their questions are like."""

    namespace: Name | None = None
    by: Literal["procedure", "question"] = "procedure"
    """ "procedure": names, numbers and quotations are masked, so that questions of one shape lie together."""
    count: int = Field(default=600, ge=2, le=1000)


class PromoteForm(Value):
    """Let a unit direct."""

    id: Id
    confirm: Literal["promote"]


class ForgetForm(Value):
    """Delete units for good."""

    ids: tuple[Id, ...] = Field(min_length=1, max_length=100)
    confirm: Literal["forget"]


class RunForm(Value):
    """One evaluation."""

    run: Name


class EpisodesForm(RunForm):
    """A page of episodes of one of its traces."""

    trace: Name
    text: Text = Field(default="", max_length=500)
    grade: Literal["correct", "incorrect", "not_attempted", "ungraded", "no_sample"] | None = None
    offset: int = Field(default=0, ge=0)
    limit: int = Field(default=50, ge=1, le=200)


class EpisodeForm(RunForm):
    """One episode in full."""

    trace: Name
    task: Id
