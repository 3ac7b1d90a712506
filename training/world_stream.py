"""The world stream with a policy that plans: `python -m training.world_stream --planner FOLDER --out FOLDER`.

Ways: `static` (no memory, no learning), `memory`, `gold` (memory and weights learn from gold verdicts), `unsupervised`
(the same from our own evidence checks, abstentions masked), `wrong` (as gold, but a stretch of the stream is judged
wrongly), `guarded` (as wrong, with canaries beside the judge; only where `--ways` names it). The frozen ways share a
process, the learning ones have one for each seed; all start from one set of weights, see the same questions in the same
order, so that their answers can be compared. `--show` shows old results again.
"""

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson

from mia_skill.agents.canaries import CanaryWatch, believed, watched
from mia_skill.agents.explore import Judging
from mia_skill.agents.manager import Manager
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import MiaError
from mia_skill.core.types import Question
from mia_skill.core.verdict import Case, Verdict
from retrieval.bank import MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank
from training.gold import GoldJudge, Stretch, first_plan, known_cases
from training.groups import NullUpdater
from training.pens import Desk, InPlace, Pens, pens_of, student_of
from training.stream_report import Line, report
from training.task import Task, WorldShelf, world_tasks
from training.ttl import Answered, TestTime
from trust.evidence import examine
from trust.reference import exact_match

__all__ = ["WAYS", "Options", "play"]

FROZEN = ("static", "memory")
WAYS = (*FROZEN, "gold", "unsupervised", "wrong")
GUARDED = "guarded"
CANARIES = 0.1
"""Canaries a judgment of the guarded way."""
LIMITS = BudgetConfig(steps=8, searches=8, tokens=1_000_000)
START_S = 25.0
"""Of the budget, for loading and for the report."""


@dataclass(frozen=True)
class Options:
    """Sizes of a run."""

    planner: Path
    out: Path
    executor: Path = Path()
    """The frozen Executor's weights; by default the Planner's."""
    device: str = "cpu"
    budget_s: float = 140.0
    """Wall time of everything: a way that is not through by then stops between two batches."""
    ways: tuple[str, ...] = WAYS
    seeds: tuple[int, ...] = (1, 2, 3)
    questions: int = 96
    batch: int = 16
    width: int = 4
    """Plans sampled to learn from, beside the one that is served."""
    size: int = 400
    hops: tuple[int, ...] = (1, 2, 3)
    lr: float = 1e-4
    rank: int = 16
    """Of the adapter that learns; 0 trains all weights."""
    lie: float = 0.25
    """Share of the stream that the way `wrong` judges wrongly, from the first third on."""
    context: int = 1024
    tokens: int = 128


def desk_of(options: Options) -> Desk:
    """Whose weights write."""
    executor = options.executor if options.executor != Path() else None
    return Desk(
        options.planner, executor, options.device, options.lr, options.rank, options.context, options.tokens
    )  # fmt: skip


@dataclass(frozen=True)
class Stream:
    """The questions of one seed, with their answers."""

    tasks: dict[str, Task]
    """By the text of the question, in order."""
    shelf: WorldShelf
    lied: frozenset[str]
    """Questions that a wrong judge gets wrong."""
    known: tuple[Task, ...] = ()
    """Tasks beside the stream, for canaries."""

    def right(self, question: Question, answer: str) -> bool:
        """Is it the gold answer?"""
        task = self.tasks.get(question.text) or next(one for one in self.known if one.question.text == question.text)
        return bool(exact_match(answer, task.gold))


def stream_of(options: Options, seed: int) -> Stream:
    """In the order of the seed."""
    tasks, _, world = world_tasks(7000 + seed, options.size, hops=options.hops)
    chosen = random.Random(f"stream {seed}").sample(list(tasks), min(options.questions, len(tasks)))
    third, count = len(chosen) // 3, round(options.lie * len(chosen))
    lied = frozenset(task.question.text for task in chosen[third : third + count])
    asked = {task.question.text: task for task in chosen}
    known = tuple(task for task in tasks if task.question.text not in asked)[:40]
    return Stream(asked, WorldShelf(world), lied, known)


async def evidence(_question: Question, case: Case, /) -> Verdict:
    """Judges without gold and without a model."""
    return await asyncio.to_thread(examine, case)


async def play(options: Options, way: str, seed: int, pens: Pens) -> dict[str, Any]:
    """One way on one seed."""
    began, stream, lines = perf_counter(), stream_of(options, seed), dict[str, Line]()
    stretch = stretch_of(way, stream)
    # Every way answers with its likeliest plan; those that weights learn from must differ.
    student = student_of(desk_of(options), pens, stream.shelf, LIMITS, draws=bool(pens.learner))

    def record(one: Answered) -> None:
        stretch.reached(one.question)
        told, task = stream.right(one.question, one.answer), stream.tasks[one.question.text]
        lines[one.question.text] = Line(way, seed, one.number, told, bool(one.answer), task.hops, task.shape)

    with tempfile.TemporaryDirectory() as folder:
        bank = SqliteBank.open(Path(folder) / "bank.sqlite3", HashEmbedder())
        gold = GoldJudge(stream.right, stretch)
        watch = watch_of(stream, gold, bank, seed) if way == GUARDED else None
        judge: Judging = evidence if way == "unsupervised" else gold
        loop = TestTime(
            manager=Manager(bank, watched=frozenset({"gold"}) if watch else frozenset()),
            student=student,
            judge=watched(judge, watch) if watch else judge,
            vouch=watch.vouch if watch else believed,
            updater=InPlace(pens.learner) if pens.learner else NullUpdater(),
            pick=first_plan,
            query=partial(query_of, 0 if way == "static" else 2, seed),
            record=record,
            width=options.width + 1 if pens.learner else 1,
            parallel=options.batch * (options.width + 1),
            rng=random.Random(seed),
            talks=student if pens.learner else None,
        )
        steps: list[dict[str, Any]] = []
        told: dict[str, Any] = {}
        async for step in batches(options, loop, stream, began):
            steps.append(step)
            told = {"way": way, "seed": seed, "lines": lines_of(way, seed, stream, lines, steps), "steps": steps}
            told |= {"searches": student.searches, "written": student.written, "seconds": perf_counter() - began}
            keep(options.out / f"ttl_{way}_{seed}.json", told)
        bank.close()
    return told


def keep(file: Path, told: dict[str, Any]) -> None:
    """So far: a run that is cut off has shown what it had."""
    partial = file.with_suffix(".partial")
    partial.write_bytes(orjson.dumps(told))
    partial.replace(file)


def stretch_of(way: str, stream: Stream) -> Stretch:
    """When the judge of a way lies."""
    return Stretch(stream.lied if way in ("wrong", GUARDED) else (), stream.tasks)


def query_of(shown: int, seed: int, one: Question) -> MemoryQuery:
    """What to ask the bank."""
    return MemoryQuery(text=one.text, k_success=shown, k_failure=0, task=one.id, withhold=0.05, seed=seed)


def lines_of(
    way: str, seed: int, stream: Stream, lines: dict[str, Line], steps: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Of every question that was asked. One for which no plan was written has no answer: that is counted, and not left
    out."""
    asked = list(stream.tasks.values())[: sum(step["asked"] for step in steps)]
    all_lines = [
        lines.get(task.question.text) or Line(way, seed, at, False, False, task.hops, task.shape)
        for at, task in enumerate(asked)
    ]
    return [asdict(one) for one in all_lines]


def watch_of(stream: Stream, gold: GoldJudge, bank: SqliteBank, seed: int) -> CanaryWatch:
    """Canaries beside the gold judge."""

    async def ask(case: Case) -> Verdict:
        return await gold(Question(text=case.question), case)

    cases = known_cases([(task.question, task.gold[0]) for task in stream.known], stream.right)
    return CanaryWatch(ask=ask, tell=bank.canary, cases=cases, share=CANARIES, seed=seed)


async def batches(options: Options, loop: TestTime, stream: Stream, began: float) -> AsyncIterator[dict[str, Any]]:
    """What each batch of the stream did, until the time is over."""
    asked = [task.question for task in stream.tasks.values()]
    for start in range(0, len(asked), options.batch):
        at = perf_counter()
        if at - began > options.budget_s:
            break
        batch = asked[start : start + options.batch]
        learned = await loop.batch(batch)
        voted = sum(stream.right(one.question, one.majority) for one in learned.answered)
        step: dict[str, Any] = {
            "asked": len(batch),
            "majority_right": voted,
            "skipped": learned.skipped,
            "stored": learned.stored,
        }
        step["believed"] = learned.believed
        step |= {"groups": learned.update.groups, "masked": learned.update.masked, "took_s": perf_counter() - at}
        yield step | learned.update.metrics


async def play_job(options: Options, way: str, seed: int) -> list[dict[str, Any]]:
    """What one process plays: one learning way on one seed, or all frozen ways on all seeds."""
    if way != "frozen":
        pens = pens_of(desk_of(options), options.batch * (options.width + 1), True)
        return [await play(options, way, seed, pens)]
    places = [(one, number) for one in options.ways if one in FROZEN for number in options.seeds]
    pens = pens_of(desk_of(options), options.batch * len(places), False)
    return list(await asyncio.gather(*(play(options, one, number, pens) for one, number in places)))


def run_all(options: Options, arguments: Sequence[str]) -> int:
    """Every way on every seed, at once; then the report. Answers how many failed."""
    options.out.mkdir(parents=True, exist_ok=True)
    jobs = [("frozen", 0)] if set(options.ways) & set(FROZEN) else []
    jobs += list(product([way for way in options.ways if way not in FROZEN], options.seeds))
    running = {}
    for way, seed in jobs:
        command = [sys.executable, "-m", "training.world_stream", *arguments, "--one", way, str(seed)]
        with (options.out / f"ttl_{way}_{seed}.log").open("wb") as log:
            running[way, seed] = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    failed = [place for place, process in running.items() if process.wait()]
    text = report(options.out)
    sys.stdout.write(f"{text}\nfailed: {failed or 'none'}\n")
    return len(failed)


def main(arguments: Sequence[str]) -> int:
    """Flags are named as the fields."""
    base = Options(Path(), Path())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in asdict(base).items():
        many = isinstance(value, tuple)
        kind = type(value[0]) if many else (Path if isinstance(value, Path) else type(value))
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, default=value, nargs="+" if many else None)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--show", action="store_true", help="only show the results in --out")
    given = vars(parser.parse_args(arguments))
    one, show = given.pop("one"), given.pop("show")
    chosen: dict[str, Any] = {name: tuple(part) if isinstance(part, list) else part for name, part in given.items()}
    options = replace(base, **chosen)
    if show:
        sys.stdout.write(report(options.out) + "\n")
        return 0
    if one is None:
        return run_all(options, arguments)
    try:
        asyncio.run(play_job(replace(options, budget_s=options.budget_s - START_S), one[0], int(one[1])))
    except MiaError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
