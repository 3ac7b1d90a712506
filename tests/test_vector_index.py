"""Which index is chosen, what it finds, and that GPUs are used only where FAISS sees some."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import pytest

from mia_skill.core.errors import InputError
from mia_skill.core.types import Passage
from retrieval.ann import Layout, VectorSearch, build_index, chosen_layout, gpu_search, load_index
from retrieval.rerank import LinkReranker


@pytest.fixture
def threshold() -> Iterator[None]:
    kept = faiss.cvar.distance_compute_blas_threshold
    yield
    faiss.cvar.distance_compute_blas_threshold = kept


def unit(count: int, dimension: int = 32, seed: int = 0) -> Any:
    rows = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)


@pytest.mark.parametrize(
    ("count", "kind", "precision"),
    [(1, "flat", "fp32"), (50_000, "flat", "fp32"), (50_001, "hnsw", "fp16"), (21_000_000, "ivfpq", "fp16")],
)
def test_the_index_grows_with_the_corpus(count: int, kind: str, precision: str) -> None:
    assert chosen_layout(count, 384) == Layout(kind=kind, precision=precision, dimension=384)  # type: ignore[arg-type]


def test_quantised_lists_find_the_nearest_because_they_compare_again(tmp_path: Any, threshold: None) -> None:
    centres = unit(800, seed=1).astype(np.float32)
    rows = np.repeat(centres, 15, axis=0) + 0.1 * unit(12_000, seed=2)
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)
    layout = chosen_layout(len(rows), 32, "ivfpq")
    told: list[int] = []
    build_index(rows, layout, tmp_path / "v", told.append)
    assert told[-1] == len(rows)
    index = load_index(tmp_path / "v", layout, rows)
    queries = rows[::400].astype(np.float32)
    exact = np.argsort(-(queries @ rows.T.astype(np.float32)), axis=1, kind="stable")[:, :10]
    found = index.search(queries, 10)
    shared = [len(set(map(int, best)) & {place for place, _ in near}) for best, near in zip(exact, found, strict=True)]
    assert np.mean(shared) > 9
    assert all(near[0][1] == pytest.approx(1.0, abs=1e-2) for near in found)


def test_more_than_there_is_and_nothing_at_all_are_fine(threshold: None) -> None:
    index = faiss.IndexFlatIP(32)
    search = VectorSearch(index, chosen_layout(1, 32))
    assert search.search(unit(2).astype(np.float32), 5) == [[], []]
    index.add(unit(3).astype(np.float32))
    assert [len(near) for near in search.search(unit(2).astype(np.float32), 50)] == [3, 3]
    assert search.search(np.zeros((0, 32), np.float32), 5) == []


def test_batches_use_blas_from_four_queries_on(threshold: None) -> None:
    VectorSearch(faiss.IndexFlatIP(32), chosen_layout(1, 32))
    assert faiss.cvar.distance_compute_blas_threshold == 4 * 32


def gpu_build(gpus: int, made: list[tuple[int, bool]] | None = None) -> Any:
    """What a GPU build has beyond a CPU build, on CPU indexes; `made` notes device and precision of each index."""

    def flat(_resources: object, dimension: int, metric: int, options: Any) -> Any:
        if made is not None:
            made.append((options.device, options.useFloat16))
        assert metric == faiss.METRIC_INNER_PRODUCT
        return faiss.IndexFlatIP(dimension)

    return SimpleNamespace(
        get_num_gpus=lambda: gpus,
        StandardGpuResources=object,
        GpuIndexFlatConfig=SimpleNamespace,
        GpuIndexFlat=flat,
        IndexShards=faiss.IndexShards,
        METRIC_INNER_PRODUCT=faiss.METRIC_INNER_PRODUCT,
    )


def test_without_a_gpu_or_a_gpu_build_the_cpu_searches() -> None:
    rows, layout = unit(10), chosen_layout(10, 32)
    assert gpu_search(rows, layout) is None or faiss.get_num_gpus()
    assert gpu_search(rows, layout, gpu_build(0)) is None
    assert gpu_search(rows, layout, SimpleNamespace(get_num_gpus=lambda: 2)) is None


@pytest.mark.parametrize("gpus", [1, 3])
def test_with_gpus_the_rows_are_shared_among_them_at_half_precision_and_found(gpus: int, threshold: None) -> None:
    rows = unit(100)
    made: list[tuple[int, bool]] = []
    search = gpu_search(rows, chosen_layout(100, 32), gpu_build(gpus, made))
    assert search is not None
    assert len(search) == 100
    assert made == [(gpu, True) for gpu in range(gpus)]
    found = search.search(rows[[3, 97]].astype(np.float32), 1)
    assert [near[0][0] for near in found] == [3, 97]


def test_int8_is_refused_only_where_it_makes_no_sense() -> None:
    assert chosen_layout(10, 32, "flat", "int8").precision == "int8"
    with pytest.raises(InputError):
        chosen_layout(10, 32, "ivfpq")


# -- the reranker -------------------------------------------------------------------------------------------------


def page(id_: str, title: str, text: str) -> Passage:
    return Passage(id=id_, title=title, text=text)


def test_a_page_that_the_first_hit_names_rises_above_one_that_nobody_names() -> None:
    hits = [
        (page("1", "Velmora Works", "Set up by Aldric Tesh in 1874."), 0.18),
        (page("2", "Glass", "Glass is old."), 0.14),
        (page("3", "Aldric Tesh (founder)", "Born in Ostrava Nova."), 0.12),
    ]
    assert [place for place, _ in LinkReranker().rerank("where was the founder born?", hits)][-1] == 1
    assert next(place for place, _ in LinkReranker().rerank("What is glass?", hits)) == 1


def test_titles_count_as_whole_words_and_not_for_themselves() -> None:
    hits = [(page("1", "Art", "Articles on art."), 0.1), (page("2", "A", "a"), 0.09), (page("3", "Party", "x"), 0.08)]
    assert LinkReranker().rerank("a smart question", hits) == [(0, 0.1), (1, 0.09), (2, 0.08)]
    assert LinkReranker().rerank("x", []) == []
