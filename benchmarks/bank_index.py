"""Which index for a large bucket of the bank? One table, one thread, vectors given:

    python benchmarks/bank_index.py [--vectors 200000] [--only NAME,...]

flat      float32, as small buckets have it; exact
fp16      half precision, as large buckets have it (`retrieval.half.HalfIndex`): the 10 nearest it names itself, ...
+ read    ... and with those in doubt read at full precision, as a recall does
ivf       inverted lists at half precision, 4 * sqrt(N) of them, one in 32 looked into; trained on a sample
hnsw      a graph at half precision: 32 neighbours, 100 candidates while building, 64 while searching

build: CPU seconds from vectors to an index; every server does it when it opens the bank. recall@10: against flat.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import faiss
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.peers import clocked
from benchmarks.stub import DIMENSION, TOPICS
from retrieval.half import HalfIndex
from retrieval.vectors import Rows

K, QUERIES, ADDS = 10, 50, 20
PROBED, EDGES, EF_BUILD, EF_SEARCH = 1 / 32, 32, 100, 64
Search = Callable[[Rows], Any]


def drawn(count: int, seed: int) -> Rows:
    """Vectors of length 1 around topics."""
    topics = np.random.default_rng(0).standard_normal((TOPICS, DIMENSION), dtype=np.float32)
    rng = np.random.default_rng(seed)
    rows = topics[rng.integers(0, TOPICS, count)] + rng.standard_normal((count, DIMENSION), dtype=np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def made(name: str, rows: Rows) -> Any:
    """The index, filled."""
    product, half = faiss.METRIC_INNER_PRODUCT, faiss.ScalarQuantizer.QT_fp16
    if name in ("fp16", "+ read"):
        rounded = HalfIndex(DIMENSION)
        rounded.add(rows)
        return rounded
    if name == "ivf":
        lists = 4 * math.isqrt(len(rows))
        index = faiss.index_factory(DIMENSION, f"IVF{lists},SQfp16", product)
        index.nprobe = max(1, round(lists * PROBED))
        index.train(rows[: 40 * lists])
    elif name == "hnsw":
        index = faiss.IndexHNSWSQ(DIMENSION, half, EDGES, product)
        index.hnsw.efConstruction, index.hnsw.efSearch = EF_BUILD, EF_SEARCH
        index.train(rows[:1000])
    else:
        index = faiss.IndexFlatIP(DIMENSION)
    index.add(rows)
    return index


def nearest(name: str, index: Any, rows: Rows, query_D: Rows) -> list[int]:
    """The ten positions it names."""
    if name == "fp16":
        return [int(at) for at in index.nearest(query_D, K)[0]]
    if name == "+ read":
        at, products = index.nearest(query_D, 2 * K)
        near = at[products >= products[K - 1] - 2 * index.slack]
        return [int(one) for one in near[np.argsort(-(rows[near] @ query_D), kind="stable")[:K]]]
    return [int(at) for at in index.search(query_D[None], K)[1][0]]


def size_of(name: str, index: Any) -> float:
    """MiB, as FAISS would write it."""
    whole = faiss.serialize_index(index._index if isinstance(index, HalfIndex) else index)
    return float(len(whole)) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--only", default="flat,fp16,+ read,ivf,hnsw", help="comma-separated")
    given = parser.parse_args()
    faiss.omp_set_num_threads(1)
    rows, asked, fresh = drawn(given.vectors, 1), drawn(QUERIES, 2), drawn(ADDS, 3)
    flat = made("flat", rows)
    exact = [set(nearest("flat", flat, rows, query)) for query in asked]
    table = Table(title=f"{given.vectors:,} vectors, {DIMENSION} dimensions, one thread")
    for title in ("", "build CPU s", "query CPU ms", "recall@10", "MiB", "add CPU ms"):
        table.add_column(title, justify="left" if not title else "right")
    for name in given.only.split(","):
        start = time.process_time()
        index = made(name, rows)
        built = time.process_time() - start
        times, right = [], []
        for query, wanted in zip(asked, exact, strict=True):
            times.append(clocked(partial(nearest, name, index, rows, query))[1])
            right.append(len(wanted & set(nearest(name, index, rows, query))) / K)
        size = size_of(name, index)
        adds = [clocked(partial(index.add, row[None]))[1] for row in fresh]
        told = (built, float(np.median(times)), float(np.mean(right)), size, float(np.median(adds)))
        table.add_row(name, *(f"{value:.{digits}f}" for value, digits in zip(told, (1, 2, 3, 0, 2), strict=True)))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
