"""Two processes write to one bank and are killed over and over: what was acknowledged is there."""

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mia_skill.core.types import MemoryUnit, Outcome
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank

KILLS = 200
WRITERS = Path(__file__).with_name("bank_writers.py")


class Writer:
    """One process after another, each killed by pid at a random moment."""

    def __init__(self, path: Path, credited: str, name: str) -> None:
        self.path, self.credited, self.name = path, credited, name
        self.acked: list[str] = []
        self.started = 0
        self._pid = 0
        self._rest = b""
        root = str(WRITERS.parents[1])
        self._process = subprocess.Popen(
            [sys.executable, str(WRITERS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"},
        )

    def start(self) -> None:
        self.started += 1
        line = f"{self.path} {self.name}{self.started} {self.credited}\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()
        while not self._pid:
            self.read(1.0)

    def read(self, wait_s: float) -> None:
        """Take in what the child has printed; a line cut by the kill was not an acknowledgement."""
        ready, _, _ = select.select([self._process.stdout], [], [], wait_s)
        if ready:
            *lines, self._rest = (self._rest + os.read(self._process.stdout.fileno(), 1 << 16)).split(b"\n")
            for kind, value in (line.decode().split() for line in lines):
                if kind == "pid":
                    self._pid = int(value)
                else:
                    self.acked.append(value)

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        self._pid, before = 0, -1
        while before != len(self.acked):
            before = len(self.acked)
            self.read(0.02)
        self._rest = b""

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=10)


@pytest.mark.real
@pytest.mark.slow
def test_every_acknowledged_unit_survives_two_hundred_kills_of_two_writers(tmp_path):
    path = tmp_path / "bank.sqlite3"
    bank = SqliteBank.open(path, HashEmbedder(), merge_similarity=1.0)
    known = MemoryUnit(question="who gets the credit", workflow="1. count", outcome=Outcome.CORRECT)
    bank.consolidate(Consolidation(units=(known,)))
    rng = random.Random(7)
    writers = [Writer(path, known.id, name) for name in "ab"]
    try:
        for writer in writers:
            writer.start()
        for _ in range(KILLS):
            until = time.monotonic() + rng.uniform(0.005, 0.25)
            while time.monotonic() < until:
                for writer in writers:
                    writer.read(0.005)
            victim = rng.choice(writers)
            victim.kill()
            victim.start()
        for writer in writers:
            writer.kill()
    finally:
        for writer in writers:
            writer.stop()
    acked = [unit_id for writer in writers for unit_id in writer.acked]
    runs = sum(writer.started for writer in writers)
    sys.stdout.write(f"{runs} kills, {len(acked)} acknowledged units\n")

    # This process read before, and follows; a fresh one loads. Both must agree with the rows.
    fresh = SqliteBank.open(path, HashEmbedder(), merge_similarity=1.0)
    for one in (bank, fresh):
        held = {line["id"] for line in one.export() if line["kind"] == "unit"}
        assert set(acked) <= held
        uses = one.get(known.id).uses
        assert uses == one.get(known.id).wins == len(held) - 1
        # Each kill may leave one consolidation that was written but not yet acknowledged.
        assert len(acked) <= uses <= len(acked) + runs
        assert len(acked) > KILLS
        health = one.health()
        assert (health.problems, health.units) == ((), len(held))
        for unit_id in rng.sample(acked, 100):
            unit = one.get(unit_id)
            hits = one.recall(MemoryQuery(text=unit.question, namespace=unit.namespace, min_similarity=0.999)).hits
            assert any(hit.similarity > 0.999 for hit in hits)
        one.close()
