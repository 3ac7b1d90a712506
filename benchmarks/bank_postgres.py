"""Several writers on one bank on PostgreSQL with pgvector, and what a recall costs there beside SQLite:

    python tests/with_postgres.py --install .venv-postgres python -m benchmarks.bank_postgres [--units 5000]

Each writer is a process that stores units (duplicate check, credit, log entry: one durable transaction each) for some
seconds; then every acknowledged unit is counted. Recalls: both banks hold the same units, stub vectors of 384 numbers,
and take turns. MIA_POSTGRES_URL names the server.
"""

import argparse
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.bank import Known, clocked, units
from benchmarks.stub import Topical, asked_texts, stored_texts
from mia_skill.core.script import missing, script
from mia_skill.core.types import Credit
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.postgres_bank import PostgresBank
from retrieval.sqlite_bank import SqliteBank

try:
    import psycopg
except ImportError as cause:
    raise missing(cause, __name__, "'mia-skill[postgres]'") from None

SCHEMA = "mia_benchmark"
QUERIES = 60


def write(url: str, name: str, seconds: float) -> None:
    """One writer: prints how many it stored."""
    bank = PostgresBank.open(url, Topical(), schema=SCHEMA)
    first = bank.list(limit=1).units[0].id
    stored, until = 0, time.monotonic() + seconds
    for unit in units(f"{name} {text}" for text in stored_texts(1_000_000)):
        if time.monotonic() > until:
            break
        bank.consolidate(Consolidation(units=(unit,), credits=(Credit(unit_id=first, won=True),)))
        stored += 1
    bank.close()
    sys.stdout.write(f"{stored}\n")


def writers(url: str, seconds: float) -> None:
    """One, two and four at once."""
    bank = PostgresBank.open(url, Topical(), schema=SCHEMA)
    for count in (1, 2, 4):
        before = bank.list(limit=1).total
        told = [("--write", f"{count}x{one}", "--seconds", str(seconds)) for one in range(count)]
        command = [sys.executable, "-m", "benchmarks.bank_postgres"]
        started = [subprocess.Popen([*command, *words], stdout=subprocess.PIPE, text=True) for words in told]
        stored = sum(int(one.communicate()[0]) for one in started)
        lost = before + stored - bank.list(limit=1).total
        print(f"{count} writers: {stored / seconds:.0f} units a second together, {lost} lost")
    print(f"the log after it: {'sound' if bank.verify_log().sound else 'NOT SOUND'}")
    bank.close()


def recalls(url: str, size: int) -> None:
    """The same questions to both."""
    asked = asked_texts(QUERIES)
    with TemporaryDirectory() as folder:
        small = SqliteBank.open(Path(folder) / "b.sqlite3", Known(asked))
        large = PostgresBank.open(url, Known(asked), schema=SCHEMA)
        for bank in (small, large):
            rows = ({"kind": "unit", **one.model_dump(mode="json")} for one in units(stored_texts(size)))
            start = time.perf_counter()
            bank.import_(rows, restore=True)
            print(f"{type(bank).__name__}: {size:,} units in {time.perf_counter() - start:.0f} s")
        queries = [MemoryQuery(text=text, min_relevance=0.0, max_tokens=100_000) for text in asked]
        small.recall(queries[0])
        times = [(clocked(partial(small.recall, one))[0], clocked(partial(large.recall, one))[0]) for one in queries]
        for name, of in zip(("SQLite", "PostgreSQL"), zip(*times, strict=True), strict=True):
            print(f"recall over {size:,} units, {name}: p50 {np.median(of):.1f} ms")
        small.close()
        large.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    given = parser.parse_args()
    url = os.environ["MIA_POSTGRES_URL"]
    if given.write:
        write(url, given.write, given.seconds)
        return
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    recalls(url, given.units)
    writers(url, given.seconds)


if __name__ == "__main__":
    script(main)
