"""How much the memory bank costs over a bare FAISS index:

    python benchmarks/bank.py [--sizes 1000,10000,100000] [--scoring blend|paper]

Every size runs in a process of its own (its RSS is that process's). Vectors are given, so embedding is excluded; it is
timed apart with the packaged MiniLM. Both sides run on one thread and take turns, query by query. Compared are

  all rows     one IndexFlatIP over every unit, top 10: what a store without buckets, outcomes or scores would do
  same buckets two IndexFlatIP searches, top 2 each, over exactly the successes and failures that recall looks at

Aim: p50 of recall <= 2 x bare (all rows) + 1 ms.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, get_args

import faiss
import numpy as np
import psutil  # type: ignore[import-untyped]
from rich.console import Console
from rich.table import Table

from mia_skill.core.types import Credit, MemoryUnit, Outcome
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import MiniLM
from retrieval.shape import masked_text
from retrieval.sqlite_bank import SqliteBank
from retrieval.vectors import Kind, Rows

Scoring = Literal["blend", "paper"]
DIMENSION = 384
TOPICS = 64
QUERIES = 200
ADDS = 200
CHUNK = 1000
"""Even, as successes and failures alternate."""


class Topical:
    """Vectors around topics, drawn from the text's own hash: no model, no cost worth naming."""

    identity = "benchmark"
    dimension = DIMENSION

    def __init__(self) -> None:
        self._topics = np.random.default_rng(0).standard_normal((TOPICS, DIMENSION))

    def embed(self, texts: Sequence[str], kind: Kind = "query") -> Rows:
        rows = np.stack([self._row(text) for text in texts])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    def _row(self, text: str) -> np.ndarray:
        seed = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
        noise = np.random.default_rng(seed).standard_normal(DIMENSION)
        return np.asarray(self._topics[seed % TOPICS] + noise)


class Known(Topical):
    """Queries whose vectors, also those of their masked form, were made beforehand."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__()
        every = list(dict.fromkeys([*texts, *map(masked_text, texts)]))
        self._known = dict(zip(every, super().embed(every), strict=True))

    def embed(self, texts: Sequence[str], kind: Kind = "query") -> Rows:
        if all(text in self._known for text in texts):
            return np.stack([self._known[text] for text in texts])
        return super().embed(texts, kind)


def units(count: int) -> Iterator[MemoryUnit]:
    """Half successes, half failures, with statistics and a workflow of the usual length."""
    steps = "\n".join(f"{step}. search for what the question names (name -> page)" for step in range(1, 6))
    rng = np.random.default_rng(1)
    for number in range(count):
        uses = int(rng.integers(0, 9))
        yield MemoryUnit(
            question=f"stored question number {number}: where was the author of the book born?",
            workflow=steps,
            outcome=(Outcome.CORRECT, Outcome.INCORRECT)[number % 2],
            uses=uses,
            wins=int(rng.integers(0, uses + 1)),
        )


def milliseconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - start)


def measure(size: int, scoring: Scoring) -> dict[str, float]:
    """All figures of one size. Milliseconds, seconds, MiB."""
    faiss.omp_set_num_threads(1)
    asked = [f"asked question number {number}" for number in range(QUERIES)]
    embedder = Known(asked)
    process = psutil.Process()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "bank.sqlite3"
        filling = SqliteBank.open(path, embedder, scoring=scoring)
        filling.import_(({"kind": "unit", **unit.model_dump(mode="json")} for unit in units(size)), restore=True)
        filling.close()
        del filling

        before = process.memory_info().rss
        start = time.perf_counter()
        bank = SqliteBank.open(path, embedder, scoring=scoring)
        opened = time.perf_counter() - start
        bank.recall(MemoryQuery(text=asked[0]))
        ready = time.perf_counter() - start
        held = process.memory_info().rss - before
        figures = {
            **queries(bank, embedder, asked, size),
            "open_s": opened,
            "ready_s": ready,
            "rss_mib": held / 2**20,
            "file_mib": path.stat().st_size / 2**20,
            **adds(bank),
        }
        bank.close()
    return figures


def queries(bank: SqliteBank, embedder: Known, asked: Sequence[str], size: int) -> dict[str, float]:
    everything, good, bad = (faiss.IndexFlatIP(DIMENSION) for _ in range(3))
    rest = units(size)
    while chunk := list(islice(rest, CHUNK)):
        rows = embedder.embed([unit.question for unit in chunk])
        everything.add(rows)
        good.add(rows[::2])
        bad.add(rows[1::2])
    times: dict[str, list[float]] = {"recall": [], "all": [], "buckets": []}

    def both(query: Rows) -> None:
        good.search(query, 2)
        bad.search(query, 2)

    for text in asked:
        query = embedder.embed([text])
        question = MemoryQuery(text=text, max_tokens=100_000)
        times["all"].append(milliseconds(partial(everything.search, query, 10)))
        times["buckets"].append(milliseconds(partial(both, query)))
        times["recall"].append(milliseconds(partial(bank.recall, question)))
    return {
        f"{name}_p{percent}": float(np.percentile(values, percent))
        for name, values in times.items()
        for percent in (50, 95)
    }


def adds(bank: SqliteBank) -> dict[str, float]:
    """One unit, its duplicate check and one credit per transaction, each on disk before the next."""
    first = bank.list(limit=1).units[0].id
    fresh = [unit.model_copy(update={"question": f"fresh {unit.question}"}) for unit in units(ADDS)]
    start = time.perf_counter()
    for unit in fresh:
        bank.consolidate(Consolidation(units=(unit,), credits=(Credit(unit_id=first, won=True),)))
    return {"adds_per_s": ADDS / (time.perf_counter() - start)}


def embedding() -> tuple[float, float]:
    """p50 and p95 of one question through MiniLM, milliseconds."""
    model = MiniLM()
    model.embed(["warm up"])
    texts = [f"Which river flows through the town where the author of book {number} was born?" for number in range(60)]
    times = [milliseconds(partial(model.embed, [text])) for text in texts]
    return float(np.percentile(times, 50)), float(np.percentile(times, 95))


def report(figures: dict[int, dict[str, float]], scoring: Scoring) -> Table:
    table = Table(title=f"memory bank ({scoring}) against bare FAISS flat, one thread, 384 dimensions")
    columns = ("units", "recall p50 / p95 ms", "all rows p50 / p95", "same buckets p50 / p95", "ratio to all / buckets")
    for name in (*columns, "aim", "durable adds/s", "open / ready s", "RSS growth MiB", "file MiB"):
        table.add_column(name, justify="right")
    for size, of in figures.items():
        limit = 2 * of["all_p50"] + 1
        table.add_row(
            f"{size:,}",
            f"{of['recall_p50']:.2f} / {of['recall_p95']:.2f}",
            f"{of['all_p50']:.2f} / {of['all_p95']:.2f}",
            f"{of['buckets_p50']:.2f} / {of['buckets_p95']:.2f}",
            f"{of['recall_p50'] / of['all_p50']:.2f} / {of['recall_p50'] / of['buckets_p50']:.2f}",
            f"{'met' if of['recall_p50'] <= limit else 'MISSED'} (<= {limit:.2f})",
            f"{of['adds_per_s']:.0f}",
            f"{of['open_s']:.3f} / {of['ready_s']:.2f}",
            f"{of['rss_mib']:.0f}",
            f"{of['file_mib']:.0f}",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="1000,10000,100000", help="numbers of units, comma-separated")
    parser.add_argument("--scoring", choices=get_args(Scoring), default="blend", help="how units are ranked")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(json.dumps(measure(given.one, given.scoring)))
        return
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    figures = {}
    for size in map(int, given.sizes.split(",")):
        command = [sys.executable, __file__, "--one", str(size), "--scoring", given.scoring]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
        figures[size] = json.loads(done.stdout)
    Console(width=200).print(report(figures, given.scoring))
    p50, p95 = embedding()
    print(f"embedding one question (MiniLM, one thread, not in the figures above): p50 {p50:.1f} ms, p95 {p95:.1f} ms")


if __name__ == "__main__":
    main()
