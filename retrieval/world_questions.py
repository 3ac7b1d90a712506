"""Questions over the world: chains of one to four hops, comparisons and yes-no questions, in shapes that recur."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Literal, get_args

from mia_skill.core.types import Value
from retrieval.world_asking import RELATIONS, Relation
from retrieval.world_model import Entity, Fact, Graph, Kind, mention
from retrieval.world_shapes import BOTH, CHAINS, CONTESTS, SAME, Contest, Same

__all__ = ["QuestionKind", "WorldQuestion", "ask"]

QuestionKind = Literal["chain", "numeric", "comparison", "yesno"]
FEWEST = 4
"""A shape with fewer questions is left out: memory could not reuse it."""
UNITS = {"river": ("km", "kilometres"), "city": ("inhabitants", "people")}
"""What may follow a number, by what it is said of."""


class WorldQuestion(Value):
    """A question with everything that is needed to grade an answer, and the way to it."""

    id: str
    text: str
    answer: str
    aliases: tuple[str, ...] = ()
    gold_ids: tuple[str, ...]
    """Pages that state the facts, in the order in which they are needed."""
    hops: int
    shape: str
    """Name of the procedure: questions of one shape are solved by the same steps."""
    kind: QuestionKind
    workflow: tuple[str, ...]
    """Steps "purpose (input -> output)" that solve any question of the shape; no names in them."""
    queries: tuple[str, ...]
    """One search per hop that finds its gold page."""
    entities: tuple[str, ...]
    """Names that the question mentions."""


class Draft(Value):
    """A question before it gets its number."""

    asks: tuple[str, ...]
    answer: str
    aliases: tuple[str, ...]
    facts: tuple[Fact, ...]
    starts: tuple[Entity, ...]
    shape: str
    kind: QuestionKind
    workflow: tuple[str, ...]


def ask(graph: Graph, random: Random, pages: dict[str, str], most: int) -> tuple[WorldQuestion, ...]:
    """At most `most` questions of each shape. `pages` gives the page id of each entity id."""
    taken: set[str] = set()
    groups: list[list[WorldQuestion]] = []
    for drafts in all_drafts(graph, random, most):
        group: list[WorldQuestion] = []
        for draft in drafts:
            text = phrased(draft, random, taken)
            if text is not None:
                group.append(finished(graph, pages, draft, text))
            if len(group) == most:
                break
        if len(group) >= FEWEST:
            groups.append(group)
    questions = [question for group in groups for question in group]
    random.shuffle(questions)
    return tuple(one.model_copy(update={"id": f"q{number:05d}"}) for number, one in enumerate(questions))


def all_drafts(graph: Graph, random: Random, most: int) -> Iterator[Iterator[Draft]]:
    """One stream per shape."""
    for path in CHAINS:
        yield chains(graph, random, path)
    for contest in CONTESTS:
        yield contests(graph, random, contest, most)
    for same in SAME:
        yield sames(graph, random, same, most)


def phrased(draft: Draft, random: Random, taken: set[str]) -> str | None:
    """A wording that no question has yet and that does not give the answer away; None when there is none."""
    names_given = draft.kind in ("comparison", "yesno")
    for text in random.sample(draft.asks, len(draft.asks)):
        if text not in taken and (names_given or draft.answer.casefold() not in text.casefold()):
            taken.add(text)
            return text
    return None


def finished(graph: Graph, pages: dict[str, str], draft: Draft, text: str) -> WorldQuestion:
    facts = tuple(dict.fromkeys(draft.facts))
    return WorldQuestion(
        id="",
        text=text,
        answer=draft.answer,
        aliases=draft.aliases,
        gold_ids=tuple(dict.fromkeys(pages[fact.subject] for fact in facts)),
        hops=len(facts),
        shape=draft.shape,
        kind=draft.kind,
        workflow=draft.workflow,
        queries=tuple(f"{(it := graph.entities[fact.subject]).name} {relation(it.kind, fact).noun}" for fact in facts),
        entities=tuple(entity.name for entity in draft.starts),
    )


def relation(kind: Kind, fact: Fact) -> Relation:
    return RELATIONS[kind, fact.relation]


def follow(graph: Graph, start: Entity, path: Sequence[str]) -> tuple[Fact, ...]:
    """The facts along a path; empty when it breaks off or comes back to where it was."""
    facts: list[Fact] = []
    at: Entity | None = start
    seen = {start.id}
    for name in path:
        fact = graph.fact(at.id, name) if at else None
        if fact is None or fact.object in seen:
            return ()
        facts.append(fact)
        at = graph.entities[fact.object] if fact.object else None
        seen |= {fact.object} if fact.object else set()
    return tuple(facts)


def kind_of(word: str) -> Kind:
    return next(kind for kind in get_args(Kind) if kind == word)


def ways(graph: Graph, random: Random, path: str) -> Iterator[tuple[Entity, tuple[Fact, ...]]]:
    """Every entity from which the whole path can be walked, in random order."""
    start, *names = path.split()
    group = graph.of(kind_of(start))
    for entity in random.sample(group, len(group)):
        facts = follow(graph, entity, names)
        if facts:
            yield entity, facts


def chains(graph: Graph, random: Random, path: str) -> Iterator[Draft]:
    """One question per entity from which the path can be walked."""
    for entity, facts in ways(graph, random, path):
        kinds = [graph.entities[fact.subject].kind for fact in facts]
        phrase = mention(entity)
        for kind, fact in zip(kinds[:-1], facts[:-1], strict=True):
            phrase = random.choice(relation(kind, fact).phrases).format(x=phrase)
        last = relation(kinds[-1], facts[-1])
        yield Draft(
            asks=tuple(one.format(x=phrase) for one in last.asks),
            answer=facts[-1].value,
            aliases=aliases(graph, kinds[-1], facts[-1]),
            facts=facts,
            starts=(entity,),
            shape=path.replace(" ", "-"),
            kind="numeric" if facts[-1].object is None and last.gives != "language" else "chain",
            workflow=steps(path),
        )


def steps(path: str, which: str = "") -> tuple[str, ...]:
    """The workflow along a path; `which` tells the two starts of a comparison apart."""
    start, *names = path.split()
    kind, lines = kind_of(start), []
    label = f"{which}{start}"
    for name in names:
        found = RELATIONS[kind, name]
        lines.append(f"find the {found.noun} of the {label} ({label} -> {found.gives})")
        if name != names[-1]:
            kind, label = kind_of(found.gives), f"{which}{found.gives}"
    return tuple(lines)


def aliases(graph: Graph, kind: Kind, fact: Fact) -> tuple[str, ...]:
    """Other ways to write the value."""
    if fact.object is not None:
        entity = graph.entities[fact.object]
        if entity.kind == "river":
            stem = entity.name.removesuffix(" River")
            return (mention(entity), stem, f"River {stem}")
        return (mention(entity),) if mention(entity) != entity.name else ()
    if "length" in fact.relation or "population" in fact.relation:
        return tuple(f"{fact.value} {unit}" for unit in UNITS[kind])
    return ()


def contests(graph: Graph, random: Random, contest: Contest, most: int) -> Iterator[Draft]:
    """Pairs of neighbours in a random order, whose numbers differ."""
    for (one, here), (two, there) in paired(graph, random, contest.path, most):
        values = [int(facts[-1].value.replace(",", "")) for facts in (here, there)]
        if values[0] == values[1]:
            continue
        winner = one if (values[0] > values[1]) == contest.largest else two
        yield Draft(
            asks=tuple(text.format(a=mention(one), b=mention(two)) for text in contest.asks),
            answer=winner.name,
            aliases=(mention(winner),) if mention(winner) != winner.name else (),
            facts=here + there,
            starts=(one, two),
            shape=f"compare-{contest.path.replace(' ', '-')}",
            kind="comparison",
            workflow=(
                *steps(contest.path, "first "),
                *steps(contest.path, "second "),
                f"compare the two {contest.result} ({contest.result} -> answer)",
            ),
        )


def paired(
    graph: Graph, random: Random, path: str, most: int
) -> Iterator[tuple[tuple[Entity, tuple[Fact, ...]], tuple[Entity, tuple[Fact, ...]]]]:
    """Two rounds of random neighbours, no pair twice."""
    met: set[frozenset[str]] = set()
    for _ in range(2):
        found = [way for way, _ in zip(ways(graph, random, path), range(2 * most), strict=False)]
        for one, two in pairwise(found):
            pair = frozenset({one[0].id, two[0].id})
            if pair not in met:
                met.add(pair)
                yield one, two


def sames(graph: Graph, random: Random, same: Same, most: int) -> Iterator[Draft]:
    """As many pairs that lead to one thing as pairs that do not, in turn."""
    found = list(ways(graph, random, same.path))
    meeting: dict[str, list[tuple[Entity, tuple[Fact, ...]]]] = {}
    for way in found:
        meeting.setdefault(str(way[1][-1].object), []).append(way)
    alike = [pair for group in meeting.values() for pair in pairwise(group)]
    apart = [pair for pair in pairwise(found) if pair[0][1][-1].object != pair[1][1][-1].object]
    random.shuffle(alike)
    half = min(len(alike), len(apart), max(1, most // 2))
    for yes, no in zip(alike[:half], apart[:half], strict=True):
        yield agreement(same, *yes, holds=True)
        yield agreement(same, *no, holds=False)


def agreement(
    same: Same, one: tuple[Entity, tuple[Fact, ...]], two: tuple[Entity, tuple[Fact, ...]], *, holds: bool
) -> Draft:
    (a, here), (b, there) = one, two
    return Draft(
        asks=tuple(text.format(a=mention(a), b=mention(b)) for text in same.asks),
        answer=BOTH[holds],
        aliases=(),
        facts=here + there,
        starts=(a, b),
        shape=f"same-{same.path.replace(' ', '-')}",
        kind="yesno",
        workflow=(
            *steps(same.path, "first "),
            *steps(same.path, "second "),
            "check whether the two are the same (both -> answer)",
        ),
    )
