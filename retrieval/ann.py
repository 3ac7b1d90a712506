"""Nearest neighbours among a corpus' vectors with FAISS: exact for a small one, a graph or quantised lists beyond.

Choice by size, measured on one thread at 384 dimensions (facts: retrieval, 5.1): exact search costs 1 ms a query at
10,000 vectors and 75 ms at a million; HNSW .5 ms at 100,000 but builds at 2,000 vectors a second and falling; IVF
finds .995 of the top ten of a million in 3.5 ms. PQ codes alone lose recall (.57), so its candidates are compared
again with the vectors on disk.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.errors import CorpusError, InputError
from mia_skill.core.require import require
from mia_skill.core.types import Value
from retrieval.raw_vectors import blocks
from retrieval.screen import Screen
from retrieval.vectors import Rows

__all__ = [
    "IndexKind",
    "Layout",
    "Precision",
    "VectorSearch",
    "build_index",
    "chosen_layout",
    "gpu_search",
    "load_index",
]

IndexKind = Literal["flat", "hnsw", "ivfpq"]
Precision = Literal["fp32", "fp16", "int8"]
FLAT_TO, HNSW_TO = 50_000, 200_000
"""Vectors up to which each is chosen."""
LEAST_FOR_LISTS = 10_000
"""Vectors that training a product quantiser needs (39 for each of 256 codes)."""
NEIGHBOURS, EF_BUILD, EF_SEARCH = 32, 100, 64
PROBED = 1 / 32
"""Share of the lists that a query looks into."""
WORTH_THREADS = 4_000_000
"""Queries times vectors (a third of a second of one core) from which a search uses all cores. Below, starting them
costs more than they do: 94 ms instead of 2 for one query over 20,000 vectors on a busy machine of two cores."""
REFINED = 4
"""Candidates compared exactly for each hit wanted."""
SCREENED = (2_000, 200_000)
"""Rows from and to which exact search looks roughly first; below it gains nothing, and its bytes are more memory."""
LEAST_SHARE = 32
"""Rows for each hit wanted, for the same."""


class Layout(Value):
    """How the vectors are searched."""

    kind: IndexKind
    precision: Precision
    """Of the codes in the index; IVF-PQ keeps product codes and compares again at fp16."""
    dimension: int


class VectorSearch:
    """Searches a FAISS index. Safe from several threads; the index does not change."""

    def __init__(
        self, index: Any, layout: Layout, raw_ND: NDArray[np.float16] | None = None, *, held: Sequence[object] = ()
    ) -> None:
        """With `raw_ND`, four times as many candidates are taken and compared exactly. `held` are objects to which
        FAISS keeps plain pointers: they live as long as this."""
        self.held = held
        self._faiss: Any = require("faiss", extra="faiss-gpu")
        self._index, self._layout, self._raw = index, layout, raw_ND
        self._screen = screen_of(self._faiss, index, layout)
        self._threads = int(self._faiss.omp_get_max_threads())
        let_batches_use_blas(self._faiss, layout.dimension)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, query_QD: Rows, depth: int) -> list[list[tuple[int, float]]]:
        """For each query at most `depth` positions with their inner products, best first, equal ones by position."""
        depth = min(depth, len(self))
        if not depth or not len(query_QD):
            return [[] for _ in query_QD]
        query_QD = np.ascontiguousarray(query_QD, dtype=np.float32)
        if self._screen is not None and depth * LEAST_SHARE <= len(self):
            return list(self._screen.search(query_QD, depth))
        # The setting is the calling thread's own: it costs nothing, and must be made in each.
        self._faiss.omp_set_num_threads(self._threads if len(query_QD) * len(self) > WORTH_THREADS else 1)
        taken = min(REFINED * depth, len(self)) if self._raw is not None else depth
        score_QK, place_QK = self._index.search(query_QD, taken, **self._parameters(taken))
        if self._raw is None:
            return listed(place_QK, score_QK)
        rows = zip(query_QD, place_QK, strict=True)
        return [compared(query_D, place_K, self._raw)[:depth] for query_D, place_K in rows]

    def _parameters(self, taken: int) -> dict[str, Any]:
        if self._layout.kind != "hnsw":
            return {}
        return {"params": self._faiss.SearchParametersHNSW(efSearch=max(EF_SEARCH, taken))}


def listed(place_QK: NDArray[np.int64], score_QK: Rows) -> list[list[tuple[int, float]]]:
    """Positions with scores, best first, equal ones by position; FAISS pads with -1."""
    order_QK = np.lexsort((place_QK, -score_QK), axis=-1)
    places = np.take_along_axis(place_QK, order_QK, axis=1).tolist()
    scores = np.take_along_axis(score_QK, order_QK, axis=1).tolist()
    pairs = (zip(*row, strict=True) for row in zip(places, scores, strict=True))
    return [[(place, score) for place, score in row if place >= 0] for row in pairs]


def compared(query_D: Rows, place_K: NDArray[np.int64], raw_ND: NDArray[np.float16]) -> list[tuple[int, float]]:
    """Candidates by their exact products."""
    places = np.sort(place_K[place_K >= 0])
    scores = raw_ND[places].astype(np.float32) @ query_D
    order = np.lexsort((places, -scores))
    return list(zip(places[order].tolist(), scores[order].tolist(), strict=True))


def screen_of(faiss: Any, index: Any, layout: Layout) -> Screen | None:
    """The faster way to the same answers as a flat index of float32 in memory; None for another one."""
    least, most = SCREENED
    if not isinstance(index, faiss.IndexFlat) or layout.precision != "fp32" or not least <= index.ntotal <= most:
        return None
    row_ND: Rows = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)
    return Screen(row_ND)


def chosen_layout(
    count: int, dimension: int, kind: IndexKind | None = None, precision: Precision | None = None
) -> Layout:
    """What suits `count` vectors, unless `kind` or `precision` say else.

    Raises:
        InputError: the wish cannot be met.
    """
    if kind == "ivfpq" and count < LEAST_FOR_LISTS:
        raise InputError(f"ivfpq needs {LEAST_FOR_LISTS} passages to learn its codes from, and there are {count}")
    kind = kind or ("flat" if count <= FLAT_TO else "hnsw" if count <= HNSW_TO else "ivfpq")
    precision = precision or ("fp32" if kind == "flat" else "fp16")
    if precision == "fp32" and kind != "flat":
        raise InputError("fp32 is for the flat index: use fp16 or int8")
    return Layout(kind=kind, precision=precision, dimension=dimension)


def build_index(
    rows_ND: NDArray[np.float16], layout: Layout, path: Path, tell: Callable[[int], None] = lambda _: None
) -> None:
    """Train, fill and write the index; `tell` hears how many vectors are in. Memory: the codes and one block.

    Raises:
        CorpusError: it cannot be written.
    """
    faiss: Any = require("faiss", extra="faiss-gpu")
    index = _empty(faiss, layout, len(rows_ND))
    if not index.is_trained:
        index.train(_sample(rows_ND, _training_size(layout, len(rows_ND))))
    for block in blocks(rows_ND):
        index.add(block)
        tell(int(index.ntotal))
    made = path.with_suffix(".new")
    try:
        faiss.write_index(index, str(made))
    except RuntimeError as cause:
        raise CorpusError(f"cannot write the vector index {path}: {cause}") from cause
    made.replace(path)


def load_index(path: Path, layout: Layout, raw_ND: NDArray[np.float16] | None) -> VectorSearch:
    """The index in `path`, memory-mapped. `raw_ND` refines quantised lists.

    Raises:
        CorpusError: it is missing or damaged.
    """
    faiss: Any = require("faiss", extra="faiss-gpu")
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as cause:
        raise CorpusError(f"the vector index {path} is damaged ({str(cause).splitlines()[0]})") from cause
    if index.d != layout.dimension:
        raise CorpusError(f"the vector index {path} is damaged: {index.d} dimensions, not {layout.dimension}")
    if layout.kind == "ivfpq":
        index.nprobe = max(16, round(index.nlist * PROBED))
    return VectorSearch(index, layout, raw_ND if layout.kind == "ivfpq" or layout.precision == "int8" else None)


def gpu_search(rows_ND: NDArray[np.float16], layout: Layout, faiss: Any = None) -> VectorSearch | None:
    """Exact search at fp16 over all GPUs, the rows shared among them; None without a GPU build or without a GPU.

    Exact, whatever the layout says: a GPU reads 21 million vectors of 384 dimensions (16 GB) in milliseconds.
    `index_cpu_to_all_gpus` is not used: without a GPU it answers with an empty index and no word.
    """
    faiss = faiss or require("faiss", extra="faiss-gpu")
    gpus = faiss.get_num_gpus() if hasattr(faiss, "StandardGpuResources") else 0
    if not gpus:
        return None
    shards = faiss.IndexShards(layout.dimension, True, True)
    kept: list[object] = []
    for gpu, part in enumerate(np.array_split(np.arange(len(rows_ND)), gpus)):
        options = faiss.GpuIndexFlatConfig()
        options.device, options.useFloat16 = gpu, True
        resources = faiss.StandardGpuResources()
        index = faiss.GpuIndexFlat(resources, layout.dimension, faiss.METRIC_INNER_PRODUCT, options)
        for block in blocks(rows_ND[part[0] : part[-1] + 1]) if len(part) else ():
            index.add(block)
        shards.add_shard(index)
        kept += [resources, index]
    return VectorSearch(shards, layout.model_copy(update={"kind": "flat", "precision": "fp16"}), held=kept)


def let_batches_use_blas(faiss: Any, dimension: int) -> None:
    """FAISS 1.15 uses BLAS for exact search only from 335 queries on (at 384 dimensions); it pays from 4 on: 32
    queries cost .31 ms each instead of 1.84 (facts: retrieval, 5.3). The setting is the process's."""
    if hasattr(faiss.cvar, "distance_compute_blas_threshold"):
        faiss.cvar.distance_compute_blas_threshold = 4 * dimension


def _empty(faiss: Any, layout: Layout, count: int) -> Any:
    product, d = faiss.METRIC_INNER_PRODUCT, layout.dimension
    codes = {"fp16": faiss.ScalarQuantizer.QT_fp16, "int8": faiss.ScalarQuantizer.QT_8bit}
    match layout.kind:
        case "flat" if layout.precision == "fp32":
            return faiss.IndexFlatIP(d)
        case "flat":
            return faiss.IndexScalarQuantizer(d, codes[layout.precision], product)
        case "hnsw":
            index = faiss.IndexHNSWSQ(d, codes[layout.precision], NEIGHBOURS, product)
            index.hnsw.efConstruction = EF_BUILD
            return index
        case "ivfpq":
            parts = next(m for m in range(max(1, d // 8), 0, -1) if d % m == 0)
            # "np": without it FAISS anneals the codes for minutes.
            return faiss.index_factory(d, f"IVF{_lists(count)},PQ{parts}x8np", product)


def _lists(count: int) -> int:
    return min(4 * math.isqrt(count), count // 39)


def _training_size(layout: Layout, count: int) -> int:
    return max(LEAST_FOR_LISTS, 40 * _lists(count)) if layout.kind == "ivfpq" else LEAST_FOR_LISTS


def _sample(rows_ND: NDArray[np.float16], size: int) -> Rows:
    """Rows spread evenly, so that the same corpus gives the same index."""
    places = np.linspace(0, len(rows_ND) - 1, min(size, len(rows_ND))).astype(np.int64)
    return np.ascontiguousarray(rows_ND[places], dtype=np.float32)
