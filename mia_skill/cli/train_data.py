"""`mia train data`: parquet files for training, with memories and first plans collected in advance."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click

from mia_skill.cli.console import Settings, as_json, json_flag
from mia_skill.core.errors import InputError
from mia_skill.core.writing import writing

if TYPE_CHECKING:
    from training.collect import Collected
    from training.record import Stage
    from training.task import Task

__all__ = ["data"]

MEMORY_SEED = 1000
"""The world that fills the memory is no world of the training or test set."""


@click.command()
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write.")
@click.option("--world", "worlds", multiple=True, type=int, metavar="SEED", help="Train on this seeded world.")
@click.option("--dev-world", "dev_worlds", multiple=True, type=int, metavar="SEED", help="Test on this one.")
@click.option("--size", default=400, show_default=True, type=click.IntRange(20, 100_000), help="Entities of a world.")
@click.option(
    "--from", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your own questions."
)
@click.option("--dev", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your own test questions.")
@click.option("--form", default="auto", show_default=True, help="Form of your files, as in `mia eval run`.")
@click.option("--search", default="", metavar="URL", help="The /retrieve service that answers your questions.")
@click.option(
    "--hops", "hops", multiple=True, type=click.IntRange(1, 4), help="Only such questions [worlds: 1 2; files: all]."
)
@click.option("--limit", type=click.IntRange(1), help="At most so many questions a set.")
@click.option("--stage", "stages", multiple=True, type=click.Choice(["executor", "planner"]), help="[both]")
@click.option("--memory/--no-memory", default=True, show_default=True, help="Recall for every question.")
@json_flag
@click.pass_obj
def data(settings: Settings, /, json_: bool, **given: Any) -> None:
    """Write train.parquet, dev.parquet and a card.

    From worlds: their own plans; the memory is an expert's in another world. From your files: memories of your bank,
    plans of the configured Planner (models.planner). Questions of the training set that the test set holds too are
    left out, and memories of the very question or with its answer in them.
    """
    asked = Asked(**given)
    if bool(asked.worlds) == (asked.file is not None):
        raise InputError("give --world SEED and --dev-world SEED, or --from FILE and --dev FILE")
    with writing(asked.out, fix="give another --out"):  # before plans are made, which takes long
        asked.out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=asked.out).close()
    train, held = from_worlds(asked) if asked.worlds else from_files(settings, asked)
    told = written(asked, train, held)
    if json_:
        click.echo(as_json(told))
        return
    rows, leaks = told["rows"], told["leaks"]
    click.echo(f"train {rows['train']} rows, dev {rows['dev']} rows in {asked.out}; card: {asked.out / 'README.md'}")
    click.echo(
        f"left out: {len(leaks['repeated'])} repeated questions, {leaks['own_memory'] + leaks['told_answer']} telling "
        f"memories, {len(told['left_out'])} questions that could not be used"
    )
    other = " --other URL NAME" if asked.wanted[0] == "planner" else ""
    run = f"mia train {asked.wanted[0]} --data {asked.out} --model MODEL --out RUN{other}"
    click.echo(f"train on it: {run} (a model that never learnt the form of calls and plans: mia train cold first)")


@dataclass(frozen=True)
class Asked:
    """What is to be written, and from what: the flags."""

    out: Path
    worlds: tuple[int, ...]
    dev_worlds: tuple[int, ...]
    size: int
    file: Path | None
    dev: Path | None
    form: str
    search: str
    hops: tuple[int, ...]
    limit: int | None
    stages: "tuple[Stage, ...]"
    memory: bool

    @property
    def wanted(self) -> "tuple[Stage, ...]":
        """The stages the rows are for."""
        return self.stages or ("executor", "planner")


def written(asked: Asked, train: "Collected", held: "Collected") -> dict[str, Any]:
    """Write both sets without what leaks from one into the other; what was written and what was left out."""
    from training.collect import Leaks, find_leaks, write_data

    kept, repeated = find_leaks(train.tasks, held.tasks)
    leaks = Leaks(
        repeated=repeated,
        own_memory=train.own_memory + held.own_memory,
        told_answer=train.told_answer + held.told_answer,
    )
    lost = {f"{name}: {what}": why for name, one in (("train", train), ("dev", held)) for what, why in one.lost.items()}
    files = write_data(
        asked.out,
        {"train": kept, "dev": held.tasks},
        stages=asked.wanted,
        source=asked.file.name if asked.file else "world",
        leaks=leaks,
        lost=lost,
        command="mia " + " ".join(sys.argv[1:]),
    )
    return {
        "files": {name: str(path) for name, path in files.items()},
        "rows": {"train": len(kept), "dev": len(held.tasks)},
        "leaks": leaks.model_dump(mode="json"),
        "left_out": lost,
    }


def from_worlds(asked: Asked) -> "tuple[Collected, Collected]":
    """Both sets, with the memories of an expert in a world of its own."""
    from mia_skill.agents.manager import Manager
    from training.collect import collect, world_bank
    from training.task import world_tasks

    dev_worlds, hops = asked.dev_worlds or (max(asked.worlds) + 100,), asked.hops or (1, 2)
    if set(asked.worlds) & set(dev_worlds):
        raise InputError("a world cannot be in the training and in the test set: give other seeds")
    sets = [
        [task for seed in seeds for task in world_tasks(seed, asked.size, hops=hops)[0]]
        for seeds in (asked.worlds, dev_worlds)
    ]

    async def both() -> "tuple[Collected, Collected]":
        with tempfile.TemporaryDirectory(prefix="mia-train-") as folder:
            bank = world_bank(Path(folder), MEMORY_SEED + max(asked.worlds + dev_worlds), asked.size, hops)
            manager = Manager(bank) if asked.memory else None
            made = [await collect(thinned(tasks, asked.limit), memory=manager) for tasks in sets]
            bank.close()
        return made[0], made[1]

    return anyio.run(both)


def from_files(settings: Settings, asked: Asked) -> "tuple[Collected, Collected]":
    """Both sets, with the memories of the configured bank and the plans of the configured Planner."""
    from mia_skill.agents.manager import query_of
    from mia_skill.agents.planner import Planner
    from mia_skill.app import build
    from mia_skill.core.openai_chat import OpenAIChat
    from mia_skill.core.types import Question
    from training.collect import collect

    if asked.file is None or asked.dev is None:
        raise InputError("give --dev FILE beside --from FILE: what is trained on cannot be the test")
    config = settings.load()
    endpoint, plans = config.models.of("planner"), "executor" in asked.wanted
    if plans and endpoint is None:
        raise InputError(
            "stage 1 needs a first plan for each question, and no Planner is set: set models.planner.base_url and "
            ".model, or give --stage planner, which needs none"
        )
    sets = [read(path, asked) for path in (asked.file, asked.dev)]

    async def both() -> "tuple[Collected, Collected]":
        async with build(config) as mia:
            chat = OpenAIChat(endpoint) if plans and endpoint else None
            planner = Planner(chat) if chat else None
            query = query_of(Question(text="-"), config.memory) if asked.memory else None
            recalled = mia.manager if asked.memory else None
            made = [await collect(tasks, memory=recalled, planner=planner, query=query) for tasks, _ in sets]
            if chat is not None:
                await chat.aclose()
        for one, (_, faults) in zip(made, sets, strict=True):
            one.lost |= faults
        return made[0], made[1]

    return anyio.run(both)


def read(file: Path, asked: Asked) -> "tuple[list[Task], dict[str, str]]":
    """The questions of a file, as tasks that search where they are told to; and its rows that cannot be used, with
    the reason.

    Raises:
        InputError: the file cannot be read, or does not say how many hops a question takes although that is asked.
    """
    from mia_skill.evaluation.datasets import load_tasks
    from training.task import Task

    found = load_tasks(file, asked.form)
    if asked.hops and not any(one.hops for one in found.tasks):
        raise InputError(f"{file.name} has no numbers in a column hops or level: leave --hops out")
    tasks = [
        Task(question=one.question, gold=one.gold, corpus=asked.search, shape=one.kind, hops=one.hops or 1)
        for one in found.tasks
        if not asked.hops or one.hops in asked.hops
    ]
    return thinned(tasks, asked.limit), {f"row {fault.row}": fault.reason for fault in found.faults}


def thinned(tasks: "list[Task]", limit: int | None) -> "list[Task]":
    """At most `limit`, spread over the whole list."""
    if limit is None or len(tasks) <= limit:
        return tasks
    return [tasks[len(tasks) * place // limit] for place in range(limit)]
