"""Ways through the evidence: from what the question names, along shared names, to the line that holds an answer.

A question of several steps is answered by no single line. A way starts at a line about a name of the question, goes on
to lines about a name it read there, and must cover more of the question with each step. An answer that stands at the
end of the best way answers the question; one that stands beside it does not.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from trust.claims import Statement
from trust.support import Ground, Standing

__all__ = ["Ways"]

STEPS = 4
WIDTH = 60
"""Lines that are followed on at each step, the best first."""
LINKS = 12
"""A name that stands in more lines than this leads nowhere."""
TIRING = 0.96
"""What a way counts for each further step."""
OWN_PAGE = 1.05
"""What a line counts more when its page is about the name that led there, or that the question names."""


@dataclass(frozen=True)
class Ways:
    """The best way to each line of the evidence."""

    ground: Ground

    @cached_property
    def reach(self) -> tuple[float, ...]:
        """Per line the share of the question that the best way to it covers, 0 to about 1; 0 where none leads."""
        best = [0.0] * len(self.ground.scene.lines)
        front: dict[int, int] = {}
        for place in self._starts():
            mask = self._masks[place]
            best[place] = self._worth(mask) * self._own(place, self.ground.asked.names)
            front[place] = mask
        discount = 1.0
        for _ in range(STEPS - 1):
            discount *= TIRING
            front = self._further(front, best, discount)
            if not front:
                break
        return tuple(best)

    def lead(self, claim: Statement, here: Standing) -> float:
        """How much further the best way to the claim reaches than the best way to any other value of its form."""
        holding = set(here.places) or {here.place}
        asked = self.ground.asked.terms
        others = 0.0
        for place, line in enumerate(self.ground.scene.lines):
            if place in holding or self.reach[place] <= others:
                continue
            figure = any(one.stem[:1].isdigit() for one in line.words)
            if figure if claim.figures else line.names.difference(asked):
                others = self.reach[place]
        return max((self.reach[place] for place in holding), default=0.0) - others

    def _further(self, front: dict[int, int], best: list[float], discount: float) -> dict[int, int]:
        """One step on from `front`; `best` is raised in place."""
        reached: dict[int, int] = {}
        worth: dict[int, float] = {}
        for place in sorted(front, key=lambda one: (-best[one], one))[:WIDTH]:
            mask = front[place]
            for other, own in self._linked(place):
                gained = mask | self._masks[other]
                if gained == mask:
                    continue
                value = self._worth(gained) * discount * (OWN_PAGE if own else 1.0)
                if value > max(best[other], worth.get(other, 0.0)):
                    reached[other], worth[other] = gained, value
        for other, value in worth.items():
            best[other] = value
        return reached

    def _starts(self) -> Iterator[int]:
        names = self.ground.asked.names & self.ground.weights.keys()
        for place, line in enumerate(self.ground.scene.lines):
            if not names or names & (line.stems | self.ground.scene.titles[line.item]):
                yield place

    def _linked(self, place: int) -> Iterator[tuple[int, bool]]:
        """Lines about a name of this line that the question does not know, and whether they stand on its own page."""
        scene = self.ground.scene
        line = scene.lines[place]
        told = line.names | scene.titles[line.item]
        fresh = [one for one in told if one not in self.ground.weights]
        seen: set[int] = {place}
        for item, title in enumerate(scene.titles):
            if title and title <= told | line.stems and title - self.ground.weights.keys():
                for other in self._of_item[item]:
                    if other not in seen:
                        seen.add(other)
                        yield other, True
        for stem in fresh:
            where = scene.places.get(stem, ())
            if len(where) <= LINKS:
                for other in where:
                    if other not in seen:
                        seen.add(other)
                        yield other, False

    def _own(self, place: int, names: frozenset[str]) -> float:
        return OWN_PAGE if names & self.ground.scene.titles[self.ground.scene.lines[place].item] else 1.0

    def _worth(self, mask: int) -> float:
        return (
            sum(weight for bit, weight in enumerate(self.ground.weights.values()) if mask >> bit & 1)
            / self.ground.total
        )

    @cached_property
    def _masks(self) -> tuple[int, ...]:
        """Per line the question's words that it, or the title of its page, holds."""
        bits = {term: 1 << bit for bit, term in enumerate(self.ground.weights)}
        titles = [sum(bits[one] for one in title if one in bits) for title in self.ground.scene.titles]
        return tuple(
            sum(bits[one] for one in line.stems if one in bits) | titles[line.item] for line in self.ground.scene.lines
        )

    @cached_property
    def _of_item(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = defaultdict(list)
        for place, line in enumerate(self.ground.scene.lines):
            found[line.item].append(place)
        return found
