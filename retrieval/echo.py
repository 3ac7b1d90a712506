"""Is this a new lesson, or recalled text coming back? (pure)

Memory that stores what it was shown grows rumours: each copy looks like one more witness.
"""

import re
from collections.abc import Iterable, Sequence

from mia_skill.core.types import MemoryUnit

__all__ = ["echoed", "repeats_text"]

WORD = re.compile(r"\w+")
RUN = 4
"""Words in a row that are compared."""
SHARE = 0.9
"""Share of a text's word runs that stand in the recalled one, from which on it is that text again."""


def words(text: str) -> list[str]:
    return WORD.findall(text.casefold())


def runs(said: Sequence[str]) -> set[tuple[str, ...]]:
    return {tuple(said[at : at + RUN]) for at in range(max(1, len(said) - RUN + 1))}


def repeats_text(text: str, shown: str) -> bool:
    """Does `text` say nothing but what `shown` says?"""
    mine = words(text)
    if not mine:
        return False
    own = runs(mine)
    return len(own & runs(words(shown))) >= SHARE * len(own)


def echoed(unit: MemoryUnit, parents: Iterable[MemoryUnit]) -> MemoryUnit | None:
    """The parent whose text `unit` repeats, if it does.

    The very same text is an echo whatever its run read. A near copy is one only where the run read nothing itself:
    who follows a workflow and reads the sources has a lesson of his own, however alike its wording is.
    """
    said = words(unit.workflow)
    for parent in parents:
        if parent.outcome is not unit.outcome or parent.namespace != unit.namespace:
            continue
        if said == words(parent.workflow):
            return parent
        if not unit.provenance.sources and repeats_text(unit.workflow, parent.workflow):
            return parent
    return None
