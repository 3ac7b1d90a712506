"""Does the evidence hold back where the claim does not? "May cure" is no "cures"."""

import re
from collections.abc import Iterator, Sequence

from mia_skill.core.verdict import Check, CheckState
from trust.claims import Statement
from trust.lexicon import STOP
from trust.scene import Line, Scene

__all__ = ["MODALITY", "check_modality"]

MODALITY = "modality"
"""Name of the check: unsure where every line that holds the claim says it with a reserve, and the claim has none."""
RESERVE = re.compile(
    r"\b(?:may|(?i:might|could|possibly|perhaps|allegedly|reportedly|supposedly|purportedly|unconfirmed|rumou?red|"
    r"(?:is|are|was|were) (?:said|thought|believed|alleged|rumou?red) to|it (?:is|was) (?:said|thought|believed)|"
    r"some (?:say|claim|believe|argue)|angeblich))\b|可能|或许|据称"
)
"""May is a month, may is not."""
BEFORE = 40
"""Characters before the claim's own words in which a reserve speaks of it."""


def check_modality(scene: Scene, claim: Statement, places: Sequence[int]) -> Iterator[Check]:
    """The check of one claim on the lines it stands in; nothing for a bare answer, which asserts no more than them."""
    if claim.short or not places or RESERVE.search(claim.text):
        return
    found = [_reserve(scene, scene.lines[place], claim) for place in places]
    if all(found):
        yield Check(name=MODALITY, state=CheckState.UNSURE, detail=f'the evidence says only "{found[0]}"')


def _reserve(scene: Scene, line: Line, claim: Statement) -> str:
    own = [word for word in line.words if word.stem in claim.stems - STOP]
    if not own:
        return ""
    start = max(line.start, own[0].start - BEFORE)
    match = RESERVE.search(scene.items[line.item].text[start : own[-1].end])
    return match.group() if match else ""
