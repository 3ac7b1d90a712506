"""What the nano run learns from and is tested on: worlds that share nothing, a memory, an expert's conversations."""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from mia_skill.agents.manager import Manager
from mia_skill.core.errors import InputError
from retrieval.bank import MemoryQuery, Recall
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank
from retrieval.world import WorldQuestion
from training.coldstart import expert_examples
from training.policy import Conversation, Renderer
from training.task import Task, WorldShelf, world_tasks

__all__ = ["Course", "is_new"]

NEW_SHAPES = 5
"""One shape of so many is kept from training: only memory tells how it is solved."""


def is_new(task: Task) -> bool:
    """Is the task's shape one that no stage of training sees? Decided by the shape's name alone."""
    return int(sha256(task.shape.encode()).hexdigest(), 16) % NEW_SHAPES == 0


@dataclass
class Course:
    """Train and test tasks with their memories, and what an expert wrote for the train ones."""

    renderer: Renderer
    world_size: int
    hops: tuple[int, ...]
    seed: int
    worlds: int
    """To train on."""
    tests: int
    """Questions to test on."""
    shelves: dict[str, WorldShelf] = field(default_factory=dict)
    train: list[Task] = field(default_factory=list)
    test: list[Task] = field(default_factory=list)
    talks: list[Conversation] = field(default_factory=list)

    async def prepare(self) -> None:
        """Build everything; a function of the seed.

        Raises:
            InputError: the worlds are too small for the sizes asked for.
        """
        first = 1000 * self.seed
        kinds: dict[str, list[tuple[Task, WorldQuestion]]] = {"train": [], "test": [], "memory": []}
        for number in range(1, self.worlds + 1):
            kinds["train"] += [pair for pair in self.world(first + number) if not is_new(pair[0])]
        for number in range(501, 503):
            kinds["test"] += self.world(first + number)
        kinds["memory"] = self.world(first + 901)
        if not kinds["train"] or len(kinds["test"]) < self.tests:
            raise InputError(f"worlds of {self.world_size} have {len(kinds['test'])} test questions: make them larger")
        for name in ("train", "test"):
            random.Random(f"{name} {self.seed}").shuffle(kinds[name])
        with tempfile.TemporaryDirectory() as folder:
            bank = SqliteBank.open(Path(folder) / "bank.sqlite3", HashEmbedder(256))
            manager = Manager(bank)
            for example in await self.experts(kinds["memory"], failures=0.0):
                await manager.consolidate([example.episode.run])
            self.train = [await recalled(manager, task) for task, _ in kinds["train"]]
            self.test = [await recalled(manager, task) for task, _ in kinds["test"][: self.tests]]
            bank.close()
        await self.imitated([question for _, question in kinds["train"]])

    def world(self, seed: int) -> list[tuple[Task, WorldQuestion]]:
        """The questions of one world."""
        tasks, questions, world = world_tasks(seed, self.world_size, hops=self.hops)
        if tasks:
            self.shelves[tasks[0].corpus] = WorldShelf(world)
        return list(zip(tasks, questions, strict=True))

    async def experts(self, pairs: Sequence[tuple[Task, WorldQuestion]], *, failures: float, seed: int = 0):
        """Expert runs, each in its own world."""
        made = []
        for corpus, shelf in self.shelves.items():
            here = [pair for pair in pairs if pair[0].corpus == corpus]
            tasks, questions = [task for task, _ in here], [question for _, question in here]
            made += await expert_examples(tasks, questions, shelf, self.renderer, failures=failures, seed=seed)
        return made

    async def imitated(self, questions: Sequence[WorldQuestion], most: int = 1200) -> None:
        """Conversations worth imitating: half of them with memories in view, half without any."""
        rng = random.Random(f"shown {self.seed}")
        pairs = [
            (task if rng.random() < 0.5 else forgetful(task), question)
            for task, question in zip(self.train[:most], questions, strict=False)
        ]
        for one in await self.experts(pairs, failures=0.25, seed=self.seed):
            self.talks += [*one.planner, *one.executor]


def forgetful(task: Task) -> Task:
    """The task without its memories."""
    return task.model_copy(update={"recall": Recall()})


async def recalled(manager: Manager, task: Task) -> Task:
    found = await manager.recall(MemoryQuery(text=task.question.text, k_success=2, k_failure=0))
    return task.model_copy(update={"recall": found})
