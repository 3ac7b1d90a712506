"""What a share of so many tries says: its interval (pure)."""

from math import sqrt

__all__ = ["Z95", "wilson"]

Z95 = 1.959964
"""Of a two-sided 95 % interval."""


def wilson(wins: int, count: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a proportion (Wilson 1927); (0, 1) without any outcome."""
    if not count:
        return 0.0, 1.0
    rate, extra = wins / count, z * z / count
    centre = rate + extra / 2
    spread = z * sqrt(rate * (1 - rate) / count + extra / (4 * count))
    return max(0.0, (centre - spread) / (1 + extra)), min(1.0, (centre + spread) / (1 + extra))
