"""The sources that an answer names: ids in square brackets, checked against what the run has read."""

import re
from collections.abc import Sequence

from mia_skill.core.types import Step

__all__ = ["cited"]

MARK = re.compile(r"\s*\[([^\[\]]{1,400})\]\s*$")
SEPARATOR = re.compile(r"[,;\s]+")


def cited(answer: str, steps: Sequence[Step]) -> tuple[str, tuple[str, ...]]:
    """The answer without the ids at its end, and those of them that the run has read, in their order.

    Brackets that hold anything but ids of this run belong to the answer and stay; ids that were never read are not
    taken over.
    """
    known = {passage.id for step in steps for passage in step.passages}
    found: list[str] = []
    while mark := MARK.search(answer):
        ids = [one for one in SEPARATOR.split(mark.group(1)) if one]
        if not any(one in known for one in ids):
            break
        found = [*(one for one in ids if one in known), *found]
        answer = answer[: mark.start()]
    return answer.strip(), tuple(dict.fromkeys(found))
