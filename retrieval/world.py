"""A seeded, wholly fictional encyclopedia with questions: nothing in it can be known except by searching.

It is the offline world of the demo, of evaluation and of training. Pages and questions are a function of
(seed, size); the hidden structure (facts, kinds of pages, gold) is never written to the corpus.
"""

import re
import unicodedata
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random

import orjson

from mia_skill.core.errors import InputError
from mia_skill.core.writing import writing
from retrieval.world_model import Entity, Fact, build_graph
from retrieval.world_pages import Page, write_pages
from retrieval.world_questions import WorldQuestion, ask

__all__ = ["Entity", "Fact", "Page", "World", "WorldQuestion", "build_world", "grade"]

SIZES = (20, 100_000)
ENTITIES_PER_QUESTION = 12
FEWEST_PER_SHAPE, MOST_PER_SHAPE = 16, 200


@dataclass(frozen=True)
class World:
    """Everything there is. Compared and written by value; the same seed and size give the same world."""

    seed: int
    entities: tuple[Entity, ...]
    facts: tuple[Fact, ...]
    pages: tuple[Page, ...]
    questions: tuple[WorldQuestion, ...]

    def split(self, train: float = 0.5) -> tuple[tuple[WorldQuestion, ...], tuple[WorldQuestion, ...]]:
        """Two disjoint parts that both have every shape; which part a question is in depends on its id alone.

        Raises:
            InputError: `train` is not between 0 and 1.
        """
        if not 0 < train < 1:
            raise InputError(f"train is {train}: it is the share of the first part, between 0 and 1")
        shapes: dict[str, list[WorldQuestion]] = {}
        for question in self.questions:
            shapes.setdefault(question.shape, []).append(question)
        first: set[str] = set()
        for group in shapes.values():
            mixed = sorted(group, key=lambda one: sha256(one.id.encode()).digest())
            first |= {one.id for one in mixed[: min(len(group) - 1, max(1, round(train * len(group))))]}
        return (
            tuple(one for one in self.questions if one.id in first),
            tuple(one for one in self.questions if one.id not in first),
        )

    def write(self, folder: Path) -> None:
        """`corpus.jsonl` with id, title and text of every page, and `questions.jsonl`.

        Raises:
            UnwritableError: the folder cannot be written.
        """
        corpus = [{"id": page.id, "title": page.title, "text": page.text} for page in self.pages]
        questions = [question.model_dump(mode="json") for question in self.questions]
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name, rows in (("corpus.jsonl", corpus), ("questions.jsonl", questions)):
                (folder / name).write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))


def build_world(seed: int = 7, size: int = 300) -> World:
    """About `size` entities with a page each, half as many other pages, and several hundred questions.

    Raises:
        InputError: `size` is outside 20..100,000.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise InputError(f"size is {size}: a world has {SIZES[0]} to {SIZES[1]:,} entities")
    graph = build_graph(Random(f"graph {seed} {size}"), size)
    pages = write_pages(graph, Random(f"pages {seed} {size}"))
    home = {page.about: page.id for page in pages if page.kind == "entity" and page.about}
    most = min(MOST_PER_SHAPE, max(FEWEST_PER_SHAPE, size // ENTITIES_PER_QUESTION))
    return World(
        seed=seed,
        entities=tuple(graph.entities.values()),
        facts=tuple(graph.facts.values()),
        pages=pages,
        questions=ask(graph, Random(f"questions {seed} {size}"), home, most),
    )


def grade(question: WorldQuestion, answer: str) -> bool:
    """Is `answer` the gold answer or an alias, apart from case, articles, punctuation and thousands separators?"""
    given = normalised(answer)
    return bool(given) and given in {normalised(text) for text in (question.answer, *question.aliases)}


def normalised(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).casefold()
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
    words = re.findall(r"\w+", text)
    return " ".join(word for word in words if word not in ("a", "an", "the"))
