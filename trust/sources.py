"""How many independent voices there are: copies and pages of one site count once (facts/trust 4.6)."""

from collections.abc import Sequence

from trust.items import Item
from trust.words import terms

__all__ = ["clusters"]

SHINGLE = 5
SAME = 0.5
"""Share of common shingles from which on two texts are one."""
READ_CHARS = 6000


def clusters(items: Sequence[Item]) -> tuple[int, ...]:
    """For each item the number of the first item that it is a copy of, or shares a site with."""
    shingles = [_shingles(item.text[:READ_CHARS]) for item in items]
    group = list(range(len(items)))
    for place, item in enumerate(items):
        for earlier in range(place):
            same_site = bool(item.domain) and item.domain == items[earlier].domain
            if same_site or _alike(shingles[place], shingles[earlier]):
                group[place] = group[earlier]
                break
    return tuple(group)


def _shingles(text: str) -> frozenset[tuple[str, ...]]:
    found = terms(text)
    return frozenset(found[n : n + SHINGLE] for n in range(max(1, len(found) - SHINGLE + 1)))


def _alike(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> bool:
    return len(one & other) >= SAME * max(1, min(len(one), len(other)))
