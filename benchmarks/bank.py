"""The memory bank beside bare FAISS and its peers, in one run:

    python benchmarks/bank.py [--units 1000,10000,100000] [--peers VENV] [--only NAME,...] [--keep FOLDER] [--limit S]

`--keep` leaves the stores and what was measured in FOLDER: a run that was broken off goes on from what is filled, also
in the middle of a load of ours, and a later one searches the same stores again. `--limit` bounds a peer's phase; one
that has not loaded everything in half of it is measured with what is in, and the row says how much that is.

`make peers` makes VENV (.venv-peers) from requirements/peers.txt; without --peers only ours and bare FAISS take part,
and over 100,000 units always. Every store and phase runs in a process of its own, on one thread; vectors are given, so
embedding is excluded (it is timed apart with the packaged MiniLM). Every search takes turns with a bare IndexFlatIP
over the same vectors, top 10. "x bare" and the aim compare CPU time, which other work on the machine disturbs less:
wall-clock times are shown as they were. The rows:

  ours          what `memory_retrieve` does: two successes and two failures by the blend; no floor, so that all four are
                found, read and returned
  ours, ten     five and five: ten, as the peers return ten
  ours, paper   two and two by the paper's score
  faiss ...     benchmarks/peers.py says how each peer is used

load: bulk; add: one at a time, on disk before the next (median of 200, or of 20 s); ours checks for duplicates and
credits a unit in the same transaction. ready: opened and first search. tenants: of the ten that each of 100 tenants
with 100 units asked for, how many are its own. Aim: p50 of ours <= 2 x
bare + 1 ms.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from mia_skill.core.script import missing, script
from mia_skill.core.types import Credit, MemoryUnit, Outcome

try:
    import psutil  # type: ignore[import-untyped]
except ImportError as cause:
    raise missing(cause, __name__, "psutil") from None

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers import PEERS, bare, clocked, percentiles
from benchmarks.stub import Topical, asked_texts, stored_texts
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import MiniLM
from retrieval.shape import masked_text
from retrieval.sqlite_bank import SqliteBank
from retrieval.vectors import Kind, Rows

QUERIES, ADDS = 200, 200
TENANTS, EACH = 100, 100
MOST_FOR_PEERS, PHASE_LIMIT_S = 100_000, 600.0
Figures = dict[str, float]
STEPS = "\n".join(f"{step}. search for what the question names (name -> page)" for step in range(1, 6))
ASKED: dict[str, dict[str, object]] = {
    "ours": {"min_relevance": 0.0},
    "ours, ten": {"k_success": 5, "k_failure": 5, "min_relevance": 0.0},
    "ours, paper": {"min_similarity": -1.0},
}


class Known(Topical):
    """Queries whose vectors, also those of their masked form, were made beforehand."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__()
        every = list(dict.fromkeys([*texts, *map(masked_text, texts)]))
        self._known = dict(zip(every, super().embed(every), strict=True))

    def embed(self, texts: Sequence[str], kind: Kind = "query") -> Rows:
        if all(text in self._known for text in texts):
            return np.stack([self._known[text] for text in texts])
        return np.asarray(super().embed(texts, kind))


def units(texts: Iterator[str], namespace: Callable[[int], str] = lambda number: "default") -> Iterator[MemoryUnit]:
    """Half successes, half failures, with statistics and a workflow of the usual length, no two the same."""
    rng = np.random.default_rng(1)
    for number, text in enumerate(texts):
        uses = int(rng.integers(0, 9))
        yield MemoryUnit(
            question=text,
            workflow=f"{STEPS}\n6. note what was found for task{number} on sheet{number * 7}",
            outcome=(Outcome.CORRECT, Outcome.INCORRECT)[number % 2],
            namespace=namespace(number),
            uses=uses,
            wins=int(rng.integers(0, uses + 1)),
        )


def opened(folder: Path, embedder: Topical, name: str = "ours") -> SqliteBank:
    return SqliteBank.open(folder / "bank.sqlite3", embedder, scoring="paper" if name == "ours, paper" else "blend")


def fill(folder: Path, size: int) -> Figures:
    """Import in bulk what is not there yet, then one unit, its duplicate check and one credit per transaction."""
    bank = opened(folder, Topical())
    there = bank.list(limit=1).total
    start = time.perf_counter()
    rest = islice(units(stored_texts(size)), there, None)
    bank.import_(({"kind": "unit", **one.model_dump(mode="json")} for one in rest), restore=True)
    loaded = time.perf_counter() - start
    first = bank.list(limit=1).units[0].id
    times = []
    for unit in units(f"fresh {text}" for text in stored_texts(ADDS)):
        change = Consolidation(units=(unit,), credits=(Credit(unit_id=first, won=True),))
        times.append(clocked(partial(bank.consolidate, change))[0])
    bank.close()
    # Of a load that went on after a break nobody knows how long it took.
    return {"add_ms": float(np.median(times))} | ({} if there else {"load_s": loaded})


def ask(folder: Path, size: int, name: str) -> Figures:
    """Open what is there, and recall."""
    asked = asked_texts(QUERIES)
    embedder = Known(asked)
    queries = [MemoryQuery.model_validate({"text": text, "max_tokens": 100_000, **ASKED[name]}) for text in asked]
    process = psutil.Process()
    before = process.memory_info().rss
    start = time.perf_counter()
    bank = opened(folder, embedder, name)
    bank.recall(queries[0])
    ready = time.perf_counter() - start
    held = process.memory_info().rss - before
    flat = bare(size)
    times: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    for query in queries:
        row = embedder.embed([query.text])
        beside.append(clocked(partial(flat.search, row, 10)))
        times.append(clocked(partial(bank.recall, query)))
    bank.close()
    disk = sum(file.stat().st_size for file in folder.iterdir()) / 2**20
    return {
        **percentiles("search", times),
        **percentiles("bare", beside),
        "ready_s": ready,
        "rss_mib": held / 2**20,
        "disk_mib": disk,
    }


def tenants(folder: Path) -> Figures:
    """See the module."""
    bank = opened(folder, Topical())
    every = units(stored_texts(TENANTS * EACH), lambda number: f"tenant{number % TENANTS}")
    rows = ({"kind": "unit", **one.model_dump(mode="json"), "outcome": "correct"} for one in every)
    bank.import_(rows, restore=True)
    found = []
    for number, text in enumerate(asked_texts(TENANTS)):
        name = f"tenant{number}"
        query = MemoryQuery(text=text, namespace=name, k_success=10, k_failure=0, min_relevance=0.0, max_tokens=100_000)
        found.append(sum(hit.unit.namespace == name for hit in bank.recall(query).hits))
    bank.close()
    return {"tenant_found": float(np.mean(found))}


def embedding() -> tuple[float, float]:
    """p50 and p95 of one question through MiniLM, milliseconds."""
    model = MiniLM()
    model.embed(["warm up"])
    texts = [f"Which river flows through the town where the author of book {number} was born?" for number in range(60)]
    times = [clocked(partial(model.embed, [text]))[0] for text in texts]
    return float(np.percentile(times, 50)), float(np.percentile(times, 95))


def started(command: Sequence[str], limit_s: float | None = None) -> Figures:
    """What a phase measured, in a process of its own.

    Raises:
        subprocess.SubprocessError: it failed, or took longer than it may.
    """
    one_thread = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **one_thread},
        timeout=limit_s,
    )
    return {name: float(value) for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


@dataclass(frozen=True)
class Place:
    """Where one store of one size is, with what was measured while it was made."""

    folder: Path

    def once(self, phase: str, measure: Callable[[Path], Figures]) -> Figures:
        """What `measure` finds, or found in an earlier run."""
        told = self.folder.with_name(f"{self.folder.name}.{phase}.json")
        if told.exists():
            return dict(json.loads(told.read_text()))
        self.folder.mkdir(parents=True, exist_ok=True)
        figures = measure(self.folder)
        told.write_text(json.dumps(figures))
        return figures

    def begun(self, phase: str) -> bool:
        """It was left in the middle."""
        return self.folder.exists() and not self.folder.with_name(f"{self.folder.name}.{phase}.json").exists()


def ours(kept: Path, size: int) -> Iterator[tuple[str, Figures]]:
    """All our rows of one size; the tenants are the same at every size."""

    def phase(name: str, folder: Path, asked: str = "ours") -> Figures:
        told = ("--phase", name, "--folder", str(folder), "--units", str(size), "--asked", asked)
        return started([sys.executable, __file__, *told])

    apart, place = Place(kept / "ours-tenants"), Place(kept / f"ours-{size}")
    if apart.begun("tenants"):
        shutil.rmtree(apart.folder)
    shared = apart.once("tenants", partial(phase, "tenants")) | place.once("fill", partial(phase, "fill"))
    for name in ASKED:
        yield name, {**(shared if name == "ours" else {}), **phase("ask", place.folder, name)}


def peer(python: str, kept: Path, name: str, size: int, limit_s: float) -> Figures:
    """All phases of one peer."""
    script = str(Path(__file__).with_name("peers.py"))

    def phase(phase_: str, folder: Path, count: float = size) -> Figures:
        words = ("--peer", name, "--phase", phase_, "--size", str(int(count)), "--folder", str(folder))
        return started([python, script, *words, "--load-budget", str(limit_s / 2)], limit_s)

    figures: Figures = {}
    apart, place = Place(kept / f"{name}-tenants"), Place(kept / f"{name}-{size}")
    for one, left in ((apart, "tenants"), (place, "fill")):
        if one.begun(left):
            shutil.rmtree(one.folder)
    try:
        if name not in ("faiss", "upstream"):
            figures |= apart.once("tenants", partial(phase, "tenants"))
        figures |= place.once("fill", partial(phase, "fill"))
        figures |= phase("ask", place.folder, figures["loaded"])
    except subprocess.SubprocessError as cause:
        print(f"{name}, {size:,} units: {type(cause).__name__} after {limit_s:.0f} s at most; left at that")
    return figures


def report(size: int, figures: dict[str, Figures]) -> Table:
    """One size."""
    table = Table(title=f"{size:,} units, 384 dimensions, one thread")
    columns = (
        "",
        "search p50 / p95 ms",
        "CPU p50 (x bare)",
        "aim",
        "load s",
        "durable add ms",
        "ready s",
        "RSS MiB",
        "disk MiB",
    )
    for name in (*columns, "tenant's own of 10"):
        table.add_column(name, justify="left" if not name else "right")
    for name, of in figures.items():
        if of.get("loaded", size) < size:
            name = f"{name} ({of['loaded']:,.0f} units loaded)"
        shown = {key: f"{of[key]:{form}}" if key in of else "" for key, form in FORMS.items()}
        if "search_cpu" not in of:
            table.add_row(name, "", "", "", *shown.values())
            continue
        limit = 2 * of["bare_cpu"] + 1
        aim = "" if not name.startswith("ours") else f"{'met' if of['search_cpu'] <= limit else 'MISSED'} ({limit:.1f})"
        searched = f"{of['search_p50']:.2f} / {of['search_p95']:.2f}"
        cpu = f"{of['search_cpu']:.2f} ({of['search_cpu'] / of['bare_cpu']:.1f}x)"
        table.add_row(name, searched, cpu, aim, *shown.values())
    return table


FORMS = {"load_s": ".1f", "add_ms": ".2f", "ready_s": ".2f", "rss_mib": ".0f", "disk_mib": ".0f", "tenant_found": ".1f"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", default="1000,10000,100000", help="numbers of units, comma-separated")
    parser.add_argument("--peers", type=Path, help="environment with the peers (make peers)")
    parser.add_argument("--only", help="peers that take part, comma-separated")
    parser.add_argument("--keep", type=Path, help="leave the stores here, and go on from those that are")
    parser.add_argument("--limit", type=float, default=PHASE_LIMIT_S, help="seconds of a peer's phase")
    for name in ("--phase", "--folder", "--asked"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.phase is not None:
        faiss.omp_set_num_threads(1)
        folder, size = Path(given.folder), int(given.units)
        phases = {"fill": partial(fill, folder, size), "ask": partial(ask, folder, size, given.asked)}
        sys.stdout.write(json.dumps((phases | {"tenants": partial(tenants, folder)})[given.phase]()) + "\n")
        return
    with TemporaryDirectory() as passing:
        compare(given, given.keep or Path(passing))
    p50, p95 = embedding()
    print(f"embedding one question (MiniLM, one thread, not in the figures above): p50 {p50:.1f} ms, p95 {p95:.1f} ms")


def compare(given: argparse.Namespace, kept: Path) -> None:
    """One table a size."""
    wanted = given.only.split(",") if given.only else list(PEERS)
    python = str(given.peers / "bin" / "python") if given.peers else sys.executable
    for size in map(int, given.units.split(",")):
        figures = dict(ours(kept, size))
        able = wanted if given.peers and size <= MOST_FOR_PEERS else [name for name in wanted if name == "faiss"]
        for name in able:
            figures[name] = peer(python, kept, name, size, given.limit)
        Console(width=180).print(report(size, figures))


if __name__ == "__main__":
    script(main)
