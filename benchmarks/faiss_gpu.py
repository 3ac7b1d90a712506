"""Vector search on CPU and GPU with FAISS, side by side: exact and by inverted lists..

    python benchmarks/faiss_gpu.py [--rows 1000000] [--dimension 384] [--k 10] [--cpu-rows 1000000]

Unit vectors from a seed, scattered about a thousand centres. The exact GPU index is the one
that `retrieval.ann.gpu_search` makes: rows as float16, shared among all GPUs seen, added block by block; that function
itself is used when the project can be imported. The lists are trained once, on the GPU if there is one, and searched by
both. Prints, for several batch sizes, milliseconds a batch and queries a second, and the share of the CPU's exact top k
that is found. Where faiss has no GPU build, or sees no GPU, only the CPU is measured; with torch and a GPU, a float16
matrix product with top-k in torch as well, for machines on which faiss-gpu cannot be installed.
"""

import argparse
import importlib.util
import math
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np

BATCHES = (1, 8, 32, 256, 1024)
BLOCK = 65_536
PROBED = (16, 64)
"""Lists that a query looks into."""
SPREAD = 1.2
"""Length of a row's own part beside its centre's 1."""
Search = Callable[[Any, int], Any]
"""Queries `[Q, D]` and k to positions `[Q, k]`."""


def main() -> None:
    args = arguments()
    rows = unit_rows(args.rows, args.dimension)
    queries = unit_rows(max(BATCHES), args.dimension, seed=1).astype(np.float32)
    print(f"{args.rows} vectors of {args.dimension}, float16 {rows.nbytes / 1e9:.2f} GB; top {args.k}")
    print(f"faiss {faiss.__version__}, {gpus()} GPUs seen, {faiss.omp_get_max_threads()} threads")
    few = rows[: args.cpu_rows]
    exact = cpu_search(few)
    wanted = exact(queries[:256], args.k)
    report(f"faiss flat fp32, cpu, {len(few)} rows", exact, queries, args.k)
    del exact
    if gpus():
        began = time.perf_counter()
        search = gpu_search(rows)
        print(f"rows on the GPUs after {time.perf_counter() - began:.1f} s")
        report(f"faiss flat fp16, {gpus()} gpu, {args.rows} rows", search, queries, args.k)
        agreement(wanted, search if len(few) == len(rows) else gpu_search(few), queries[:256], args.k)
    else:
        print("faiss has no GPU here: install faiss-gpu in place of faiss-cpu")
    lists_too(few, wanted, queries, args.k)
    torch_too(rows, few, wanted, queries, args.k)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Exact vector search on CPU and GPU")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--cpu-rows", type=int, default=1_000_000, help="The CPU gets the first so many.")
    parser.add_argument("--dimension", type=int, default=384)
    parser.add_argument("--k", type=int, default=10)
    return parser.parse_args()


def gpus() -> int:
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def unit_rows(count: int, dimension: int, seed: int = 0) -> Any:
    """Float16 rows of length 1, made block by block; rows of every seed lie about the same centres."""
    centres = np.random.default_rng(7).standard_normal((1_000, dimension), dtype=np.float32)
    random = np.random.default_rng(seed)
    rows = np.empty((count, dimension), dtype=np.float16)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        block = SPREAD * random.standard_normal((size, dimension), dtype=np.float32)
        block += centres[random.integers(len(centres), size=size)]
        rows[start : start + size] = block / np.linalg.norm(block, axis=1, keepdims=True)
    return rows


def cpu_search(rows: Any) -> Search:
    """The exact CPU index, with BLAS for batches as the project sets it."""
    if hasattr(faiss.cvar, "distance_compute_blas_threshold"):
        faiss.cvar.distance_compute_blas_threshold = 4 * rows.shape[1]
    index = faiss.IndexFlatIP(rows.shape[1])
    for start in range(0, len(rows), BLOCK):
        index.add(rows[start : start + BLOCK].astype(np.float32))
    return lambda queries, k: index.search(queries, k)[1]


def gpu_search(rows: Any) -> Search:
    """The project's own function where it can be imported, else the same again."""
    if importlib.util.find_spec("retrieval") and importlib.util.find_spec("pydantic"):
        from retrieval import ann

        own = ann.gpu_search(rows, ann.chosen_layout(len(rows), rows.shape[1]))
        assert own is not None
        print("(through retrieval.ann.gpu_search)")
        return lambda queries, k: np.array([[place for place, _ in near] for near in own.search(queries, k)])
    shards = faiss.IndexShards(rows.shape[1], True, True)
    held = []
    for gpu, part in enumerate(np.array_split(np.arange(len(rows)), gpus())):
        options = faiss.GpuIndexFlatConfig()
        options.device, options.useFloat16 = gpu, True
        resources = faiss.StandardGpuResources()
        index = faiss.GpuIndexFlat(resources, rows.shape[1], faiss.METRIC_INNER_PRODUCT, options)
        for start in range(int(part[0]), int(part[-1]) + 1, BLOCK):
            index.add(rows[start : min(start + BLOCK, int(part[-1]) + 1)].astype(np.float32))
        shards.add_shard(index)
        held += [resources, index]
    return lambda queries, k, _held=held: shards.search(queries, k)[1]  # type: ignore[misc]


def lists_too(rows: Any, wanted: Any, queries: Any, k: int) -> None:
    """Inverted lists of float32 rows, the same ones on both sides."""
    began = time.perf_counter()
    quantiser = faiss.IndexFlatIP(rows.shape[1])
    lists = faiss.IndexIVFFlat(quantiser, rows.shape[1], 4 * math.isqrt(len(rows)), faiss.METRIC_INNER_PRODUCT)
    resources = faiss.StandardGpuResources() if gpus() else None
    index = faiss.index_cpu_to_gpu(resources, 0, lists) if resources else lists
    index.train(rows[:: max(1, len(rows) // (50 * lists.nlist))].astype(np.float32))
    for start in range(0, len(rows), BLOCK):
        index.add(rows[start : start + BLOCK].astype(np.float32))
    print(f"{lists.nlist} lists of {len(rows)} rows trained and filled after {time.perf_counter() - began:.1f} s")
    sides = {"gpu": index, "cpu": faiss.index_gpu_to_cpu(index)} if resources else {"cpu": index}
    for probed in PROBED:
        for name, side in sides.items():
            side.nprobe = probed
            search: Search = lambda asked, k, _side=side: _side.search(asked, k)[1]  # type: ignore[misc]  # noqa: E731
            report(f"faiss lists fp32, {probed} probed, {name}, {len(rows)} rows", search, queries, k)
            agreement(wanted, search, queries[:256], k)


def torch_too(rows: Any, few: Any, wanted: Any, queries: Any, k: int) -> None:
    """A float16 product and top-k, if torch and a GPU are there."""
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    if not torch.cuda.is_available():
        return
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name(0)}")

    def on(rows_ND: Any) -> Search:
        held = torch.from_numpy(rows_ND).cuda()

        def search(asked: Any, k: int) -> Any:
            score = torch.from_numpy(asked).cuda().half() @ held.T
            return score.topk(k, dim=1).indices.cpu().numpy()

        return search

    report(f"torch product fp16, 1 gpu, {len(rows)} rows", on(rows), queries, k)
    agreement(wanted, on(few), queries[:256], k)


def report(name: str, search: Search, queries: Any, k: int) -> None:
    """Median of five for each batch size."""
    print(name)
    for batch in BATCHES:
        asked = np.ascontiguousarray(queries[:batch])
        search(asked, k)
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            search(asked, k)
            taken.append(time.perf_counter() - began)
        median = sorted(taken)[2]
        print(f"  batch {batch:5}{1000 * median:10.2f} ms{batch / median:12.0f} queries/s")


def agreement(wanted: Any, other: Search, queries: Any, k: int) -> None:
    """How much of the exact top k the other finds."""
    shares = [
        len(set(map(int, one)) & set(map(int, two))) / k for one, two in zip(wanted, other(queries, k), strict=True)
    ]
    print(f"  top {k} shared with exact float32 search: {np.mean(shares):.4f}")


if __name__ == "__main__":
    main()
