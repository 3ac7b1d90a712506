"""One store, one phase, one process: what benchmarks/bank.py starts for every peer, in the peers' own environment.

    PEERS/bin/python benchmarks/peers.py --peer NAME --phase fill|ask|tenants --size N --folder DIR

Prints one JSON object. Vectors are given; nothing is embedded, no language model is called, nothing leaves the machine.
Each store is used as its documentation says: loaded in bulk where it can be, one durable add at a time otherwise.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stub import DIMENSION, Topical, asked_texts, stored_texts

os.environ |= {"MEM0_TELEMETRY": "False", "ANONYMIZED_TELEMETRY": "False", "OPENAI_API_KEY": "none"}
K = 10
TENANTS, EACH = 100, 100
CHUNK = 5_000
ADD_BUDGET_S, MOST_ADDS = 20.0, 200
Rows = np.ndarray


class Store(Protocol):
    """A peer, opened on a folder."""

    def load(self, rows: Rows, texts: Sequence[str], tenants: Sequence[str]) -> None: ...

    def add(self, row: Rows, text: str) -> None:
        """One, on disk when it returns where the store has a disk."""
        ...

    def search(self, row: Rows, text: str, tenant: str | None) -> list[str]:
        """The tenants of what was found, `K` at most; None asks everybody's."""
        ...

    def flush(self) -> None:
        """What is left to be written."""
        ...


class Faiss:
    """The floor: IndexFlatIP and nothing else. No disk, no texts, no tenants."""

    def __init__(self, folder: Path) -> None:
        import faiss

        faiss.omp_set_num_threads(1)
        self._path = folder / "flat.faiss"
        self._faiss = faiss
        self._index = faiss.read_index(str(self._path)) if self._path.exists() else faiss.IndexFlatIP(DIMENSION)

    def load(self, rows: Rows, texts: Sequence[str], tenants: Sequence[str]) -> None:
        self._index.add(rows)

    def add(self, row: Rows, text: str) -> None:
        self._index.add(row[None])

    def search(self, row: Rows, text: str, tenant: str | None) -> list[str]:
        return ["?" for one in self._index.search(row[None], K)[1][0] if one >= 0]

    def flush(self) -> None:
        self._faiss.write_index(self._index, str(self._path))


class Upstream:
    """The published memory service's bucket, in our words and with numpy for torch: a twin check and a new matrix for
    every store, min-max over the whole bucket and two full sorts in Python for every query, one JSON file without
    vectors. On opening it embeds every text again, which is not counted here."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "memory.json"
        self._rows = np.zeros((0, DIMENSION), dtype=np.float32)
        self._entries: list[dict[str, Any]] = []
        if self._path.exists():
            texts = [entry["question"] for entry in json.loads(self._path.read_text())]
            self.load(Topical().embed(texts), texts, [""] * len(texts))

    def load(self, rows: Rows, texts: Sequence[str], tenants: Sequence[str]) -> None:
        self._rows = np.concatenate([self._rows, rows])
        self._entries += [{"question": text, "uses": 1, "wins": 1, "right": n % 2 == 0} for n, text in enumerate(texts)]

    def add(self, row: Rows, text: str) -> None:
        similarities = self._rows @ row
        if not len(similarities) or similarities.max() < 0.9999:
            self.load(row[None], [text], [""])

    def search(self, row: Rows, text: str, tenant: str | None) -> list[str]:
        similarities = self._rows @ row
        spread = (similarities - similarities.min()) / max(float(np.ptp(similarities)), 1e-9)
        scored = [
            (0.7 * float(one) + 0.3 * entry["wins"] / entry["uses"], at)
            for at, (one, entry) in enumerate(zip(spread, self._entries, strict=True))
        ]
        good = sorted((pair for pair in scored if self._entries[pair[1]]["right"]), reverse=True)[: K // 2]
        bad = sorted((pair for pair in scored if not self._entries[pair[1]]["right"]), reverse=True)[: K // 2]
        return ["?" for _ in good + bad]

    def flush(self) -> None:
        self._path.write_text(json.dumps(self._entries))


class Mem0:
    """mem0's `Memory`, embedder replaced by the stub, `infer=False`: no language model is asked."""

    provider = "faiss"

    def __init__(self, folder: Path) -> None:
        from mem0 import Memory

        store = {"collection_name": "bench", "path": str(folder / self.provider), "embedding_model_dims": DIMENSION}
        if self.provider == "faiss":
            store["distance_strategy"] = "cosine"
        else:
            store["on_disk"] = True
        config = {
            "vector_store": {"provider": self.provider, "config": store},
            "embedder": {"provider": "openai", "config": {"api_key": "none", "embedding_dims": DIMENSION}},
            "llm": {"provider": "openai", "config": {"api_key": "none"}},
            "history_db_path": str(folder / "history.db"),
        }
        self._memory = Memory.from_config(config)
        self._memory.embedding_model = self
        self._row: Rows = np.zeros(DIMENSION, dtype=np.float32)

    def embed(self, text: str, memory_action: str | None = None) -> list[float]:
        """Called by mem0."""
        return [float(one) for one in self._row]

    def load(self, rows: Rows, texts: Sequence[str], tenants: Sequence[str]) -> None:
        payloads = [
            {"data": text, "hash": str(hash(text)), "user_id": tenant, "text_lemmatized": text}
            for text, tenant in zip(texts, tenants, strict=True)
        ]
        import uuid

        ids = [str(uuid.uuid4()) for _ in texts]
        self._memory.vector_store.insert(vectors=rows.tolist(), payloads=payloads, ids=ids)

    def add(self, row: Rows, text: str) -> None:
        self._row = row
        self._memory.add(text, user_id="everyone", infer=False)

    def search(self, row: Rows, text: str, tenant: str | None) -> list[str]:
        self._row = row
        wanted = tenant or "everyone"
        found = self._memory.search(text, top_k=K, filters={"user_id": wanted}, threshold=0.0)
        return [one["user_id"] for one in found["results"]]

    def flush(self) -> None:
        """Written already."""


class Mem0Qdrant(Mem0):
    """The same over the store mem0 takes by default."""

    provider = "qdrant"


class Lance:
    """LanceDB: one table, no index, as a small bank would have it."""

    def __init__(self, folder: Path) -> None:
        import lancedb
        import pyarrow as pa

        self._pa = pa
        self._schema = pa.schema(
            [("vector", pa.list_(pa.float32(), DIMENSION)), ("text", pa.string()), ("tenant", pa.string())]
        )
        database = lancedb.connect(str(folder / "lance"))
        self._table = database.create_table("bench", schema=self._schema, exist_ok=True)

    def load(self, rows: Rows, texts: Sequence[str], tenants: Sequence[str]) -> None:
        vectors = self._pa.FixedSizeListArray.from_arrays(self._pa.array(rows.reshape(-1)), DIMENSION)
        columns = [vectors, self._pa.array(list(texts)), self._pa.array(list(tenants))]
        self._table.add(self._pa.Table.from_arrays(columns, schema=self._schema))

    def add(self, row: Rows, text: str) -> None:
        self.load(row[None], [text], ["everyone"])

    def search(self, row: Rows, text: str, tenant: str | None) -> list[str]:
        asked = self._table.search(row).distance_type("dot")
        if tenant is not None:
            asked = asked.where(f"tenant = '{tenant}'", prefilter=True)
        return [one["tenant"] for one in asked.limit(K).to_list()]

    def flush(self) -> None:
        self._table.optimize()


class Chroma:
    """Chroma's persistent client: HNSW, with its own defaults."""

    def __init__(self, folder: Path) -> None:
        import chromadb

        client = chromadb.PersistentClient(str(folder / "chroma"))
        self._table = client.get_or_create_collection(
            "bench", embedding_function=None, configuration={"hnsw": {"space": "ip"}}
        )
        self._count = self._table.count()

    def load(self, rows: Rows, texts: Sequence[str], tenants: Sequence[str]) -> None:
        ids = [str(self._count + at) for at in range(len(texts))]
        self._count += len(texts)
        known = [{"tenant": tenant} for tenant in tenants]
        self._table.add(ids=ids, embeddings=rows, documents=list(texts), metadatas=known)

    def add(self, row: Rows, text: str) -> None:
        self.load(row[None], [text], ["everyone"])

    def search(self, row: Rows, text: str, tenant: str | None) -> list[str]:
        where = None if tenant is None else {"tenant": tenant}
        found = self._table.query(query_embeddings=row[None], n_results=K, where=where)
        return [one["tenant"] for one in found["metadatas"][0]]

    def flush(self) -> None:
        """Written already."""


PEERS: dict[str, Callable[[Path], Store]] = {
    "faiss": Faiss,
    "upstream": Upstream,
    "mem0": Mem0,
    "mem0-qdrant": Mem0Qdrant,
    "lancedb": Lance,
    "chroma": Chroma,
}


def fill(store: Store, size: int, budget_s: float) -> dict[str, float]:
    """Load in bulk, as much as there is time for, then add one by one."""
    embedder, texts, took, loaded = Topical(), stored_texts(size), 0.0, 0
    while took < budget_s and (chunk := list(islice(texts, CHUNK))):
        rows = embedder.embed(chunk)
        start = time.perf_counter()
        store.load(rows, chunk, ["everyone"] * len(chunk))
        took += time.perf_counter() - start
        loaded += len(chunk)
    start = time.perf_counter()
    store.flush()
    took += time.perf_counter() - start
    times: list[float] = []
    fresh = [f"fresh {text}" for text in stored_texts(MOST_ADDS)]
    for text, row in zip(fresh, embedder.embed(fresh), strict=True):
        start = time.perf_counter()
        store.add(row, text)
        times.append(time.perf_counter() - start)
        if sum(times) > ADD_BUDGET_S:
            break
    return {"loaded": loaded, "load_s": took, "add_ms": 1e3 * float(np.median(times))}


def ask(open_: Callable[[Path], Store], folder: Path, size: int, queries: int) -> dict[str, float]:
    """Open what is there, and search; in turns with a bare flat index over the same vectors, so that what else the
    machine does weighs on both."""
    texts = asked_texts(queries)
    rows = Topical().embed(texts)
    before = rss()
    start = time.perf_counter()
    store = open_(folder)
    store.search(rows[0], texts[0], None)
    figures = {"ready_s": time.perf_counter() - start, "rss_mib": rss() - before, "disk_mib": held(folder)}
    flat = bare(size)
    times: list[tuple[float, float]] = []
    beside: list[tuple[float, float]] = []
    for text, row in zip(texts, rows, strict=True):
        beside.append(clocked(partial(flat.search, row[None], K)))
        times.append(clocked(partial(store.search, row, text, None)))
        if sum(wall for wall, _ in times) > 1e3 * ADD_BUDGET_S:
            break
    return {**figures, **percentiles("search", times), **percentiles("bare", beside)}


def clocked(call: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds: by the wall, and of this process's CPU time."""
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return 1e3 * (time.perf_counter() - wall), 1e3 * (time.process_time() - cpu)


def bare(size: int) -> Any:
    """IndexFlatIP over the stored texts."""
    import faiss

    faiss.omp_set_num_threads(1)
    index, embedder, texts = faiss.IndexFlatIP(DIMENSION), Topical(), stored_texts(size)
    while chunk := list(islice(texts, CHUNK)):
        index.add(embedder.embed(chunk))
    return index


def percentiles(name: str, times: Sequence[tuple[float, float]]) -> dict[str, float]:
    """p50 and p95 by the wall, p50 of CPU time."""
    walls, cpus = zip(*times, strict=True)
    p50, p95 = np.percentile(walls, (50, 95))
    return {f"{name}_p50": float(p50), f"{name}_p95": float(p95), f"{name}_cpu": float(np.median(cpus))}


def held(folder: Path) -> float:
    """MiB on disk."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20


def tenants(store: Store) -> dict[str, float]:
    """How many of the ten that each tenant asked for are its own."""
    names = [f"tenant{number}" for number in range(TENANTS)]
    texts = list(stored_texts(TENANTS * EACH))
    embedder = Topical()
    for at in range(0, len(texts), CHUNK):
        part = texts[at : at + CHUNK]
        store.load(embedder.embed(part), part, [names[(at + n) % TENANTS] for n in range(len(part))])
    store.flush()
    asked = asked_texts(TENANTS)
    found = [
        sum(one == name for one in store.search(row, text, name))
        for name, text, row in zip(names, asked, embedder.embed(asked), strict=True)
    ]
    return {"tenant_found": float(np.mean(found))}


def rss() -> float:
    """MiB held now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", choices=PEERS, required=True)
    parser.add_argument("--phase", choices=("fill", "ask", "tenants"), required=True)
    parser.add_argument("--size", type=int, default=1000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--load-budget", type=float, default=float("inf"), help="seconds, then no further chunk")
    parser.add_argument("--folder", type=Path, required=True)
    given = parser.parse_args()
    open_ = PEERS[given.peer]
    if given.phase == "fill":
        figures = fill(open_(given.folder), given.size, given.load_budget)
    elif given.phase == "ask":
        figures = ask(open_, given.folder, given.size, given.queries)
    else:
        figures = tenants(open_(given.folder))
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
