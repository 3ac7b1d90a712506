"""What an update learns from: rollouts of one question, in one group; and who updates (spec sections 3 and 4)."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import Field

from mia_skill.core.types import Text, Value

__all__ = ["Group", "NullUpdater", "Rollout", "Tokens", "UpdateStats", "Updater"]


class Tokens(Value):
    """One conversation token by token, as it was sampled: what is tokenised again can split differently."""

    ids: tuple[int, ...]
    mask: tuple[bool, ...]
    """True exactly where the trained model wrote."""
    logprobs: tuple[float, ...]
    """Under the policy that wrote them; 0 elsewhere. Feedback may come late, and the ratio needs them then."""


class Rollout(Value):
    """One sample of the policy and what it was worth."""

    text: Text
    """What the trained model wrote."""
    reward: float | None = Field(default=None, allow_inf_nan=False)
    """None: nobody could judge it. It moves no weight and counts in no mean."""
    version: int = Field(default=0, ge=0)
    """Of the policy that wrote it."""
    tokens: tuple[Tokens, ...] = ()
    """Its conversations; empty for policies that know only texts."""


class Group(Value):
    """All rollouts of one question. Advantages are taken within it, so it is never split."""

    key: str
    prompt: Text
    rollouts: tuple[Rollout, ...]

    @property
    def rewarded(self) -> bool:
        """Has any of its rollouts a reward?"""
        return any(one.reward is not None for one in self.rollouts)

    @property
    def teaches(self) -> bool:
        """Are there two judged rollouts that differ in reward? Else every advantage is zero."""
        return len({one.reward for one in self.rollouts if one.reward is not None}) > 1


class UpdateStats(Value):
    """What one update did."""

    version: int = Field(ge=0)
    """Of the policy after it."""
    groups: int = Field(default=0, ge=0)
    """Groups that could teach something."""
    samples: int = Field(default=0, ge=0)
    masked: int = Field(default=0, ge=0)
    """Samples without a reward."""
    metrics: dict[str, float] = Field(default_factory=dict)


class Updater(Protocol):
    """Changes a Planner by what its rollouts were worth. All of an update counts, or nothing of it."""

    @property
    def name(self) -> str:
        """For reports."""
        ...

    async def update(self, groups: Sequence[Group], /) -> UpdateStats:
        """One update.

        Raises:
            MiaError: it failed; the Planner is what it was.
        """
        ...


class NullUpdater:
    """Learns no weights: memory alone changes. Counts what an update would have seen."""

    name = "null"

    def __init__(self) -> None:
        self.seen: list[tuple[Group, ...]] = []

    async def update(self, groups: Sequence[Group], /) -> UpdateStats:
        """Nothing is changed, and the version says so."""
        self.seen.append(tuple(groups))
        return stats_of(groups, version=0)


def stats_of(groups: Sequence[Group], *, version: int, metrics: Mapping[str, float] | None = None) -> UpdateStats:
    """The counts of an update."""
    rollouts = [one for group in groups for one in group.rollouts]
    return UpdateStats(
        version=version,
        groups=sum(group.teaches for group in groups),
        samples=len(rollouts),
        masked=sum(one.reward is None for one in rollouts),
        metrics=dict(metrics or {}),
    )
