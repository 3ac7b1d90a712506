"""Exact search by a rough look first: it gives what comparing everything gives, whatever the rows."""

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retrieval import screen
from retrieval.ann import Layout, VectorSearch
from retrieval.int8_product import FULL, REDUCED, Int8Product, largest_code
from retrieval.screen import Screen
from retrieval.vectors import Rows


def compared(rows: Rows, queries: Rows, depth: int) -> list[list[int]]:
    """By brute force, equal ones by position."""
    scores = np.stack([np.einsum("nd,d->n", rows, query) for query in queries])
    return [np.argsort(-one, kind="stable")[:depth].tolist() for one in scores]


def places(found: list[list[tuple[int, float]]]) -> list[list[int]]:
    return [[place for place, _ in near] for near in found]


def random_rows(count: int, dimension: int = 48, seed: int = 0) -> Rows:
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("largest", [FULL, REDUCED])
@pytest.mark.parametrize("depth", [1, 3, 100])
def test_it_finds_what_comparing_everything_finds(largest: int, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screen, "largest_code", lambda _: largest)
    rows, queries = random_rows(5_000), random_rows(130, seed=1)
    found = list(Screen(rows).search(queries, depth))
    assert places(found) == compared(rows, queries, depth)
    for near, query in zip(found, queries, strict=True):
        assert [score for _, score in near] == pytest.approx(
            [float(rows[place] @ query) for place, _ in near], abs=1e-6
        )


def numbers(most: float) -> st.SearchStrategy[float]:
    """Zero, or of a size whose products do not vanish in float32."""
    return st.floats(-most, most, width=32).map(lambda one: one if abs(one) > 1e-9 else 0.0)


@settings(max_examples=60, deadline=None)
@given(
    rows=arrays(np.float32, (40, 6), elements=numbers(1)),
    query=arrays(np.float32, (1, 6), elements=numbers(128)),
    depth=st.integers(1, 40),
)
def test_no_rows_however_placed_make_it_miss_one(rows: Rows, query: Rows, depth: int) -> None:
    """Rows of any length, equal rows, rows and queries of nothing but zeros."""
    (found,) = Screen(rows).search(query, depth)
    wanted = compared(rows, query, depth)[0]
    exact = np.einsum("nd,d->n", rows, query[0])
    assert [place for place, _ in found] == wanted
    assert [score for _, score in found] == pytest.approx(exact[wanted].tolist(), rel=1e-5, abs=1e-5)


def test_equal_rows_come_in_their_order() -> None:
    rows = np.repeat(random_rows(500), 6, axis=0)
    (found,) = Screen(rows).search(rows[600:601], 6)
    assert [place for place, _ in found] == [600, 601, 602, 603, 604, 605]


def test_many_at_once_find_what_each_finds_alone() -> None:
    whole, queries = Screen(random_rows(3_000)), random_rows(70, seed=2)
    together = list(whole.search(queries, 5))
    assert together == [next(whole.search(query[None], 5)) for query in queries]


def test_a_flat_index_is_searched_this_way_and_gives_the_same_answers() -> None:
    rows, queries = random_rows(4_000), random_rows(9, seed=3)
    index = faiss.IndexFlatIP(48)
    index.add(rows)
    search = VectorSearch(index, Layout(kind="flat", precision="fp32", dimension=48))
    _, wanted = index.search(queries, 10)
    assert places(search.search(queries, 10)) == wanted.tolist()
    deep = search.search(queries, 1_000)
    assert [len(near) for near in deep] == [1_000] * 9
    assert places([near[:10] for near in deep]) == wanted.tolist()


def test_products_of_bytes_are_whole_numbers_times_the_scales() -> None:
    random = np.random.default_rng(0)
    code = random.integers(-FULL, FULL, (300, 17), endpoint=True).astype(np.int8)
    scale = random.random(300, dtype=np.float32)
    query = random.integers(-FULL, FULL, (5, 17), endpoint=True).astype(np.int8)
    wanted = (query.astype(np.int32) @ code.T.astype(np.int32)).astype(np.float32) * scale
    if largest_code(17) == FULL:
        assert np.array_equal(Int8Product(code, scale).scores(query), wanted)
    small = np.clip(code, -REDUCED, REDUCED)
    wanted = (query.astype(np.int32) @ small.T.astype(np.int32)).astype(np.float32) * scale
    assert np.array_equal(Int8Product(small, scale).scores(query), wanted)
