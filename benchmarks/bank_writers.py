"""Started by durability.py and tests/test_bank_kill.py: forks a writer for every line it reads, so that the imports are
paid once.

A line is `PATH NAME CREDITED`. The child first prints `pid N`, then `ack ID` after every consolidation that returned.
"""

import os
import signal
import sys
from pathlib import Path

from mia_skill.core.types import Credit, MemoryUnit, Outcome
from retrieval.bank import Consolidation
from retrieval.embed import HashEmbedder
from retrieval.index import faiss_build
from retrieval.sqlite_bank import SqliteBank


def write_for_ever(path: str, name: str, credited: str) -> None:
    """Store units and give credit until killed, or told to end."""
    told = ended()
    say(f"pid {os.getpid()}")
    bank = SqliteBank.open(Path(path), HashEmbedder(), merge_similarity=1.0)
    number = 0
    while not told:
        number += 1
        unit = MemoryUnit(
            # Enough words that no two hashed vectors are alike: nothing merges, every unit can be counted.
            question=" ".join(f"{name}w{number * factor}" for factor in range(1, 25)),
            workflow=f"1. search for {number}",
            outcome=(Outcome.CORRECT, Outcome.INCORRECT)[number % 2],
            namespace=f"n{number % 3}",
        )
        change = Consolidation(units=(unit,), credits=(Credit(unit_id=credited, won=True),))
        say(f"ack {bank.consolidate(change).unit_ids[0]}")


def ended() -> list[int]:
    """Grows when the child is told to end (SIGTERM): it then leaves nothing half done."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    return told


def say(line: str) -> None:
    """One line to the test, in one write."""
    os.write(1, f"{line}\n".encode())


def main() -> None:
    faiss_build()
    # The kernel reaps the killed children.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        if os.fork() == 0:
            write_for_ever(*line.split())
            say("bye 0")
            os._exit(0)


if __name__ == "__main__":
    main()
