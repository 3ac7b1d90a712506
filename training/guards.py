"""When training must stop: nothing to learn from, noise, rambling, collapse. Plain numbers in, a reason out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Seen", "Watch"]

NOISE_NATS = 4.0
LONGEST = 600
"""Written tokens a rollout; a policy that writes more has begun to ramble."""
WINDOW = 5
"""Steps over which a reward is averaged before it is compared."""
KEPT = 0.6
"""The share of its best mean reward that a policy must keep."""


@dataclass(frozen=True)
class Seen:
    """One training step, as the guards see it."""

    samples: int
    """Rollouts with a reward."""
    groups: int
    flat: int
    """Groups whose rewards are all equal: they teach nothing."""
    reward: float
    entropy: float
    grad_norm: float
    length: float
    """Written tokens a rollout."""


@dataclass
class Watch:
    """Looks at every step of one stage."""

    patience: int = 8
    """Steps in a row that teach nothing before training stops."""
    rewards: list[float] = field(default_factory=list)
    best: float = 0.0
    idle: int = 0

    def alarm(self, step: Seen) -> str:
        """Why training must stop; empty when all is well."""
        if not step.samples:
            return "every rollout was lost: see the reasons in the log, nothing can be learnt"
        if step.grad_norm != step.grad_norm:
            return "the gradient is not a number: lower the learning rate"
        if step.entropy > NOISE_NATS:
            return f"the entropy rose above {NOISE_NATS} nats: the policy writes noise; lower the learning rate"
        if step.length > LONGEST:
            return f"rollouts are {step.length:.0f} tokens long: the policy rambles"
        self.idle = self.idle + 1 if step.flat == step.groups else 0
        if self.idle >= self.patience:
            return f"no group of the last {self.idle} steps had rewards that differ: nothing is left to learn here"
        return self.collapse(step.reward)

    def collapse(self, reward: float) -> str:
        self.rewards.append(reward)
        recent = mean(self.rewards[-WINDOW:])
        if len(self.rewards) >= WINDOW:
            self.best = max(self.best, recent)
        if recent < KEPT * self.best:
            return (
                f"the reward fell from {self.best:.2f} to {recent:.2f}: the policy collapsed; go on from a checkpoint"
            )
        return ""


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
