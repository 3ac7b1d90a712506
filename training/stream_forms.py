"""What the streaming trainer's clients send, and what they are told (spec section 11, and routes of our own)."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from mia_skill.core.types import Text

Id = Annotated[str, Field(min_length=1, max_length=200)]
MOST_ENTRIES = 10_000


class Taken(BaseModel):
    """Base of what clients send: what is not known is passed over, as upstream's servers do."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Asked(Taken):
    data_id: Id
    question: Text = Field(min_length=1)
    model: str | None = None
    """If given, it must be the one served here."""


class SubmitSample(Taken):
    rollout: Asked | None = None
    epoch: int = 0
    finish: bool = False
    flush_partial: bool = False


class SubmitBatch(Taken):
    rollouts: Annotated[list[Asked], Field(max_length=256)]


class Gold(Taken):
    data_id: Id
    ground_truth: Text


class Golds(Taken):
    entries: Annotated[list[Gold], Field(max_length=MOST_ENTRIES)]


class ToScore(Taken):
    data_id: Id
    solution_str: Text
    question: Text = ""


class Pictures(Taken):
    data_id: Id
    images: list[JsonValue]


class PictureEntries(Taken):
    entries: Annotated[list[Pictures], Field(max_length=256)]


class Said(Taken):
    id: Id
    ticket: str
    rewards: list[Annotated[float, Field(allow_inf_nan=False)] | None]


class Back(Taken):
    version: int = Field(ge=0)


class Health(BaseModel):
    """State of the trainer; upstream's names first."""

    status: Literal["ok", "degraded"]
    """degraded: the last update or reward failed, or whoever rewards is not believed; serving goes on."""
    global_steps: int
    total_training_steps: int
    train_batch_size: int
    rollout_n: int
    rollout_buffer_len: int
    model: str
    version: int
    """That answers now."""
    latest: int
    kept_versions: tuple[int, ...]
    """That `/v1/rollback` can go to."""
    samples: int
    under_way: int
    """Requests being answered."""
    waiting: int
    """Samples not learnt from yet; with `most_waiting` of them the next one is refused."""
    most_waiting: int
    let_go: int
    """Samples whose feedback never came."""
    updating: bool
    metrics: dict[str, float]
    """Of the last update."""
    recent_reward: float | None
    refused_by_canary: int
    rollbacks: int
    set_aside: int
    """Samples whose updates failed again and again."""
    judge: dict[str, int]
    held: int
    never_learnt: int
    failure: str
    """Of the last update; empty when it went well."""
    unscored: int
    """Samples that the reward function failed for."""
    reward_failure: str


class Replied(BaseModel):
    """Replies to one question, or word of a step."""

    status: Literal["rollout", "step"]
    id: str = ""
    ticket: str = ""
    """To be shown with feedback."""
    texts: tuple[str, ...] = ()
    version: int = 0
    """That wrote them."""
    rewards: tuple[float | None, ...] = ()
    serving: int
    metrics: dict[str, float] = {}
    failure: str = ""
    """Why the update that was due failed; the replies stand."""


class Heard(BaseModel):
    """What became of feedback."""

    status: Literal["accepted", "duplicate", "late"]


class Serving(BaseModel):
    """The version that is served from now on."""

    status: Literal["success"]
    version: int


class Checked(Serving):
    """After a look at rewards and canaries."""

    went_back_to: int | None
