"""A stretch of a stream is judged wrongly: what does it damage, and what keeps the damage out?

    python -m benchmarks.wrong_judge [--tasks 3000] [--seeds 6] [--lie 0.2] [--still-true 0] [--canaries 0.1]

The real bank over topics with a good workflow each (success 0.6 without memory, 0.75 with it). From the first third on,
for a share `--lie` of the stream, a verdict is the opposite of the truth (but for a share `--still-true`); a run that
failed and is called right is stored as a success, and such a workflow helps nobody: with it success is 0.25. Outcomes
and credits go into the bank as the judge says. Ways: never shown (memory off), no gate (nothing is withheld), gate (a
share is withheld, harm is withheld for good), canaries (the judge is on probation: after a share of the tasks it judges
a case of known verdict, which it gets right as often as it judges truly, and .95 of the time when honest), and both.

First table: expected success before, during and after the stretch, with 95 % intervals over seeds, and the harmful
units in the bank at the end. Second table: the same judge honest throughout, on a bank that starts empty and learns a
topic's workflow from the first run called right: what do canaries cost where nobody lies?
"""

import argparse
import math
import random
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.lift import BASE, GOOD, HARMFUL, topic_words
from mia_skill.core.types import Credit, MemoryUnit, Outcome
from retrieval.bank import Bank, Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.gate import Draw, Trial
from retrieval.sqlite_bank import SqliteBank

T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26, 12: 2.20, 16: 2.13}
MOST_BAD = 3
"""Harmful workflows stored a topic: a bank merges what is alike."""
SOUND = 0.95
"""Share of the canaries that the honest judge gets right."""
JUDGE = "judge"
GATED, WATCHED = ("gate", "canaries + gate"), ("canaries", "canaries + gate")


@dataclass(frozen=True)
class Options:
    """Sizes of a stream."""

    tasks: int = 3000
    topics: int = 20
    lie: float = 0.2
    still_true: float = 0.0
    withhold: float = 0.05
    canaries: float = 0.1
    empty: bool = False
    """Nothing is known at the start."""

    @property
    def stretch(self) -> range:
        """Tasks that are judged wrongly."""
        return range(self.tasks // 3, self.tasks // 3 + round(self.lie * self.tasks))


@dataclass
class Played:
    """One stream."""

    expected: list[float] = field(default_factory=list)
    """Success chance of each task."""
    harmful: int = 0
    """Harmful units in the bank at the end."""
    alarms: int = 0
    noticed_after: int | None = None
    """Tasks of the stretch until the first alarm."""
    refused: int = 0
    """Changes that were never learnt."""


class Stream:
    """One way on one seed."""

    def __init__(self, bank: Bank, way: str, options: Options, seed: int) -> None:
        self.bank, self.way, self.options, self.seed = bank, way, options, seed
        self.rng = random.Random(seed)
        self.good: set[str] = set()
        self.bad: set[str] = set()
        self.stored = [0] * options.topics
        self.made = Played()
        if not options.empty:
            own = [self.own(topic) for topic in range(options.topics)]
            bank.consolidate(Consolidation(units=tuple(own), merge=False))

    def own(self, topic: int) -> MemoryUnit:
        made = unit(f"own {topic_words(topic)}", f"1. own way {topic}")
        self.good.add(made.id)
        return made

    def step(self, task: int) -> None:
        """Recall, an outcome, a verdict, what it teaches, and maybe a canary."""
        topic = self.rng.randrange(self.options.topics)
        shown, draw = self.recall(task, topic)
        chance = HARMFUL if shown & self.bad else GOOD if shown & self.good else BASE
        self.made.expected.append(chance)
        won = self.rng.random() < chance
        lied = task in self.options.stretch and self.rng.random() >= self.options.still_true
        said = won != lied
        trials = (Trial(draw=draw, won=said, judged_by=JUDGE),) if draw is not None else ()
        change = Consolidation(
            units=self.lesson(topic, won, said),
            trials=trials,
            credits=tuple(Credit(unit_id=one, won=said) for one in sorted(shown)),
            judge=JUDGE if self.way in WATCHED else "",
            merge=False,
        )
        self.bank.consolidate(change)
        if self.way in WATCHED and self.rng.random() < self.options.canaries:
            self.canary(task)

    def recall(self, task: int, topic: int) -> tuple[set[str], Draw | None]:
        if self.way == "never":
            return set(), None
        share = self.options.withhold if self.way in GATED else 0.0
        given = {"task": str(task), "withhold": share, "seed": self.seed, "k_success": 1, "k_failure": 0}
        recall = self.bank.recall(MemoryQuery.model_validate({"text": topic_words(topic)} | given))
        return {hit.unit.id for hit in recall.hits}, recall.draw

    def lesson(self, topic: int, won: bool, said: bool) -> tuple[MemoryUnit, ...]:
        """What a run called right leaves: a good workflow where it was right, else a harmful one."""
        if said and won and self.options.empty:
            return (self.own(topic),)
        if not said or won or self.stored[topic] >= MOST_BAD:
            return ()
        self.stored[topic] += 1
        made = unit(f"bad{self.stored[topic]} {topic_words(topic)}", f"1. wrong way {topic} {self.stored[topic]}")
        self.bad.add(made.id)
        return (made,)

    def canary(self, task: int) -> None:
        """A case of known verdict."""
        true = self.options.still_true if task in self.options.stretch else SOUND
        before = self.bank.standing(JUDGE).alarms
        now = self.bank.canary(JUDGE, self.rng.random() < true)
        self.made.alarms += now.alarms - before
        if now.alarms > before and task in self.options.stretch and self.made.noticed_after is None:
            self.made.noticed_after = task - self.options.stretch.start


def play(way: str, options: Options, seed: int) -> Played:
    """One stream."""
    with tempfile.TemporaryDirectory() as folder:
        bank = SqliteBank.open(Path(folder) / "bank.sqlite3", HashEmbedder())
        stream = Stream(bank, way, options, seed)
        for task in range(options.tasks):
            stream.step(task)
        stream.made.harmful = sum(one["id"] in stream.bad for one in bank.export() if "id" in one)
        cursor: str | None = None
        while True:
            page = bank.log(limit=200, cursor=cursor)
            stream.made.refused += sum(one.action == "refuse" for one in page.entries)
            cursor = page.next_cursor
            if cursor is None:
                break
        bank.close()
    return stream.made


def unit(question: str, workflow: str) -> MemoryUnit:
    return MemoryUnit(question=question, workflow=workflow, outcome=Outcome.CORRECT)


def interval(values: list[float]) -> str:
    """Mean and its 95 % interval over seeds."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    half = T_95.get(len(values), 2.0) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.3f} ±{half:.3f}"


def show(ways: tuple[str, ...], parts: dict[str, tuple[int, int]], options: Options, seeds: int) -> None:
    """One table."""
    print(f"{'way':16}" + "".join(f"{name:>22}" for name in parts) + "   harmful   alarms   noticed after   refused")
    for way in ways:
        made = [play(way, options, seed) for seed in range(seeds)]
        cells = [interval([statistics.mean(one.expected[a:b]) for one in made]) for a, b in parts.values()]
        after = [one.noticed_after for one in made if one.noticed_after is not None]
        told = f"{statistics.mean(after):.0f} ({len(after)}/{seeds})" if after else "-"
        row = f"{way:16}" + "".join(f"{cell:>22}" for cell in cells)
        row += f"{statistics.mean(one.harmful for one in made):10.1f}{sum(one.alarms for one in made):9}{told:>16}"
        print(f"{row}{statistics.mean(one.refused for one in made):10.0f}", flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tasks", "topics", "lie", "still_true", "withhold", "canaries"):
        value = getattr(Options(), name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--seeds", type=int, default=6)
    given = vars(parser.parse_args())
    seeds = given.pop("seeds")
    options = Options(**given)
    begin, end = options.stretch.start, options.stretch.stop
    last = options.tasks - (options.tasks - end) // 3
    parts = {"before": (0, begin), "wrongly judged": (begin, end), "after": (end, options.tasks)}
    print(f"{options.tasks} tasks, {options.topics} topics, {seeds} seeds, judged wrongly: tasks {begin} to {end}")
    show(("never", "no gate", "gate", *WATCHED), parts | {"last third of after": (last, options.tasks)},
         options, seeds)  # fmt: skip
    honest = Options(**given | {"lie": 0.0, "empty": True})
    print("honest throughout, from an empty bank")
    thirds = {"first 10 %": (0, options.tasks // 10), "all": (0, options.tasks)}
    show(("no gate", "canaries"), thirds, honest, seeds)


if __name__ == "__main__":
    main()
