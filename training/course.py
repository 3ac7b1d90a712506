"""What the nano run learns from and is tested on: worlds that share nothing, a memory, an expert's conversations."""

import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import orjson

from mia_skill.agents.manager import Manager
from mia_skill.core.errors import InputError
from retrieval.bank import MemoryQuery, Recall
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank
from retrieval.world import WorldQuestion
from training.coldstart import Example, expert_examples
from training.policy import Conversation, Renderer
from training.task import Task, WorldShelf, world_tasks

__all__ = ["Course", "is_new"]

TRAINED, IMITATED, REMEMBERED = 1500, 400, 400
"""Tasks to train on, to show an expert's run of, and to fill the memory with: at most."""
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

    async def prepare(self, kept: Path) -> None:
        """Build everything, a function of the seed, and keep it in a file; or take what that file has.

        Raises:
            InputError: the worlds are too small for the sizes asked for, or the file was made for other ones.
        """
        if not self.restore(kept):
            await self.build()
            self.keep(kept)

    @property
    def sizes(self) -> list[object]:
        """What a kept course must have been made for."""
        return [self.world_size, list(self.hops), self.seed, self.worlds, self.tests]

    def keep(self, kept: Path) -> None:
        talks = [{"ids": one.ids, "mask": one.mask} for one in self.talks]
        tasks = {name: [one.model_dump(mode="json") for one in getattr(self, name)] for name in ("train", "test")}
        kept.write_bytes(orjson.dumps({"sizes": self.sizes, "talks": talks, **tasks}))

    def restore(self, kept: Path) -> bool:
        """Take a kept course; False when there is none."""
        if not kept.exists():
            return False
        told = orjson.loads(kept.read_bytes())
        if told["sizes"] != self.sizes:
            raise InputError(f"{kept} was made for {told['sizes']}, not for {self.sizes}: remove it")
        self.train, self.test = ([Task.model_validate(one) for one in told[name]] for name in ("train", "test"))
        self.talks = [Conversation((), one["ids"], one["mask"], [0.0] * len(one["ids"])) for one in told["talks"]]
        for corpus in sorted({task.corpus for task in (*self.train, *self.test)}):
            self.world(int(corpus.split(":")[1]))
        return True

    async def build(self) -> None:
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
            for example in await self.experts(kinds["memory"][:REMEMBERED], failures=0.0):
                await manager.consolidate([example.episode.run])
            self.train = [await recalled(manager, task) for task, _ in kinds["train"][:TRAINED]]
            self.test = [await recalled(manager, task) for task, _ in kinds["test"][: self.tests]]
            bank.close()
        await self.imitated([question for _, question in kinds["train"]])

    def world(self, seed: int) -> list[tuple[Task, WorldQuestion]]:
        """The questions of one world."""
        tasks, questions, world = world_tasks(seed, self.world_size, hops=self.hops)
        if tasks:
            self.shelves[tasks[0].corpus] = WorldShelf(world)
        return list(zip(tasks, questions, strict=True))

    async def experts(
        self, pairs: Sequence[tuple[Task, WorldQuestion]], *, failures: float, seed: int = 0
    ) -> list[Example]:
        """Expert runs, each in its own world."""
        made: list[Example] = []
        for corpus, shelf in self.shelves.items():
            here = [pair for pair in pairs if pair[0].corpus == corpus]
            tasks, questions = [task for task, _ in here], [question for _, question in here]
            made += await expert_examples(tasks, questions, shelf, self.renderer, failures=failures, seed=seed)
        return made

    async def imitated(self, questions: Sequence[WorldQuestion]) -> None:
        """Conversations worth imitating: half of them with memories in view, half without any."""
        rng = random.Random(f"shown {self.seed}")
        pairs = [
            (task if rng.random() < 0.5 else forgetful(task), question)
            for task, question in zip(self.train[:IMITATED], questions, strict=False)
        ]
        for one in await self.experts(pairs, failures=0.25, seed=self.seed):
            self.talks += [*one.planner, *one.executor]


def forgetful(task: Task) -> Task:
    """The task without its memories."""
    return task.model_copy(update={"recall": Recall()})


async def recalled(manager: Manager, task: Task) -> Task:
    found = await manager.recall(MemoryQuery(text=task.question.text, k_success=2, k_failure=0))
    return task.model_copy(update={"recall": found})
