"""The values that pass between the rooms: frozen, validated, serialisable. Sources: spec sections 1 to 5."""

import time
from datetime import UTC, datetime
from enum import StrEnum
from secrets import token_hex
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "Credit",
    "Feedback",
    "MemoryUnit",
    "Modality",
    "Origin",
    "Outcome",
    "Passage",
    "Plan",
    "PlanPair",
    "Provenance",
    "Question",
    "Status",
    "Step",
    "StopReason",
    "Text",
    "Trajectory",
    "Usage",
    "Value",
    "clean_text",
    "new_id",
    "utc_now",
]


def clean_text(text: str) -> str:
    """`text` without what breaks a store or a wire: NULs go, lone surrogates become U+FFFD."""
    return text.replace("\x00", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def new_id(prefix: str) -> str:
    """A fresh identifier, e.g. `mem_019f3c...`: 48 bits of milliseconds, then 80 of chance. Those of one load are
    neighbours in every index of a store; random ones cost a million units ten times their size in writes."""
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{token_hex(10)}"


def utc_now() -> datetime:
    """Now, with its time zone."""
    return datetime.now(UTC)


def _clean_first(value: object) -> object:
    return clean_text(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_clean_first)]
"""A string that is safe to store and to send (facts: a stored lone surrogate kills a later stdio session)."""


class Value(BaseModel):
    """Base of all values: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Outcome(StrEnum):
    """How a run ended. There is no third value: a run nobody could judge has no outcome (None)."""

    CORRECT = "correct"
    INCORRECT = "incorrect"


class Modality(StrEnum):
    """Buckets of the bank, as in the paper's appendix 10."""

    TEXT = "text-only"
    IMAGE = "text-image"


class Origin(StrEnum):
    """Where a text came from, most trusted first; a derived text inherits the last of its parents'."""

    OWN_RUN = "own_run"
    USER = "user"
    IMPORTED = "imported"
    OTHER_AGENT = "other_agent"
    FILE = "file"
    WEB = "web"


class Status(StrEnum):
    """What a stored unit may do. Set by the bank, never by whoever hands a unit in."""

    ACTIVE = "active"
    """May direct a plan."""
    QUARANTINED = "quarantined"
    """From a source that is not trusted: informs, never directs, until runs that nobody steered succeed with it."""
    WITHHELD = "withheld"
    """Measured to do harm: shown only now and then, so that the measurement can change its mind."""
    REVOKED = "revoked"
    """Its source, or that of an ancestor, was revoked: shown to nobody, kept for the trail."""


class StopReason(StrEnum):
    """Why an episode ended."""

    ANSWERED = "answered"
    STEP_LIMIT = "step_limit"
    SEARCH_LIMIT = "search_limit"
    TOKEN_LIMIT = "token_limit"
    TIME_LIMIT = "time_limit"
    MONEY_LIMIT = "money_limit"
    GAVE_UP = "gave_up"


class Usage(Value):
    """What a call or an episode cost. Tokens as the endpoint counts them; seconds of wall time."""

    calls: int = Field(default=0, ge=0)
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    searches: int = Field(default=0, ge=0)
    seconds: float = Field(default=0.0, ge=0)

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            calls=self.calls + other.calls,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            searches=self.searches + other.searches,
            seconds=self.seconds + other.seconds,
        )


class Question(Value):
    """A task to solve."""

    text: Text = Field(min_length=1)
    caption: Text | None = None
    """What the image shows, at most 50 words (paper 3.1); None without an image."""
    modality: Modality = Modality.TEXT
    category: str = "others"
    id: str | None = None


class Passage(Value):
    """One retrieved text. Untrusted data: it is quoted to models, never obeyed."""

    id: str
    title: Text = ""
    text: Text
    url: str | None = None
    source: str = "corpus"
    """Which engine gave it: "corpus", "ddgs", "serper", ..."""
    origin: Origin = Origin.FILE
    score: float = 0.0
    published: Text = ""
    """When, in the words of the engine; empty when it says nothing."""


class Step(Value):
    """One tool call of a run and what came back."""

    thought: Text = ""
    """The agent's own words: kept for reading, never evidence."""
    tool: str = "search"
    query: Text = ""
    passages: tuple[Passage, ...] = ()
    observation: Text = ""
    """Free text where the host kept no passages."""
    error: Text | None = None
    """Why the call failed; an error is not evidence."""
    plan_index: int = Field(default=0, ge=0)
    """Which plan the step ran under: 0 the first, 1 after the one replan."""


class Trajectory(Value):
    """What was done for one question, in order, and the answer it led to."""

    steps: tuple[Step, ...] = ()
    answer: Text = ""
    stop: StopReason = StopReason.ANSWERED
    cites: tuple[str, ...] = ()
    """Ids of passages of its steps that the answer names as its sources."""


class Plan(Value):
    """Numbered steps for the Executor."""

    steps: tuple[Text, ...] = Field(min_length=1)
    memory_ids: tuple[str, ...] = ()
    """The units that were shown when it was written: they get the credit."""
    brain: str = "none"
    """Who wrote it: "endpoint", "host" or "memory"."""
    prompt_digest: str | None = None

    @property
    def text(self) -> str:
        """The steps as the Executor reads them."""
        return "\n".join(f"{number}. {step}" for number, step in enumerate(self.steps, 1))


class Provenance(Value):
    """Where a unit came from; enough to trace it back and to distrust it later."""

    origins: tuple[Origin, ...] = (Origin.OWN_RUN,)
    parents: tuple[Text, ...] = ()
    """Ids of the units that were shown to the run this unit was made of."""
    sources: tuple[Text, ...] = ()
    """Urls or passage ids its run read."""
    principal: Text = "local"
    judged_by: Text = "none"
    """"user", "gold", "panel", "evidence", "host" or "none"."""
    trail: tuple[Text, ...] = ()
    """Its run's tool calls, `tool: query -> passage ids`. For people who trace a unit; no model reads it."""


class Feedback(Value):
    """What a user said about a unit, or about the run it came from."""

    good: bool
    note: Text = ""
    at: datetime = Field(default_factory=utc_now)


class MemoryUnit(Value):
    """One remembered run: the question's shape, the workflow that was tried, and how it ended."""

    id: str = Field(default_factory=lambda: new_id("mem"))
    question: Text = Field(min_length=1)
    workflow: Text = Field(min_length=1)
    """Numbered steps, `purpose (input -> output)`; no facts that could leak the answer."""
    caption: Text | None = None
    modality: Modality = Modality.TEXT
    category: Text = "others"
    plan: Text = ""
    outcome: Outcome | None = None
    """None until somebody judged it: such a unit is kept, but shown neither as success nor as failure."""
    uses: int = Field(default=0, ge=0)
    """How often it was shown to a run whose outcome is known (paper: u)."""
    wins: int = Field(default=0, ge=0)
    """How many of those runs were right (paper: s)."""
    feedback: tuple[Feedback, ...] = ()
    provenance: Provenance = Provenance()
    namespace: str = "default"
    status: Status = Status.ACTIVE
    steps: int = Field(default=0, ge=0)
    """Length of the run it was made of: the shortest success is the one kept (paper 3.4)."""
    created_at: datetime = Field(default_factory=utc_now)
    updated_at: datetime = Field(default_factory=utc_now)


class Credit(Value):
    """One outcome for one unit that was shown. By id, never by list position (spec 8.1)."""

    unit_id: str
    won: bool


class PlanPair(Value):
    """A good and a bad plan for one question: what the Router learns from (paper's Meta Plan Memory)."""

    id: str = Field(default_factory=lambda: new_id("pair"))
    question: Text = Field(min_length=1)
    good_plan: Text = Field(min_length=1)
    bad_plan: Text = Field(min_length=1)
    caption: Text | None = None
    modality: Modality = Modality.TEXT
    category: str = "others"
    namespace: str = "default"
    created_at: datetime = Field(default_factory=utc_now)
