"""What a check found."""

from typing import Literal

from mia_skill.core.types import Value

__all__ = ["Finding"]


class Finding(Value):
    """One thing looked at."""

    part: str
    state: Literal["ok", "off", "problem"]
    """"off" is fine: it is simply not configured."""
    detail: str
    fix: str = ""
