"""A stretch of a stream is judged wrongly: what does it damage, and does the do-no-harm gate undo it?

    python benchmarks/wrong_judge.py [--tasks 3000] [--seeds 8] [--lie 0.2] [--withhold 0.05]

The real bank over topics with a good workflow each (success 0.6 without memory, 0.75 with it). From the first third on,
for a share `--lie` of the stream, every verdict is the opposite of the truth; a run that failed is then stored as a
success, and such a workflow helps nobody: with it success is 0.25. Outcomes and credits go into the bank as the judge
says. Ways: never shown (memory off), no gate (nothing is withheld), gate (a share is withheld, harm is withheld for
good). Printed: the expected success before, during and after the stretch, with 95 % intervals over seeds.
"""

import argparse
import math
import random
import statistics
import tempfile
from pathlib import Path

from benchmarks.lift import BASE, GOOD, HARMFUL, topic_words
from mia_skill.core.types import Credit, MemoryUnit, Outcome
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.gate import Trial
from retrieval.sqlite_bank import SqliteBank

T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26, 12: 2.20, 16: 2.13}
MOST_BAD = 3
"""Harmful workflows stored a topic: a bank merges what is alike."""


def play(way: str, *, tasks: int, topics: int, lie: float, withhold: float, seed: int) -> tuple[list[float], int]:
    """The expected success of each task, and the harmful units there are."""
    rng = random.Random(seed)
    harmful: dict[str, int] = {}
    stored = [0] * topics
    expected = []
    begin, end = tasks // 3, tasks // 3 + round(lie * tasks)
    with tempfile.TemporaryDirectory() as folder:
        bank = SqliteBank.open(Path(folder) / "bank.sqlite3", HashEmbedder())
        good = [unit(f"own {topic_words(n)}", f"1. own way {n}") for n in range(topics)]
        bank.consolidate(Consolidation(units=tuple(good), merge=False))
        ids = {one.id for one in good}
        for task in range(tasks):
            topic = rng.randrange(topics)
            shown: set[str] = set()
            draw = None
            if way != "never":
                share = withhold if way == "gate" else 0.0
                query = MemoryQuery(
                    text=topic_words(topic), task=str(task), withhold=share, seed=seed, k_success=1, k_failure=0
                )
                recall = bank.recall(query)
                shown, draw = {hit.unit.id for hit in recall.hits}, recall.draw
            chance = HARMFUL if shown & harmful.keys() else GOOD if shown & ids else BASE
            expected.append(chance)
            won = rng.random() < chance
            lied = begin <= task < end
            said = won != lied
            made: tuple[MemoryUnit, ...] = ()
            if lied and said and stored[topic] < MOST_BAD:
                stored[topic] += 1
                new = unit(f"bad{stored[topic]} {topic_words(topic)}", f"1. wrong way {topic} {stored[topic]}")
                harmful[new.id] = topic
                made = (new,)
            trials = (Trial(draw=draw, won=said, judged_by="gold"),) if draw is not None else ()
            credits = tuple(Credit(unit_id=one, won=said) for one in shown)
            bank.consolidate(Consolidation(units=made, trials=trials, credits=credits, merge=False))
        bank.close()
    return expected, len(harmful)


def unit(question: str, workflow: str) -> MemoryUnit:
    return MemoryUnit(question=question, workflow=workflow, outcome=Outcome.CORRECT)


def interval(values: list[float]) -> str:
    """Mean and its 95 % interval over seeds."""
    if len(values) < 2:
        return f"{values[0]:.3f}"
    half = T_95.get(len(values), 2.0) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):.3f} ±{half:.3f}"


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=3000)
    parser.add_argument("--topics", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--lie", type=float, default=0.2)
    parser.add_argument("--withhold", type=float, default=0.05)
    given = parser.parse_args()
    begin, end = given.tasks // 3, given.tasks // 3 + round(given.lie * given.tasks)
    parts = {"before": (0, begin), "wrongly judged": (begin, end), "after": (end, given.tasks)}
    last = given.tasks - (given.tasks - end) // 3
    parts |= {"last third of after": (last, given.tasks)}
    print(f"{given.tasks} tasks, {given.topics} topics, {given.seeds} seeds, judged wrongly: tasks {begin} to {end}")
    print(f"{'way':8}" + "".join(f"{name:>22}" for name in parts) + "   harmful stored", flush=True)
    for way in ("never", "no gate", "gate"):
        made = [
            play(way, tasks=given.tasks, topics=given.topics, lie=given.lie, withhold=given.withhold, seed=seed)
            for seed in range(given.seeds)
        ]
        cells = [interval([statistics.mean(one[a:b]) for one, _ in made]) for a, b in parts.values()]
        bad = statistics.mean(count for _, count in made)
        print(f"{way:8}" + "".join(f"{cell:>22}" for cell in cells) + f"{bad:17.0f}", flush=True)


if __name__ == "__main__":
    main()
