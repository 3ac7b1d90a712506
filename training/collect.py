"""Training data: memories and first plans collected in advance, as the original does; leaks; files and their card."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import orjson

from mia_skill.agents.episode import Planning, Recalling
from mia_skill.core.errors import InputError, MiaError
from mia_skill.core.redact import redact
from mia_skill.core.require import require
from mia_skill.core.types import MemoryUnit, Outcome, Value
from mia_skill.core.writing import writing
from retrieval.bank import Consolidation, Hit, MemoryQuery, Recall
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank
from retrieval.world import WorldQuestion
from training.record import Stage, check_row, row_of
from training.task import Task, world_tasks
from trust.reference import normalised

__all__ = ["Leaks", "collect", "find_leaks", "world_bank", "write_data"]

SHORT = 4
"""A gold answer with fewer characters ("yes", "12") is in every text."""


class Leaks(Value):
    """What training would have known of its test, or of its answers."""

    repeated: tuple[str, ...] = ()
    """Names of the training questions that are in the other set too, word for word; they were left out."""
    own_memory: int = 0
    """Memories of the very question that was asked; they were taken out."""
    told_answer: int = 0
    """Memories that held a gold answer; they were taken out."""


@dataclass
class Collected:
    """Tasks that are ready, and those that are not."""

    tasks: list[Task] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)
    """By name or row, why a question cannot be used: it has no plan, or its row is broken. It is left out, and never
    given an empty plan."""
    own_memory: int = 0
    told_answer: int = 0


def world_bank(folder: Path, seed: int, size: int, hops: Sequence[int]) -> SqliteBank:
    """A bank of what an expert did in a world of its own: workflows, which hold no names."""
    bank = SqliteBank.open(folder / "bank.sqlite3", HashEmbedder(256))
    _, questions, _ = world_tasks(seed, size, hops=hops)
    bank.consolidate(Consolidation(units=tuple(map(unit_of, questions))))
    return bank


def unit_of(question: WorldQuestion) -> MemoryUnit:
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(question.workflow, 1))
    return MemoryUnit(question=question.text, workflow=steps, category=question.shape, outcome=Outcome.CORRECT)


async def collect(
    tasks: Iterable[Task],
    *,
    memory: Recalling | None = None,
    planner: Planning | None = None,
    query: MemoryQuery | None = None,
) -> Collected:
    """Each task with its memories and, where a Planner is given, its first plan."""
    got = Collected()
    for task in tasks:
        if memory is not None:
            asked = (query or MemoryQuery(text="-")).model_copy(update={"text": task.question.text})
            task = task.model_copy(update={"recall": without_leaks(await memory.recall(asked), task, got)})
        if planner is not None and not task.plan:
            try:
                plan, _ = await planner.plan(task.question, task.recall)
            except MiaError as error:
                got.lost[task.name] = str(error)
                continue
            task = task.model_copy(update={"plan": plan.steps})
        got.tasks.append(task)
    return got


def without_leaks(recall: Recall, task: Task, got: Collected) -> Recall:
    """The memories without those of this question, or with its answer in them."""
    kept: dict[str, list[Hit]] = {"successes": [], "failures": []}
    for name, hits in (("successes", recall.successes), ("failures", recall.failures)):
        for hit in hits:
            if normalised(hit.unit.question) == normalised(task.question.text):
                got.own_memory += 1
            elif tells(hit.unit, task.gold):
                got.told_answer += 1
            else:
                kept[name].append(hit)
    return recall.model_copy(update={name: tuple(hits) for name, hits in kept.items()})


def tells(unit: MemoryUnit, gold: Sequence[str]) -> bool:
    """Does the memory hold the answer?"""
    text = f" {' '.join(normalised(f'{unit.workflow} {unit.plan}'))} "
    answers = [" ".join(normalised(one)) for one in gold if len(one) >= SHORT]
    return any(answer and f" {answer} " in text for answer in answers)


def find_leaks(train: Sequence[Task], dev: Sequence[Task]) -> tuple[list[Task], tuple[str, ...]]:
    """The training tasks that the other set does not hold too, and the names of those it does."""
    held = {asked(task) for task in dev}
    kept = [task for task in train if asked(task) not in held]
    return kept, tuple(sorted(task.name for task in train if asked(task) in held))


def asked(task: Task) -> tuple[str, ...]:
    """By what two questions are the same: their words, and what the picture shows. Not by their ids: files that have
    none, or that number their rows, share ids and nothing else."""
    return (*normalised(task.question.text), "\0", *normalised(task.question.caption or ""))


def write_data(
    folder: Path,
    sets: Mapping[str, Sequence[Task]],
    *,
    stages: Sequence[Stage],
    source: str,
    leaks: Leaks,
    lost: Mapping[str, str],
    command: str,
) -> dict[str, Path]:
    """One parquet file for each set, and a card with the command, its secrets taken out. All rows are checked first, so
    nothing is half written.

    Raises:
        InputError: a set is empty, or a row lacks what a stage needs.
        MissingExtraError: pyarrow is not installed.
        UnwritableError: the disk is full, or the folder cannot be written.
    """
    command = redact(command)
    pa, pq = require("pyarrow", extra="corpus"), require("pyarrow.parquet", extra="corpus")
    rows = {name: [row_of(task, n, source=source) for n, task in enumerate(tasks)] for name, tasks in sets.items()}
    for name, made in rows.items():
        if not made:
            raise InputError(f"the {name} set is empty: {reason(lost)}")
        for stage in stages:
            for number, row in enumerate(made, 1):
                check_row(row, stage, number)
    files = {name: folder / f"{name}.parquet" for name in rows}
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name, made in rows.items():
            pq.write_table(pa.Table.from_pylist(made), files[name])
        facts = {"source": source, "command": command, "leaks": leaks.model_dump(), "left_out": dict(lost)}
        (folder / "README.md").write_text(card(sets, files, stages, leaks, lost, source, command), encoding="utf-8")
        (folder / "facts.json").write_bytes(orjson.dumps(facts, option=orjson.OPT_INDENT_2))
    return files


def reason(lost: Mapping[str, str]) -> str:
    if not lost:
        return "no rows"
    what, why = next(iter(lost.items()))
    return f"{len(lost)} questions were left out, the first ({what}) because: {why}"


NOWHERE = "no place is named: give `mia train` a --search"
CARD = """---
pretty_name: MIA training data
task_categories: [question-answering]
source: {source}
---
# Training data for {stages}

Made by `{command}`. Each row is a question with its gold answer, the memories that were recalled for it and the first
plan; the columns are those of the published training files, and `extra_info` holds what they cannot.

| set | rows | hops | with memory | with plan | sha256 |
|---|---|---|---|---|---|
{table}

- Questions of the training set that the other set holds too: {repeated} (left out).
- Memories of the very question: {own_memory}; memories that held a gold answer: {told_answer} (taken out).
- Questions left out because they could not be used (no plan, or a broken row): {lost}; `facts.json` names each.
- Searched at: {places}.
- Licence and origin are those of the source; nothing was added to its texts.
"""


def card(
    sets: Mapping[str, Sequence[Task]],
    files: Mapping[str, Path],
    stages: Sequence[Stage],
    leaks: Leaks,
    lost: Mapping[str, str],
    source: str,
    command: str,
) -> str:
    """What is in the folder, in words."""
    lines = []
    for name, tasks in sets.items():
        hops = ", ".join(str(hop) for hop in sorted({task.hops for task in tasks}))
        memory = sum(bool(task.recall.hits) for task in tasks)
        planned = sum(bool(task.plan) for task in tasks)
        digest = sha256(files[name].read_bytes()).hexdigest()[:16]
        lines.append(f"| {name} | {len(tasks)} | {hops} | {memory} | {planned} | {digest} |")
    return CARD.format(
        source=source,
        stages=" and ".join(stages),
        command=command,
        table="\n".join(lines),
        repeated=len(leaks.repeated),
        own_memory=leaks.own_memory,
        told_answer=leaks.told_answer,
        lost=len(lost),
        places=", ".join(sorted({task.corpus or NOWHERE for tasks in sets.values() for task in tasks})),
    )
