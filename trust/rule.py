"""One kind of steering text, as a pattern."""

import re
from dataclasses import dataclass

__all__ = ["Rule", "rule"]


@dataclass(frozen=True)
class Rule:
    """One kind of steering text."""

    name: str
    severity: str
    pattern: re.Pattern[str]
    anchor: tuple[str, ...] = ()
    """Without one of these in the folded text the pattern cannot match: spares the search."""


def rule(name: str, severity: str, pattern: str, *anchor: str) -> Rule:
    """A rule whose pattern does not care for case."""
    return Rule(name, severity, re.compile(pattern, re.IGNORECASE), anchor)
