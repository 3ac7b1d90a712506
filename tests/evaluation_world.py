"""A small evaluation without a model, for tests: a world, its corpus in memory, and a judge that is out on demand."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mia_skill.core.config import BudgetConfig, MemoryConfig
from mia_skill.core.errors import ModelUnreachableError
from mia_skill.core.types import Passage, Usage
from mia_skill.evaluation.advice import Advice, Attempt, Done
from mia_skill.evaluation.judging import Graders
from mia_skill.evaluation.mind import Lessons, RuleMind
from mia_skill.evaluation.plan import Evaluation
from mia_skill.evaluation.runner import Protocol
from mia_skill.evaluation.task import Task, TaskSet
from mia_skill.evaluation.worlds import world_stream, world_tasks
from retrieval.embed import HashEmbedder
from retrieval.world import World, build_world


class Pages:
    """Finds pages by the words they share with the query."""

    def __init__(self, world: World) -> None:
        self._pages = [
            (set(page.text.casefold().split()) | set(page.title.casefold().split()), page) for page in world.pages
        ]

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        words = set(query.casefold().split())
        best = sorted(self._pages, key=lambda one: (-len(words & one[0]), one[1].id))[:k]
        return tuple(Passage(id=page.id, title=page.title, text=page.text) for _, page in best)


class Mortal:
    """A mind whose endpoint dies at given tasks."""

    name = "rule-based"

    def __init__(self, mind: RuleMind, dying: Sequence[str]) -> None:
        self.mind = mind
        self.dying = set(dying)
        self.asked: list[str] = []

    async def seen(self, task: Task) -> tuple[Task, Usage]:
        return task, Usage()

    async def attempt(self, task: Task, advice: Advice, limits: BudgetConfig) -> Attempt:
        self.asked.append(task.id)
        if task.id in self.dying:
            raise ModelUnreachableError("no usable connection")
        return await self.mind.attempt(task, advice, limits)

    async def distil(self, done: Done, asked: str, known: Sequence[tuple[str, str]] = ()) -> tuple[Lessons, Usage]:
        return await self.mind.distil(done, asked, known)


@cache
def small_tasks(count: int = 12) -> tuple[World, TaskSet]:
    world = build_world(3, 60)
    return world, world_tasks(world, world_stream(world, count, 3))


def small_evaluation(folder: Path, *, count: int = 12, dying: Sequence[str] = (), waves: int = 1) -> Evaluation:
    world, tasks = small_tasks(count)
    return Evaluation(
        folder=folder,
        tasks=tasks,
        mind=Mortal(RuleMind(Pages(world)), dying),
        grade=Graders(),
        embedder=HashEmbedder(),
        memory=MemoryConfig(),
        limits=BudgetConfig(),
        protocol=Protocol(concurrency=waves),
    )
