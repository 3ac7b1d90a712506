"""When a run has gone wrong, in figures: not a number, collapsed entropy or reward, replies at their limit, silence.

Searching agents trained with GRPO collapse after some hundred steps (spec section 9): the entropy falls to nothing or
explodes, every reply runs into its limit, no rollout of a group differs any more, the model stops to search.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from mia_skill.core.errors import MiaError

__all__ = ["Guard", "GuardLimits", "RunStopped"]


class RunStopped(MiaError):
    """A guard ended the run; the message names the checkpoint to resume from."""


class GuardLimits(BaseModel):
    """When to stop. None switches a guard off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    patience: int = Field(default=3, ge=1)
    """Steps in a row; a number that is not finite and a step without a sample stop at once."""
    most_lost: float | None = Field(default=1.0, gt=0)
    """Batches of questions that gave no sample at all, within one step; their like would be asked for ever."""
    idle: int | None = Field(default=None, ge=1)
    """Steps in a row in which all rewards of every group are equal: they teach nothing."""
    least_entropy: float | None = 0.005
    """Nats a token: below it the policy says one thing only."""
    most_entropy: float | None = 6.0
    """Above it the policy says anything."""
    most_length: float | None = None
    """Written tokens a rollout; a policy that writes more has begun to ramble."""
    most_cut: float | None = 0.6
    """Share of replies that ran into their limit."""
    reward_drop: float | None = 0.5
    """A fall of the mean reward, as a share of its best mean over `window` steps."""
    window: int = Field(default=10, ge=2)
    least_searches: float | None = None
    """Searches a rollout: a policy without the tool's reward stops to search."""
    most_drift: float | None = 0.3
    """Mean difference in probability of a token between the sampler and the trainer."""


@dataclass
class Guard:
    """Looks at the figures of each step."""

    limits: GuardLimits = field(default_factory=GuardLimits)
    _bad: dict[str, int] = field(default_factory=dict, repr=False)
    _rewards: deque[float] = field(init=False, repr=False)
    _best: float = field(default=-math.inf, repr=False)

    def __post_init__(self) -> None:
        self._rewards = deque(maxlen=self.limits.window)

    def look(self, figures: Mapping[str, float]) -> str | None:
        """Why the run must stop, or None.

        Figures: samples, flat (share of groups with equal rewards), entropy, reward, length, cut, searches, drift,
        grad_norm, loss. A figure that is left out is not looked at.
        """
        if figures.get("samples") == 0:
            return "every rollout was lost: see the reasons in the log, nothing can be learnt"
        wild = [name for name, value in figures.items() if not math.isfinite(value)]
        if wild:
            return f"not a number: {', '.join(sorted(wild))}"
        for name, why in self._complaints(figures).items():
            self._bad[name] = self._bad.get(name, 0) + 1 if why else 0
            patience = self.limits.patience if name != "flat" else self.limits.idle
            if patience is not None and self._bad[name] >= patience:
                return f"{why}, for {self._bad[name]} steps in a row"
        return None

    def _complaints(self, figures: Mapping[str, float]) -> dict[str, str]:
        limits = self.limits
        found = {
            "flat": "no group had rewards that differ: nothing is left to learn here" if alike(figures) else "",
            "entropy low": below(figures, "entropy", limits.least_entropy),
            "entropy high": above(figures, "entropy", limits.most_entropy),
            "length": above(figures, "length", limits.most_length),
            "cut": above(figures, "cut", limits.most_cut),
            "searches": below(figures, "searches", limits.least_searches),
            "drift": above(figures, "drift", limits.most_drift),
            "reward": "",
        }
        if "reward" in figures:
            found["reward"] = self._fallen(figures["reward"])
        return found

    def _fallen(self, reward: float) -> str:
        self._rewards.append(reward)
        if self.limits.reward_drop is None or len(self._rewards) < self.limits.window:
            return ""
        mean = sum(self._rewards) / len(self._rewards)
        self._best = max(self._best, mean)
        if mean < self._best * (1 - self.limits.reward_drop):
            return f"the mean reward fell to {mean:.3f} from {self._best:.3f}"
        return ""


def alike(figures: Mapping[str, float]) -> bool:
    return figures.get("flat", 0.0) >= 1


def below(figures: Mapping[str, float], name: str, least: float | None) -> str:
    value = figures.get(name)
    return f"{name} {value:.4g} is below {least:g}" if value is not None and least is not None and value < least else ""


def above(figures: Mapping[str, float], name: str, most: float | None) -> str:
    value = figures.get(name)
    return f"{name} {value:.4g} is above {most:g}" if value is not None and most is not None and value > most else ""
