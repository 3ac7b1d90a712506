"""How well the evidence carries a claim: does it stand there, and does it stand where the question is answered?"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from trust.claims import Statement
from trust.lexicon import NUMBER_WORDS, STOP
from trust.quantity import dates, quantities, same_date, same_quantity
from trust.question import Asked
from trust.scene import Line, Scene

__all__ = ["Ground", "Standing", "presence", "stand"]

BESIDE, TITLE, LINKED = 0.6, 0.7, 0.5
"""What a question word counts that stands in the neighbouring line, the title, or a line about the same name."""
UNREAD = 0.5
"""What a question word counts that stands in no evidence at all: it may only be worded otherwise."""
LINKS = 12
"""Lines followed from one line by the names it shares with them."""
MOST_PLACES = 200
PRESENT = 0.75
"""Share of the claim's words from which on it stands in a line."""


@dataclass(frozen=True)
class Ground:
    """The evidence seen from a question: how much of it each line and its surroundings speak about."""

    scene: Scene
    asked: Asked

    @cached_property
    def weights(self) -> dict[str, float]:
        """How much each question word tells: rare words and names more."""
        return {
            term: self.scene.rarity(term) * (1.5 if term in self.asked.names else 1.0)
            for term in self.asked.terms
            if term in self.scene.vocabulary
        }

    @cached_property
    def addressed(self) -> float:
        """Which share of the question's words stands anywhere in the evidence."""
        return len(self.weights) / len(self.asked.terms) if self.asked.terms else 0.0

    @cached_property
    def total(self) -> float:
        """All weights together, those of words that stand nowhere by half; never 0."""
        lost = sum(self.scene.rarity(term) for term in self.asked.terms if term not in self.weights)
        return (sum(self.weights.values()) + UNREAD * lost) or 1.0

    @cached_property
    def near(self) -> tuple[float, ...]:
        """Per line: share of the question in it and around it, 0 to 1."""
        return tuple(self._near(place) for place in range(len(self.scene.lines)))

    def _near(self, place: int) -> float:
        lines = self.scene.lines
        line = lines[place]
        around: set[str] = set()
        for other in (place - 1, place + 1):
            if 0 <= other < len(lines) and lines[other].item == line.item:
                around |= lines[other].stems
        title = self.scene.titles[line.item]
        return sum(weight * _nearest(term, line, title, around) for term, weight in self.weights.items()) / self.total

    def context(self, place: int, without: frozenset[str] = frozenset()) -> float:
        """Share of the question that line `place` speaks about, followed one step along the names it shares."""
        line = self.scene.lines[place]
        bridges = [one for one in line.names if one not in self.weights and one not in without]
        bridges.sort(key=lambda one: (-self.scene.rarity(one), one))
        linked: set[str] = set()
        followed = 0
        for bridge in bridges[:8]:
            for other in self.scene.places[bridge]:
                if other != place and followed < LINKS:
                    linked |= self.scene.lines[other].stems | self.scene.titles[self.scene.lines[other].item]
                    followed += 1
        missing = sum(weight for term, weight in self.weights.items() if term in linked and term not in line.stems)
        return min(1.0, self.near[place] + LINKED * missing / self.total)


@dataclass(frozen=True)
class Standing:
    """Where a claim stands best."""

    presence: float
    """Share of it that stands in the line, 0 to 1."""
    context: float
    """Share of the question that is spoken about there."""
    place: int
    """The line; -1 when there is none."""
    places: tuple[int, ...] = ()
    """Every line it stands in."""

    @property
    def score(self) -> float:
        """Both together."""
        return self.presence * self.context


def stand(ground: Ground, claim: Statement) -> Standing:
    """The line that carries `claim` best."""
    scene = ground.scene
    best, best_rank = Standing(0.0, 0.0, -1), (-1.0, 0)
    found: list[int] = []
    core = frozenset(claim.core)
    said = claim.stems - STOP
    for place in candidates(scene, claim):
        present = presence(scene, place, claim)
        if present >= PRESENT:
            found.append(place)
        alike = 0.0 if claim.short or not said else len(said & scene.lines[place].stems) / len(said)
        if present < best.presence * 0.6 and alike * 0.5 < best_rank[0]:
            continue
        context = ground.context(place, core)
        rank = (present * (0.3 + context) + 0.5 * alike, -place)
        if rank > best_rank:
            best, best_rank = Standing(present, context, place), rank
    return Standing(best.presence, best.context, best.place, tuple(sorted(found)))


def candidates(scene: Scene, claim: Statement) -> Sequence[int]:
    """Lines that share anything with the claim, the most first; every line with a figure when it holds figures."""
    found: dict[int, int] = {}
    wanted = claim.core if claim.short and claim.core else tuple(sorted(claim.stems - STOP))
    for stem in wanted:
        for place in scene.places.get(stem, ()):
            found[place] = found.get(place, 0) + 1
    if claim.dates or claim.quantities:
        for place, line in enumerate(scene.lines):
            if place not in found and any(one.stem[:1].isdigit() or one.stem in NUMBER_WORDS for one in line.words):
                found[place] = 1
    return sorted(found, key=lambda place: (-found[place], place))[:MOST_PLACES]


def presence(scene: Scene, place: int, claim: Statement) -> float:
    """Share of the claim that stands in the line: words by rarity, numbers and dates by value."""
    line = scene.lines[place]
    plain = tuple(one for one in claim.core if one not in claim.figures)
    if not claim.core and not claim.figures:
        plain = tuple(sorted(claim.stems - STOP))
    held = total = 0.0
    for stem in plain:
        weight = scene.rarity(stem)
        total += weight
        held += weight if stem in line.stems else 0.0
    if claim.dates or claim.quantities:
        each = 3.0 if claim.short else 2.0
        values = _values(scene.text(line), claim)
        total += each * len(values)
        held += each * sum(values)
    return held / total if total else 0.0


def _values(text: str, claim: Statement) -> list[bool]:
    read_dates, read_numbers = dates(text), quantities(text)
    held = [any(same_date(one, other) for other in read_dates) for one in claim.dates]
    return held + [any(same_quantity(one, other) for other in read_numbers) for one in claim.quantities]


def _nearest(term: str, line: Line, title: frozenset[str], around: set[str]) -> float:
    if term in line.stems:
        return 1.0
    if term in title:
        return TITLE
    return BESIDE if term in around else 0.0
