"""The do-no-harm gate against a known truth: are harmful units found, and what does looking for them cost?

    python benchmarks/lift.py [--tasks 3000] [--seeds 5] [--withhold 0.05] [--shown 1]

A stream of tasks over as many topics as there are units, played on the real bank: recall (the gate draws), an outcome
drawn from the truth, consolidate (the outcome is recorded, the gate decides). The truth: success without memory 0.6,
with a good unit 0.75, with a harmful one 0.25. Three worlds: all units good, a quarter harmful, and memory as a whole
harmful. Printed: harmful units found, after how many of their own tasks, good units withheld by mistake, and the
success rate beside that of never and of always showing memory. With `--shown 2` every unit has a bystander that is
shown beside it and does nothing: is the right one of the two found?
"""

import argparse
import random
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from mia_skill.core.types import MemoryUnit, Outcome, Status
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.gate import Trial
from retrieval.sqlite_bank import SqliteBank

BASE, GOOD, HARMFUL = 0.6, 0.75, 0.25
FOUND_WITHIN = 120
"""Tasks of its own after which nine in ten harmful units are to be found."""
COST = 0.02
"""Success rate that looking may cost when all units are good."""
WORLDS = {"all good": 0.0, "a quarter harmful": 0.25, "all harmful": 1.0}


@dataclass(frozen=True)
class Played:
    """One stream."""

    right: float
    expected: float
    """Success rate without the luck of the draw."""
    unguarded: float
    """Expected success rate with every unit always shown."""
    withheld: float
    """Share of tasks that went without their unit."""
    found_after: list[int]
    """For each harmful unit found: its own tasks until then."""
    harmful: int
    good_withheld: int
    """Good units withheld at the end."""
    good: int


def topic_words(number: int) -> str:
    """Words of a topic that no other has, without digits: those are masked as being no part of a question's shape."""
    name = "".join("abcdefghij"[int(digit)] for digit in f"{number:03d}")
    return f"beta{name} gamma{name} delta{name} epsilon{name} of"


@dataclass
class Stream:
    """Tasks on one bank: the truth, and what came of them so far."""

    bank: SqliteBank
    units: list[MemoryUnit]
    """Of each topic its own, then the bystanders."""
    topics: int
    bad: set[int]
    """Topics whose own unit does harm."""
    rng: random.Random
    right: int = 0
    withheld: int = 0
    expected: float = 0.0
    met: Counter[int] = field(default_factory=Counter)
    found: dict[int, int] = field(default_factory=dict)
    """Harmful topics by the number of their own tasks until they were withheld."""

    def task(self, query: MemoryQuery, topic: int) -> None:
        """Recall, an outcome drawn from the truth, consolidate."""
        self.met[topic] += 1
        recall = self.bank.recall(query)
        had = self.units[topic].id in {hit.unit.id for hit in recall.hits}
        chance = (HARMFUL if topic in self.bad else GOOD) if had else BASE
        won = self.rng.random() < chance
        self.expected += chance
        self.right, self.withheld = self.right + won, self.withheld + (not had)
        if recall.draw is None:
            raise RuntimeError("the bank drew no arm")
        self.bank.consolidate(Consolidation(trials=(Trial(draw=recall.draw, won=won, judged_by="gold"),)))
        if topic in self.bad and topic not in self.found and self.is_withheld(topic):
            self.found[topic] = self.met[topic]

    def is_withheld(self, number: int) -> bool:
        """Was this unit taken out by the gate?"""
        return self.bank.get(self.units[number].id).status is Status.WITHHELD

    def played(self, tasks: int) -> Played:
        """What came of it."""
        bad = len(self.bad)
        kept_back = {number for number in range(len(self.units)) if self.is_withheld(number)}
        return Played(
            right=self.right / tasks,
            expected=self.expected / tasks,
            unguarded=(bad * HARMFUL + (self.topics - bad) * GOOD) / self.topics,
            withheld=self.withheld / tasks,
            found_after=sorted(self.found.values()),
            harmful=bad,
            good_withheld=len(kept_back - self.bad),
            good=len(self.units) - bad,
        )


def play(
    bank: SqliteBank, share: float, harmful: float, *, topics: int, tasks: int, seed: int, shown_k: int = 1
) -> Played:
    """A stream of tasks on one bank."""
    rng = random.Random(seed)
    units = [
        MemoryUnit(question=f"{kind} {topic_words(n)}", workflow=f"1. {kind} way {n}", outcome=Outcome.CORRECT)
        for kind in ("own", "bystander")[:shown_k]
        for n in range(topics)
    ]
    bank.consolidate(Consolidation(units=tuple(units), merge=False))
    stream = Stream(bank, units, topics, bad=set(range(round(topics * harmful))), rng=rng)
    for task in range(tasks):
        topic = rng.randrange(topics)
        query = MemoryQuery(
            text=topic_words(topic), task=str(task), withhold=share, seed=seed, k_success=shown_k, k_failure=0
        )
        stream.task(query, topic)
    return stream.played(tasks)


def main() -> None:
    """Play every world, print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=3000)
    parser.add_argument("--topics", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--withhold", type=float, default=0.05)
    parser.add_argument("--shown", type=int, choices=(1, 2), default=1)
    given = parser.parse_args()
    counts = f"{given.topics} units, {given.tasks} tasks, {given.seeds} seeds"
    print(f"{counts}, share withheld {given.withhold}, {given.shown} shown a task")
    print(f"truth: {BASE} without memory, {GOOD} with a good unit, {HARMFUL} with a harmful one\n")
    head = ("world", "harmful found", "own tasks until (median, max)", "good withheld", "right", "always", "never")
    print("{:18} {:>14} {:>30} {:>14} {:>7} {:>7} {:>6}  withheld".format(*head))
    for name, harmful in WORLDS.items():
        began = time.monotonic()
        runs = []
        for seed in range(given.seeds):
            with tempfile.TemporaryDirectory() as folder:
                bank = SqliteBank.open(Path(folder) / "bank.sqlite3", HashEmbedder())
                sizes = {"topics": given.topics, "tasks": given.tasks, "shown_k": given.shown}
                runs.append(play(bank, given.withhold, harmful, seed=seed, **sizes))
                bank.close()
        print(line(name, runs) + f"   ({time.monotonic() - began:.0f} s)", flush=True)
        if name == "all good":
            cost = statistics.mean(run.unguarded - run.expected for run in runs)
            print(f"  cost of looking {cost:.3f}; stated at most {COST}: {'kept' if cost <= COST else 'MISSED'}")
        if name == "a quarter harmful":
            quick = sum(after <= FOUND_WITHIN for run in runs for after in run.found_after)
            share = quick / sum(run.harmful for run in runs)
            said = "kept" if share >= 0.9 else "MISSED"
            print(f"  found within {FOUND_WITHIN} of their tasks {share:.2f}; stated at least 0.9: {said}")


def line(name: str, runs: list[Played]) -> str:
    """One world's figures over its seeds."""
    until = [after for run in runs for after in run.found_after]
    all_bad, all_good = sum(run.harmful for run in runs), sum(run.good for run in runs)
    spent = f"{statistics.median(until):.0f}, {max(until)}" if until else "-"
    right = statistics.mean(run.right for run in runs)
    always = statistics.mean(run.unguarded for run in runs)
    kept_back = sum(run.good_withheld for run in runs)
    return (
        f"{name:18} {f'{len(until)} of {all_bad}':>14} {spent:>30} {f'{kept_back} of {all_good}':>14} "
        f"{right:7.3f} {always:7.3f} {BASE:6.3f} {statistics.mean(run.withheld for run in runs):9.3f}"
    )


if __name__ == "__main__":
    main()
