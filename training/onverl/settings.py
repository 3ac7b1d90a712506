"""The `mia` part of a veRL run's settings: read once per rollout, checked before the run."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mia_skill.core.config import BudgetConfig, EndpointConfig
from mia_skill.core.errors import ConfigError
from training.guards import GuardLimits

__all__ = ["LoopSettings", "ServiceLimits", "read_limits", "read_settings"]

Form = TypeVar("Form", bound=BaseModel)


class ServiceLimits(BaseModel):
    """How services outside the trainer are treated."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    calls: int = Field(default=64, ge=1)
    """At once, from one worker; more rollouts than that wait (back-pressure)."""
    call_s: float = Field(default=30.0, gt=0)
    """One call."""
    pause_s: float = Field(default=5.0, ge=0)
    """Between two tries of a service that is down. The rollouts wait, so the run pauses."""
    patience_s: float = Field(default=1800.0, ge=0)
    """After so long the waiting rollouts end without a sample; `mia_guards.most_lost` stops the run then."""


class LoopSettings(BaseModel):
    """What an episode in training may use."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    search: str = "row"
    """A `/retrieve` address, `world:SEED:SIZE`, or "row": each row names its own."""
    k: int = Field(default=3, ge=1, le=100)
    limits: BudgetConfig = BudgetConfig(steps=10, searches=10, seconds=86_400)
    """Of one episode (paper: at most 10 tool turns). No wall time: a reward must not depend on a busy machine."""
    reply_tokens: int = Field(default=512, ge=8)
    """Of one reply of the trained model."""
    other: EndpointConfig | Literal["policy"] | None = None
    """The frozen agent. "policy": the served policy itself plays it, and none of its tokens are trained on."""
    judge: EndpointConfig | None = None
    """A grader that is shown the gold answer, for answers in other words than the gold's; None: the same words."""
    services: ServiceLimits = ServiceLimits()
    executor_variant: Literal["paper", "without_tool"] = "paper"
    """How the Executor is paid: by eq. 2, or without its term for tool calls."""
    planner_variant: Literal["paper", "unsupervised"] = "paper"
    """How the Planner is paid: by eq. 4, or as the published unsupervised code does (0.9 correct + 0.1 format)."""


def read_settings(given: Mapping[str, Any] | None) -> LoopSettings:
    """The settings under `mia`. Raises: ConfigError: a key is unknown or a value cannot be used."""
    return read_part("mia", LoopSettings, given)


def read_limits(given: Mapping[str, Any] | None) -> GuardLimits:
    """The limits under `mia_guards`. Raises: ConfigError: a key is unknown or a value cannot be used."""
    return read_part("mia_guards", GuardLimits, given)


def read_part(part: str, form: type[Form], given: Mapping[str, Any] | None) -> Form:
    """One part of a run's settings.

    Raises:
        ConfigError: a key is unknown or a value cannot be used; the message names it and the known ones.
    """
    try:
        return form.model_validate(given or {})
    except ValidationError as cause:
        problem = cause.errors(include_url=False, include_context=False)[0]
        where = ".".join([part, *map(str, problem["loc"])])
        known = ", ".join(form.model_fields)
        raise ConfigError(f"{where}: {problem['msg']} (keys of {part}: {known})") from None
