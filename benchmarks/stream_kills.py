"""Kill the streaming trainer again and again: is anything lost that it had acknowledged?

    python benchmarks/stream_kills.py [--kills 100]

A process samples, takes feedback and updates as fast as it can and prints each thing it acknowledged. It is killed with
SIGKILL after a random number of lines; then its folder is opened and every line ever printed is looked for.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio

from training.policy_store import ScriptedLearner
from training.stream import StreamTrainer


def opened(folder: Path) -> StreamTrainer:
    """The trainer of a folder."""
    return StreamTrainer(folder, ScriptedLearner(), groups_per_update=2, width=2)


async def work(folder: Path) -> None:
    """Until killed."""
    one = opened(folder)
    number = len(one.groups)
    while True:
        made = await one.sample(f"s{number}", "?")
        print("sampled", number, flush=True)
        one.feedback(made.id, made.ticket, [1.0, 0.0])
        print("fed", number, flush=True)
        if await one.update():
            print("version", one.version, flush=True)
        number += 1


def main() -> None:
    """Print one line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        anyio.run(work, given.work)
    rng, began, told, lost, halves = random.Random(0), time.monotonic(), [], 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for _ in range(given.kills):
            child = subprocess.Popen([sys.executable, __file__, "--work", name], stdout=subprocess.PIPE, text=True)
            assert child.stdout is not None
            told += [child.stdout.readline().split() for _ in range(rng.randrange(1, 40))]
            child.kill()
            told += [line.split() for line in child.stdout.read().splitlines()]
            child.wait()
        one = opened(folder)
        for kind, number in (line for line in told if len(line) == 2):
            if kind == "version":
                lost += one.latest < int(number)
            else:
                group = one.groups.get(f"s{number}")
                lost += group is None or (kind == "fed" and group.rollouts[0].reward != 1.0)
        halves = len(one.consumed) - 2 * one.updates
        print(
            f"{given.kills} kills, {len(told)} acknowledged, {lost} lost, {halves} groups learnt from by half, "
            f"{one.updates} updates, {time.monotonic() - began:.0f} s"
        )


if __name__ == "__main__":
    main()
