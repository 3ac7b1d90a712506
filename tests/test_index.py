"""Buckets and shelves: they hold what was put, whatever the order of changes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.entries import Batch, Entry
from retrieval.half import HalfIndex, widened
from retrieval.index import FlatIndex, Shelf

D = 8


def vector(seed):
    row = np.random.default_rng(seed).standard_normal(D).astype(np.float32)
    return row / np.linalg.norm(row)


def entry(seq, bucket="a", *, uses=0, wins=0, category="others", caption=None):
    return Entry(seq, bucket, category, uses, wins, vector(seq).tobytes(), caption)


def contents(shelf, key):
    """seq -> (vector, uses) as the bucket has them."""
    bucket = shelf.bucket(key)
    if bucket is None:
        return {}
    rows = bucket.questions()
    return {int(seq): (rows[at], int(bucket.columns["uses"][at])) for at, seq in enumerate(bucket.columns["seq"])}


def test_similarities_are_the_inner_products_in_order():
    index = FlatIndex(D)
    rows = np.stack([vector(seed) for seed in range(50)])
    index.add(rows)
    assert np.allclose(index.similarities(vector(7)), rows @ vector(7), atol=1e-6)
    assert int(index.similarities(vector(7)).argmax()) == 7


def test_an_empty_index_has_no_similarities():
    assert FlatIndex(D).similarities(vector(0)).shape == (0,)


def test_removing_puts_the_last_vector_in_the_gap():
    index = FlatIndex(D)
    index.add(np.stack([vector(seed) for seed in range(4)]))
    index.swap_remove(1)
    assert len(index) == 3
    assert np.array_equal(index.row(1), vector(3))


def test_new_counts_do_not_add_a_second_row():
    shelf = Shelf(D)
    shelf.put([entry(1)])
    shelf.put([entry(1, uses=5)])
    assert {seq: uses for seq, (_, uses) in contents(shelf, "a").items()} == {1: 5}


def test_a_row_that_changes_its_bucket_leaves_the_old_one():
    shelf = Shelf(D)
    shelf.put([entry(1), entry(2)])
    shelf.put([entry(1, "b")])
    assert set(contents(shelf, "a")) == {2}
    assert set(contents(shelf, "b")) == {1}
    assert len(shelf) == 2


@pytest.mark.parametrize(
    "bad",
    [None, b"", vector(1).tobytes()[:-4], np.full(D, np.nan, "f4").tobytes(), (2 * vector(1)).tobytes(), bytes(4 * D)],
)
def test_damaged_vectors_are_left_out_and_named(bad):
    shelf = Shelf(D)
    assert shelf.put([entry(1), entry(2)._replace(question=bad)]) == (2,)
    assert set(contents(shelf, "a")) == {1}


def test_a_damaged_caption_leaves_the_row_out():
    shelf = Shelf(D)
    assert shelf.put([entry(1, caption=b"short")]) == (1,)


def test_captions_are_zero_for_rows_that_came_before_the_first_caption():
    shelf = Shelf(D)
    shelf.put([entry(1)])
    shelf.put([entry(2, caption=vector(9).tobytes())])
    bucket = shelf.bucket("a")
    assert bucket.columns["captioned"].tolist() == [False, True]
    assert bucket.caption_similarities(vector(9)) == pytest.approx([0.0, 1.0])
    assert bucket.caption_similarities(None) is None


CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 9), st.sampled_from("ab"), st.integers(0, 5)),
        st.tuples(st.just("remove"), st.integers(0, 9), st.just(""), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(CHANGES)
def test_any_run_of_changes_leaves_what_a_dictionary_would_hold(changes):
    shelf, expected = Shelf(D), {}
    for what, seq, bucket, uses in changes:
        if what == "put":
            shelf.put([entry(seq, bucket, uses=uses)])
            expected[seq] = (bucket, uses)
        else:
            shelf.remove(seq)
            expected.pop(seq, None)
    for key in "ab":
        held = contents(shelf, key)
        assert {seq: uses for seq, (_, uses) in held.items()} == {
            seq: uses for seq, (bucket, uses) in expected.items() if bucket == key
        }
        assert all(np.array_equal(row, vector(seq)) for seq, (row, _) in held.items())
    assert len(shelf) == len(expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.sampled_from("-cdm")), min_size=1, max_size=12))
def test_rows_that_are_loaded_together_are_as_if_put_one_by_one(given_rows):
    """c: with a caption, d: its question is damaged, m: its caption is."""
    together, single, rows = Shelf(D), Shelf(D), []
    for seq, (bucket, uses, kind) in enumerate(given_rows, 1):
        caption = {"c": vector(seq + 1).tobytes(), "m": b"short"}.get(kind)
        made = entry(seq, bucket, uses=uses, category=f"of {uses}", caption=caption)
        rows.append(made._replace(question=b"" if kind == "d" else made.question))
    damaged = together.load(Batch.of(rows))
    assert damaged == tuple(seq for row in rows for seq in single.put([row]))
    assert len(together) == len(single)
    for key in "ab":
        one, other = together.bucket(key), single.bucket(key)
        if one is None or other is None:
            assert one is other
            continue
        assert np.array_equal(one.questions(), other.questions())
        for name in ("seq", "uses", "captioned"):
            assert one.columns[name].tolist() == other.columns[name].tolist()
        captions = [bucket.caption_similarities(vector(0)) for bucket in (one, other)]
        assert captions[0] is captions[1] is None or np.allclose(*captions)
        for code in {row.category for row in rows}:
            found = [one.columns["category"] == together.code(code), other.columns["category"] == single.code(code)]
            assert np.array_equal(*found)


def rounded(shelf, key):
    return shelf.bucket(key).rounded_questions() is not None


def test_a_bucket_that_outgrows_its_limit_is_rounded_and_changes_go_on():
    shelf, plain = Shelf(D, exact_up_to=20), Shelf(D)
    for each in (shelf, plain):
        each.put([entry(seq) for seq in range(1, 21)])
    assert not rounded(shelf, "a"), "20 may be exact"
    for each in (shelf, plain):
        each.put([entry(seq) for seq in range(21, 41)])
        for seq in (1, 40, 7, 20):
            each.remove(seq)
        each.put([entry(50, uses=3)])
    assert rounded(shelf, "a")
    ours, theirs = contents(shelf, "a"), contents(plain, "a")
    assert set(ours) == set(theirs)
    assert ours[50][1] == 3
    assert max(np.abs(ours[seq][0] - theirs[seq][0]).max() for seq in ours) < 1e-3
    bucket = shelf.bucket("a")
    products = bucket.question_similarities(vector(3))
    assert (
        np.abs(products - plain.bucket("a").question_similarities(vector(3))).max() <= bucket.rounded_questions().slack
    )


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 90), st.integers(1, 100), st.booleans())
def test_the_nearest_rounded_rows_are_the_nearest_of_those_asked_for(seed, rows, count, some):
    rng = np.random.default_rng(seed)
    index = HalfIndex(D)
    index.add(np.stack([vector(int(one)) for one in rng.integers(0, 1000, rows)]))
    among = np.flatnonzero(rng.random(rows) < 0.4) if some else None
    at, products = index.nearest(vector(1001), count, among)
    able = np.arange(rows) if among is None else among
    exact = index.products(vector(1001), able)
    assert len(at) == min(count, len(able))
    assert set(at) <= set(able)
    assert products == pytest.approx(np.sort(exact)[::-1][: len(at)], abs=1e-5)


def test_halves_are_widened_to_the_number_they_are():
    every = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)]
    assert np.array_equal(widened(finite), finite.astype(np.float32))
