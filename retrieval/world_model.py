"""The world behind the pages: entities of twelve types and the facts that hold between them."""

from bisect import bisect_right
from collections.abc import Iterator
from random import Random
from typing import Literal, get_args

from mia_skill.core.types import Value
from retrieval.world_names import Namer

__all__ = ["Entity", "Fact", "Graph", "Kind", "build_graph", "mention"]

Kind = Literal[
    "country",
    "city",
    "river",
    "person",
    "company",
    "university",
    "book",
    "team",
    "mineral",
    "ship",
    "festival",
    "bridge",
]
SHARES: dict[Kind, float] = {
    "country": 0.035,
    "city": 0.15,
    "river": 0.07,
    "person": 0.31,
    "company": 0.10,
    "university": 0.05,
    "book": 0.09,
    "team": 0.04,
    "mineral": 0.035,
    "ship": 0.05,
    "festival": 0.035,
    "bridge": 0.035,
}
FEWEST: dict[Kind, int] = {"country": 2, "city": 3, "person": 5}
"""Of the other types there is at least one."""
WITH_ARTICLE = frozenset({"river", "ship", "festival", "bridge", "team"})
COMPANY_TRADES = ("printer", "yard", "works", "works")
BEGINNINGS: tuple[tuple[Kind, str, str], ...] = (
    ("team", "coach", "founded"),
    ("mineral", "discoverer", "discovered"),
    ("festival", "founder", "founded"),
    ("bridge", "designer", "opened"),
)
LANGUAGE_ENDINGS = ("ic", "ish", "ese")


class Entity(Value):
    """Something the encyclopedia has a page on."""

    id: str
    kind: Kind
    name: str
    trait: str = ""
    """Of companies: "printer", "yard" or "works"; of persons: "f" or "m"."""


class Fact(Value):
    """One true statement: `relation` of `subject` is `value`."""

    id: str
    subject: str
    """Entity id."""
    relation: str
    value: str
    """As the pages write it: a name without article, a year, or a number with thousands separators."""
    object: str | None = None
    """Entity id, where the value is an entity."""


def mention(entity: Entity) -> str:
    """The entity's name as it stands inside a sentence."""
    return f"the {entity.name}" if entity.kind in WITH_ARTICLE else entity.name


class Graph:
    """All entities and facts, in the order in which they were made."""

    def __init__(self) -> None:
        self.entities: dict[str, Entity] = {}
        self.facts: dict[str, Fact] = {}
        self._of: dict[str, dict[str, Fact]] = {}
        self._kinds: dict[Kind, list[Entity]] = {kind: [] for kind in get_args(Kind)}
        self._near: dict[tuple[Kind, str], list[Entity]] = {}

    def add(self, kind: Kind, name: str, trait: str = "") -> Entity:
        entity = Entity(id=f"e{len(self.entities):05d}", kind=kind, name=name, trait=trait)
        self.entities[entity.id] = entity
        self._kinds[kind].append(entity)
        for key in gaps(entity):
            self._near.setdefault(key, []).append(entity)
        return entity

    def near(self, entity: Entity) -> list[Entity]:
        """Those of the same kind whose name differs in one letter."""
        return [one for key in gaps(entity) for one in self._near[key] if one.id != entity.id]

    def state(self, subject: Entity, relation: str, value: "Entity | int | str") -> None:
        """Record a fact; lengths and populations are written with separators, years are not."""
        match value:
            case Entity():
                text = value.name
            case int():
                text = f"{value:,}" if relation in COUNTS else str(value)
            case str():
                text = value
        target = value.id if isinstance(value, Entity) else None
        fact = Fact(id=f"f{len(self.facts):05d}", subject=subject.id, relation=relation, value=text, object=target)
        self.facts[fact.id] = fact
        self._of.setdefault(subject.id, {})[relation] = fact

    def of(self, kind: Kind) -> list[Entity]:
        return self._kinds[kind]

    def fact(self, subject: str, relation: str) -> Fact | None:
        """What holds, if anything does."""
        return self._of.get(subject, {}).get(relation)

    def facts_of(self, subject: str) -> list[Fact]:
        return list(self._of.get(subject, {}).values())

    def number(self, subject: Entity, relation: str) -> int:
        """The number behind a fact that must be there."""
        return int(self._of[subject.id][relation].value.replace(",", ""))


def gaps(entity: Entity) -> list[tuple[Kind, str]]:
    """The name with each of its letters left open."""
    name = entity.name
    return [(entity.kind, f"{name[:place]}*{name[place + 1 :]}") for place in range(len(name))]


COUNTS = frozenset({"population", "length"})


def build_graph(random: Random, size: int) -> Graph:
    """About `size` entities, and at least 20."""
    graph = Graph()
    _name_all(graph, random, Namer(random), size)
    for step in (_places, _persons, _universities, _studies, _companies, _books, _others, _ships):
        step(graph, random)
    return graph


def _name_all(graph: Graph, random: Random, namer: Namer, size: int) -> None:
    counts: dict[Kind, int] = {kind: max(FEWEST.get(kind, 1), round(share * size)) for kind, share in SHARES.items()}
    for _ in range(counts["country"]):
        graph.add("country", namer.word("country"))
    for _ in range(counts["city"]):
        graph.add("city", namer.word("city"))
    for name, gender in _people(random, namer, counts["person"]):
        graph.add("person", name, gender)
    for number in range(counts["company"]):
        trade = COMPANY_TRADES[number % len(COMPANY_TRADES)]
        borrowed = random.choice(graph.of("city")).name if random.random() < 0.1 else None
        graph.add("company", namer.suffixed(trade, borrowed), trade)
    suffixed: tuple[Kind, ...] = ("river", "university", "team", "festival", "bridge")
    for kind in suffixed:
        for _ in range(counts[kind]):
            graph.add(kind, namer.suffixed(kind))
    for _ in range(counts["book"]):
        graph.add("book", namer.title("The "))
    for _ in range(counts["ship"]):
        graph.add("ship", namer.title(""))
    for _ in range(counts["mineral"]):
        graph.add("mineral", namer.word("mineral"))


def _people(random: Random, namer: Namer, count: int) -> Iterator[tuple[str, str]]:
    """Full names with "f" or "m"; about two persons share each surname."""
    surnames = [namer.word("surname") for _ in range(max(3, count * 3 // 5))]
    given = {gender: [namer.word(f"given_{gender}") for _ in range(max(6, count // 3))] for gender in "fm"}
    made = 0
    while made < count:
        gender = random.choice("fm")
        name = namer.person(random.choice(surnames), random.choice(given[gender]))
        if name is not None:
            made += 1
            yield name, gender


def _places(graph: Graph, random: Random) -> None:
    countries, cities, rivers = graph.of("country"), graph.of("city"), graph.of("river")
    inside: dict[str, list[Entity]] = {}
    for number, river in enumerate(rivers):
        country = countries[number % len(countries)]
        inside.setdefault(country.id, []).append(river)
        graph.state(river, "country", country)
        graph.state(river, "mouth", random.choice(cities))
        graph.state(river, "length", random.randrange(38, 2_400))
    for number, city in enumerate(cities):
        country = countries[number] if number < len(countries) else random.choice(countries)
        graph.state(city, "country", country)
        graph.state(city, "river", random.choice(inside.get(country.id) or rivers))
        graph.state(city, "population", random.randrange(3_000, 900_000) // 10 * 10)
        graph.state(city, "founded", random.randrange(810, 1590))
    for country, capital in zip(countries, cities, strict=False):
        stem = random.choice(countries).name[:-3].rstrip("aeiou")
        graph.state(country, "capital", capital)
        graph.state(country, "language", stem + random.choice(LANGUAGE_ENDINGS))
        graph.state(country, "independence", random.randrange(1601, 1899))


def _persons(graph: Graph, random: Random) -> None:
    people = graph.of("person")
    for person in people:
        graph.state(person, "birthplace", random.choice(graph.of("city")))
        graph.state(person, "born", random.randrange(1702, 1905))
    by_birth = sorted(people, key=lambda person: graph.number(person, "born"))
    births = [graph.number(person, "born") for person in by_birth]
    for place, person in enumerate(by_birth):
        elders = bisect_right(births, births[place] - 15)
        if elders and random.random() < 0.7:
            graph.state(person, "teacher", by_birth[random.randrange(elders)])
        if place + 1 < len(by_birth) and random.random() < 0.4:
            graph.state(person, "successor", random.choice(by_birth[place + 1 : place + 12]))
    for city in graph.of("city"):
        graph.state(city, "mayor", random.choice(people))
    for country in graph.of("country"):
        graph.state(country, "ruler", random.choice(people))


def _began(graph: Graph, random: Random, subject: Entity, by: str, year: str) -> None:
    """Somebody began it, as a grown-up."""
    founder = random.choice(graph.of("person"))
    graph.state(subject, by, founder)
    graph.state(subject, year, graph.number(founder, "born") + random.randrange(22, 56))


def _universities(graph: Graph, random: Random) -> None:
    for university in graph.of("university"):
        graph.state(university, "city", random.choice(graph.of("city")))
        _began(graph, random, university, "founder", "founded")


def _studies(graph: Graph, random: Random) -> None:
    by_age = sorted(graph.of("university"), key=lambda university: graph.number(university, "founded"))
    opened = [graph.number(university, "founded") for university in by_age]
    for person in graph.of("person"):
        there = bisect_right(opened, graph.number(person, "born") + 20)
        if there and random.random() < 0.85:
            graph.state(person, "university", by_age[random.randrange(there)])


def _companies(graph: Graph, random: Random) -> None:
    for company in graph.of("company"):
        _began(graph, random, company, "founder", "founded")
        graph.state(company, "headquarters", _not_in_name(random, graph.of("city"), company.name))
        graph.state(company, "director", random.choice(graph.of("person")))


def _not_in_name(random: Random, group: list[Entity], name: str) -> Entity:
    """One whose own name the given name does not give away."""
    while (drawn := random.choice(group)).name in name:
        pass
    return drawn


def _books(graph: Graph, random: Random) -> None:
    printers = [company for company in graph.of("company") if company.trait == "printer"]
    for book in graph.of("book"):
        _began(graph, random, book, "author", "published")
        graph.state(book, "publisher", random.choice(printers))


def _others(graph: Graph, random: Random) -> None:
    for kind, by, year in BEGINNINGS:
        for entity in graph.of(kind):
            _began(graph, random, entity, by, year)
            if kind != "bridge":
                graph.state(entity, "city", random.choice(graph.of("city")))
    for bridge in graph.of("bridge"):
        graph.state(bridge, "river", random.choice(graph.of("river")))
        graph.state(bridge, "length", random.randrange(24, 1_450))


def _ships(graph: Graph, random: Random) -> None:
    yards = [company for company in graph.of("company") if company.trait == "yard"] or graph.of("company")
    for ship in graph.of("ship"):
        _began(graph, random, ship, "captain", "launched")
        graph.state(ship, "builder", random.choice(yards))
        graph.state(ship, "length", random.randrange(18, 260))
