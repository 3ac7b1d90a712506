"""What learners that train in this process share: one trainer, the policy whose weights it has, one step at a time."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Generic, TypeVar

from mia_skill.core.errors import TrainingError, boundary
from training.groups import Group
from training.policy_store import Policy
from training.replies import played_of
from training.rollout import Rollout
from training.tiny import Learner as Tiny

__all__ = ["IDLE", "Stepper", "step"]

Own = TypeVar("Own", bound=Policy)

IDLE: dict[str, Any] = {"sample_batch": 64, "context": 128}
"""Of a trainer that only trains: its own sampler is never asked, so its cache is as small as it gets."""


@dataclass
class Stepper(ABC, Generic[Own]):
    """One GRPO step an update. A subclass says whose policies it trains, and how they get into a trainer and out."""

    _trainer: Tiny | None = field(default=None, init=False, repr=False)
    _holds: Policy | None = field(default=None, init=False, repr=False)
    """The policy whose weights the trainer has; None after a step that broke off."""
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    @abstractmethod
    def own(self, policy: Policy) -> Own:
        """Raises: TrainingError: the policy is not of this learner."""

    @abstractmethod
    def taken(self, policy: Own) -> Tiny:
        """The trainer with the weights of `policy`: of its last step, or taken over with a fresh optimizer."""

    @abstractmethod
    def given(self, trainer: Tiny, before: Own) -> Own:
        """A new policy of the trainer's weights."""

    def update(self, policy: Policy, groups: Sequence[Group]) -> tuple[Policy, dict[str, float]]:
        """One step from `policy`; without an advantage anywhere, the same policy.

        Raises:
            TrainingError: the policy is not of this learner, a rollout has no tokens, or the step is not finite.
        """
        with self._lock:
            before = self.own(policy)
            played = played_of(groups)
            trainer = self.taken(before)
            self._holds = None
            figures = step(trainer, played)
            made = self.given(trainer, before) if figures["rows"] else before
            self._holds = made
            return made, figures


def step(trainer: Tiny, played: list[list[Rollout]]) -> dict[str, float]:
    """One GRPO step, and what it did.

    Raises:
        TrainingError: it failed, or its gradient is not finite: look at what led to it.
    """
    with boundary(TrainingError, "the update", RuntimeError, ValueError):  # out of memory is a RuntimeError
        stats = trainer.update(played)
    if not math.isfinite(stats.grad_norm):
        raise TrainingError("the gradient is not finite: lower the learning rate, or look at the rewards")
    names = ("rows", "tokens", "entropy", "drift", "clipped", "grad_norm", "seconds")
    return {name: float(getattr(stats, name)) for name in names}
