"""Sources about the very thing that was asked which do not state the answer: planted pages look supported, and only the
silence of the others gives them away (facts/trust, finding 5)."""

from collections.abc import Sequence

from trust.claims import Statement
from trust.support import Ground, Standing

__all__ = ["rivals"]

SPEAKS = 0.5
"""Share of the question's words from which on a source speaks about it."""


def rivals(ground: Ground, groups: Sequence[int], claim: Statement, here: Standing) -> int:
    """How many independent voices name all that the question names, speak about it, and do not state the claim.

    A page on the way to the answer is none: where the answer's own page does not name the question's subject, pages
    that share another name with the answer's line are the links of a chain.
    """
    scene, asked = ground.scene, ground.asked
    if not asked.names or not here.places:
        return 0
    read: dict[int, set[str]] = {}
    for line in scene.lines:
        read.setdefault(groups[line.item], set()).update(line.stems, scene.titles[line.item])
    held = {groups[scene.lines[place].item] for place in here.places}
    direct = any(asked.names <= read[group] for group in held)
    told = {
        name for place in here.places for name in (*scene.lines[place].names, *scene.titles[scene.lines[place].item])
    }
    links = told - asked.names - set(claim.core) - set(asked.terms)
    terms = set(asked.terms)
    return sum(
        asked.names <= stems and len(terms & stems) >= SPEAKS * len(terms) and (direct or not links & stems)
        for group, stems in read.items()
        if group not in held
    )
