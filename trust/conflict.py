"""The same sentence with another value in another source: one of the two was altered, and words cannot tell which."""

from trust.claims import Statement
from trust.lexicon import STOP
from trust.scene import Line, Scene
from trust.support import PRESENT, Ground, Standing, presence

__all__ = ["altered_copies"]

FRAME = 0.7
"""Share of a sentence that must stand in another one for both to be the same statement."""
SMALLEST_FRAME = 3
NEAR_BEST = 0.85
"""Only sentences that speak about the question nearly as well as the best one are compared."""


def altered_copies(ground: Ground, claim: Statement, here: Standing) -> tuple[int, ...]:
    """Lines of other sources that repeat a line of the claim, with something else of its kind in its place."""
    if here.place < 0 or here.presence < PRESENT or not claim.core:
        return ()
    scene = ground.scene
    core = frozenset(claim.core)
    least = NEAR_BEST * ground.near[here.place]
    frames = [
        (scene.lines[place], scene.lines[place].stems - core - STOP)
        for place in here.places
        if ground.near[place] >= least
    ]
    found = []
    for place, line in enumerate(scene.lines):
        alike = any(_copies(own, frame, line, core) and _one_subject(scene, own, line) for own, frame in frames)
        if alike and presence(scene, place, claim) < PRESENT:
            found.append(place)
    return tuple(found)


def _copies(own: Line, frame: frozenset[str], line: Line, core: frozenset[str]) -> bool:
    if own.item == line.item or len(frame) < SMALLEST_FRAME or len(frame & line.stems) < FRAME * len(frame):
        return False
    new = line.stems - own.stems - STOP
    if any(stem[:1].isdigit() for stem in core):
        return any(stem[:1].isdigit() for stem in new)
    return bool(new & line.names)


def _one_subject(scene: Scene, own: Line, line: Line) -> bool:
    """ "Its length is 488 km" on the pages of two rivers is no contradiction: pages of different titles speak of
    different things, unless one of the lines names the other's title."""
    one, other = scene.titles[own.item], scene.titles[line.item]
    if not one or not other or one <= other or other <= one:
        return True
    return one <= line.stems or other <= own.stems
