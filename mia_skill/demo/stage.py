"""The stage: a seeded world, a server in its own process, a real MCP client, and the stream of questions."""

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
from mcp import Client, StdioServerParameters

from mia_skill.core.errors import InputError
from mia_skill.core.together import together
from mia_skill.core.types import Value
from mia_skill.core.writing import writing
from mia_skill.demo.host import Host, Solved
from retrieval.world import WorldQuestion, build_world, grade

__all__ = ["DemoResult", "Pass", "run_demo"]

PASSES = ("without memory", "with memory", "with memory and feedback")
"""In the second pass runs are kept as the server judges them; in the third a user says afterwards what was right."""

RECUR = 25
"""How often a shape of question comes back in the stream, as in the evaluation on the world (docs/lab_notes.md)."""

Watch = Callable[[str, int, WorldQuestion, Solved, bool], None]
"""Told after each question: the pass, its number, the question, what was done, whether the answer is right."""


class Pass(Value):
    """One pass over the stream. All counts are counted, none assumed."""

    name: str
    questions: int
    right: int
    right_late: int
    """Right answers in the second half of the stream."""
    searches: int
    plans_from_memory: int
    replans: int
    judged: dict[str, int]
    stored: int
    seconds: float


class DemoResult(Value):
    """All passes over the same stream."""

    seed: int
    pages: int
    brain: str
    """Who planned: "none" (the agent itself completes briefs) or the endpoint's model."""
    passes: tuple[Pass, ...]


def run_demo(
    environment: Mapping[str, str],
    *,
    questions: int,
    size: int,
    seed: int,
    watch: Watch,
    recur: int = RECUR,
    brain: str = "none",
) -> DemoResult:
    """All passes; every figure in the result is computed from what the tools returned and the world's gold answers.

    `environment` is added to the server's own (model endpoints, say).

    Raises:
        UnwritableError: the temporary folder cannot be written.
        MiaError: a tool failed, or a server.
    """
    world = build_world(seed=seed, size=size)
    stream = pick(world.questions, questions, seed, recur)
    with ExitStack() as stack:
        with writing("the temporary folder", fix="set TMPDIR to one with room"):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mia-demo-", ignore_cleanup_errors=True))
            world.write(Path(folder) / "world")
        passes = anyio.run(play_all, stream, Path(folder), dict(environment), Turns(PASSES, watch))
    return DemoResult(seed=seed, pages=len(world.pages), brain=brain, passes=passes)


@dataclass
class Turns:
    """Passes that run side by side, told one after the other: who is not yet at the front waits with what it has."""

    names: Sequence[str]
    watch: Watch
    _kept: dict[str, list[tuple[int, WorldQuestion, Solved, bool]]] = field(default_factory=dict)
    _over: set[str] = field(default_factory=set)
    _front: int = 0

    def saw(self, name: str, number: int, question: WorldQuestion, done: Solved, right: bool) -> None:
        """One question of one pass was played."""
        self._kept.setdefault(name, []).append((number, question, done, right))
        self._tell()

    def over(self, name: str) -> None:
        """A pass is through."""
        self._over.add(name)
        self._tell()

    def _tell(self) -> None:
        while self._front < len(self.names):
            name = self.names[self._front]
            for one in self._kept.pop(name, []):
                self.watch(name, *one)
            if name not in self._over:
                return
            self._front += 1


async def play_all(
    stream: Sequence[WorldQuestion], folder: Path, extra: dict[str, str], turns: Turns
) -> tuple[Pass, ...]:
    """Every pass, side by side: each has a server process and a bank of its own, so none changes another.

    Raises:
        MiaError: a tool failed, or a server.
    """
    played: dict[str, Pass] = {}

    async def one(name: str) -> None:
        played[name] = await play(name, stream, folder, extra, turns.saw)
        turns.over(name)

    await together(partial(one, name) for name in turns.names)
    return tuple(played[name] for name in turns.names)


def pick(questions: Sequence[WorldQuestion], count: int, seed: int, recur: int) -> list[WorldQuestion]:
    """A stream in which shapes recur, as tasks do in an agent's life: some shapes, drawn by `seed`, round robin, so few
    that each comes back `recur` times."""
    shapes: dict[str, list[WorldQuestion]] = {}
    for question in questions:
        shapes.setdefault(question.shape, []).append(question)
    recurring = sorted(shape for shape, group in shapes.items() if len(group) >= recur)
    if not recurring:
        raise InputError(
            f"in so small a world no shape of question comes {recur} times: take a larger --size, or a smaller --recur"
        )
    drawn = random.Random(seed).sample(recurring, min(len(recurring), max(2, count // recur)))
    chosen = [shapes[shape] for shape in drawn]
    rounds = [group[turn] for turn in range(max(map(len, chosen))) for group in chosen if turn < len(group)]
    return rounds[:count]


async def play(name: str, stream: Sequence[WorldQuestion], folder: Path, extra: dict[str, str], watch: Watch) -> Pass:
    """One pass, with a fresh bank and a server process of its own."""
    home = folder / name.replace(" ", "-")
    corpus = folder / "world" / "corpus.jsonl"
    settings = {"MIA_HOME": str(home), "MIA_SEARCH__CORPUS": f'["{corpus}"]', "MIA_SEARCH__DENSE": "false"}
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "mcp_server", "--stdio"],
        env={**{key: value for key, value in os.environ.items() if key in ("PATH", "HOME")}, **extra, **settings},
    )
    started = time.monotonic()
    solved: list[Solved] = []
    right: list[bool] = []
    async with Client(server) as client:
        host = Host(client, with_memory=name != PASSES[0])
        for number, question in enumerate(stream, 1):
            user = partial(grade, question) if name == PASSES[2] else None
            one = await host.solve(question.text, user)
            solved.append(one)
            right.append(grade(question, one.answer))
            watch(name, number, question, one, right[-1])
    labels = [one.verdict for one in solved]
    return Pass(
        name=name,
        questions=len(stream),
        right=sum(right),
        right_late=sum(right[len(right) // 2 :]),
        searches=sum(len(one.queries) for one in solved),
        plans_from_memory=sum(one.from_memory for one in solved),
        replans=sum(one.replanned for one in solved),
        judged={label: labels.count(label) for label in sorted(set(labels))},
        stored=sum(bool(one.unit) for one in solved),
        seconds=round(time.monotonic() - started, 1),
    )
