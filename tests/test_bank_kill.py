"""Two processes write to one bank and are killed over and over: what was acknowledged is there."""

import random
import sys
import time
from pathlib import Path

import pytest

from benchmarks.killed import Writer
from mia_skill.core.types import MemoryUnit, Outcome
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank

KILLS = 200
WRITERS = Path(__file__).parents[1] / "benchmarks" / "bank_writers.py"


@pytest.mark.real
@pytest.mark.slow
def test_every_acknowledged_unit_survives_two_hundred_kills_of_two_writers(tmp_path):
    path = tmp_path / "bank.sqlite3"
    bank = SqliteBank.open(path, HashEmbedder(), merge_similarity=1.0)
    known = MemoryUnit(question="who gets the credit", workflow="1. count", outcome=Outcome.CORRECT)
    bank.consolidate(Consolidation(units=(known,)))
    rng = random.Random(7)
    told = f"{path} {{name}} {known.id}"
    environment = {"PYTHONPATH": str(WRITERS.parents[1])}
    writers = [Writer([sys.executable, str(WRITERS)], told, name, environment) for name in "ab"]
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
        assert_kept(one, acked, known.id, runs, rng)
        one.close()


def assert_kept(one, acked, known_id, runs, rng):
    """What was acknowledged is there, is counted once, and is found."""
    held = {line["id"] for line in one.export() if line["kind"] == "unit"}
    assert set(acked) <= held
    uses = one.get(known_id).uses
    assert uses == one.get(known_id).wins == len(held) - 1
    # Each kill may leave one consolidation that was written but not yet acknowledged.
    assert len(acked) <= uses <= len(acked) + runs
    assert len(acked) > KILLS
    health = one.health()
    assert (health.problems, health.units) == ((), len(held))
    for unit_id in rng.sample(acked, 100):
        unit = one.get(unit_id)
        hits = one.recall(MemoryQuery(text=unit.question, namespace=unit.namespace, min_similarity=0.999)).hits
        assert any(hit.similarity > 0.999 for hit in hits)
