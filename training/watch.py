"""Did the rewards fall? Two windows of a stream compared, so that a policy that got worse is gone back from."""

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from statistics import fmean, variance

__all__ = ["RewardWatch"]


@dataclass
class RewardWatch:
    """The mean rewards of the latest samples, each with the version that wrote it.

    Looked at after every sample, so the bound is wide; `python -m benchmarks.watch` prints how often steady rewards
    raise a false alarm, and how soon a fall is noticed.
    """

    window: int = 64
    """Samples of each of the two windows."""
    drop: float = 0.05
    """A fall smaller than this is never acted on."""
    z: float = 4.0
    """One-sided bound on the difference of the means, in its standard errors."""
    _seen: deque[tuple[int, float]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._seen = deque(maxlen=2 * self.window)

    def saw(self, version: int, reward: float) -> None:
        """One sample's mean reward."""
        self._seen.append((version, reward))

    @property
    def seen(self) -> tuple[tuple[int, float], ...]:
        """All that it remembers, oldest first."""
        return tuple(self._seen)

    def clear(self) -> None:
        """Begin anew: what was seen is of versions that are gone."""
        self._seen.clear()

    @property
    def mean(self) -> float | None:
        """Of the latest window; None before the first sample."""
        latest = [reward for _, reward in self._seen][-self.window :]
        return fmean(latest) if latest else None

    @property
    def horizon(self) -> int | None:
        """The earliest version it may yet answer with; None before the first sample."""
        return self._seen[min(self.window, len(self._seen)) - 1][0] if self._seen else None

    @property
    def refuge(self) -> int | None:
        """The version to go back to: the one that wrote when the rewards were still good; None while all is well."""
        if len(self._seen) < 2 * self.window:
            return None
        before = [reward for _, reward in islice(self._seen, self.window)]
        now = [reward for _, reward in islice(self._seen, self.window, None)]
        fall = fmean(before) - fmean(now)
        # Rewards that are all alike have no spread; half a sample's worth keeps the bound from being nothing.
        least = 0.25 / self.window
        error = math.sqrt((variance(before) + variance(now) + 2 * least) / self.window)
        if fall < self.drop or fall - self.z * error <= 0:
            return None
        return self._seen[self.window - 1][0]
