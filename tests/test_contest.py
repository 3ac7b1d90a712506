"""The fast ranking of a bucket is the plain one: rounded vectors and columns of common words decide nothing."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.config import BlendWeights, ScoreWeights
from retrieval.bank import MemoryQuery
from retrieval.blend import Signals, relevance
from retrieval.contest import DEPTH, SPARE, Asked, Exact, contest, pool_of
from retrieval.entries import Batch, Entry
from retrieval.half import HalfRows
from retrieval.index import Bucket
from retrieval.postings import Postings
from retrieval.shape import SHAPED
from retrieval.value import Evidence, base_rate, faded, posterior

DIMENSION = 8
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def directions(rng, count, kinds):
    """Vectors of length 1, many of them the same or nearly so."""
    few = rng.standard_normal((kinds, DIMENSION))
    noise = rng.choice([0.0, 1e-5, 1e-3, 0.3], count)[:, None] * rng.standard_normal((count, DIMENSION))
    rows = few[rng.integers(0, kinds, count)] + noise
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")


def shape_of(words):
    return np.array([(word, 1.0 + word % 3) for word in sorted(words)], dtype=SHAPED)


class Rows:
    """A bucket and the same rows as plain arrays."""

    def __init__(self, seed, count, kinds, exact_up_to=None):
        rng = np.random.default_rng(seed)
        self.questions, self.masked = directions(rng, count, kinds), directions(rng, count, kinds)
        self.there = rng.random(count) < 0.9
        self.shapes = [shape_of({1, *rng.integers(2, 12, 3).tolist()}) for _ in range(count)]
        ages = rng.integers(0, 400, count)
        uses = rng.integers(0, 9, count)
        self.seen = [
            Evidence(float(u), float(rng.integers(0, u + 1)), (NOW - timedelta(days=int(a))).timestamp(), "here")
            for u, a in zip(uses, ages, strict=True)
        ]
        self.categories = [("a", "b")[n % 2] for n in range(count)]
        self.seqs = (rng.permutation(count) + 1).tolist()
        self.bucket = Bucket(DIMENSION, exact_up_to)
        batch = Batch.of([self.entry(at) for at in range(count)])
        self.bucket.extend(batch, self.questions, [n % 2 for n in range(count)])
        self.rng, self.kinds = rng, kinds

    def entry(self, at):
        masked = self.masked[at].tobytes() if self.there[at] else None
        one = (self.seqs[at], "bucket", self.categories[at], int(self.seen[at].uses), int(self.seen[at].wins))
        return Entry(*one, self.questions[at].tobytes(), None, self.shapes[at].tobytes(), self.seen[at], masked)

    def masked_of(self, seqs):
        place = {seq: at for at, seq in enumerate(self.seqs)}
        return [self.masked[place[seq]] if self.there[place[seq]] else None for seq in seqs]

    def questions_of(self, seqs):
        place = {seq: at for at, seq in enumerate(self.seqs)}
        return {seq: self.questions[place[seq]] for seq in seqs}

    def asked(self):
        vectors = directions(self.rng, 2, self.kinds)
        return Asked(vectors[0], None, vectors[1], shape_of({1, 2, 5, 99}))

    def plain(self, asked, query, blend, k, able):
        """(score, seq) of the best, by the definition and nothing else."""
        lexical = Postings()
        lexical.extend(self.shapes)
        shares, dense = lexical.shares(asked.shape), self.questions @ asked.question_D
        masked = np.array(
            [self.masked[at] @ asked.masked_D if self.there[at] else dense[at] for at in range(len(self.seqs))]
        )
        left = faded(NOW.timestamp() - np.array([one.at for one in self.seen]), blend.half_life_days)
        uses, wins = (np.array([one[part] for one in self.seen]) * left for part in (0, 1))
        base = base_rate(float(wins.sum()), float(uses.sum()))
        alpha, beta = posterior(wins, uses, base, blend.prior)
        relevant = relevance(Signals(shares, masked, dense), blend)
        scores = relevant + blend.value * (alpha / (alpha + beta) - base)
        among = set()
        for signal in (dense, shares):
            among |= set(sorted(able, key=lambda at: (-signal[at], self.seqs[at]))[:DEPTH])
        shown = [at for at in among if relevant[at] >= query.min_relevance - 1e-6]
        if query.min_score is not None:
            shown = [at for at in shown if scores[at] >= query.min_score]
        order = sorted(shown, key=lambda at: (-scores[at], -relevant[at], self.seqs[at]))
        return [(scores[at], self.seqs[at]) for at in order[: SPARE * k]], max(relevant[at] for at in among)


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 700),
    kinds=st.integers(1, 40),
    k=st.integers(1, 4),
    floor=st.sampled_from([0.0, 0.45, 0.7, 0.95]),
    least=st.sampled_from([None, 0.5, 0.8]),
    category=st.sampled_from([None, 0]),
    exact_up_to=st.sampled_from([None, 0, 100]),
)
def test_the_ranking_of_a_bucket_is_the_plain_computations(seed, count, kinds, k, floor, least, category, exact_up_to):
    rows, blend = Rows(seed, count, kinds, exact_up_to), BlendWeights()
    query = MemoryQuery(text="x", min_relevance=floor, min_score=least)
    asked = rows.asked()
    stored = Exact(rows.masked_of, rows.questions_of)
    pool = pool_of(rows.bucket, query, asked, ScoreWeights(), blend, category, stored, NOW, environment="here", k=k)
    able = [at for at in range(count) if category is None or at % 2 == category]
    found = contest(pool, query, blend, k)
    expected, top = rows.plain(asked, query, blend, k, able)
    assert [one.score for one in found.best] == pytest.approx([score for score, _ in expected], abs=1e-7)
    assert found.top_similarity == pytest.approx(top, abs=1e-7)
    for one, (score, seq) in zip(found.best, expected, strict=True):
        tied = {other for value, other in expected if abs(value - score) < 1e-7}
        assert one.seq == seq or one.seq in tied or len(expected) == SPARE * k, "only equals may change places"


@given(st.integers(0, 2**32), st.integers(1, 60))
def test_no_rounded_product_is_further_off_than_it_says(seed, count):
    rng = np.random.default_rng(seed)
    rows, query = directions(rng, count, 5), directions(rng, 1, 1)[0]
    half = HalfRows(DIMENSION)
    half.extend([row.tobytes() for row in rows[: count // 2]])
    half.extend([row.tobytes() for row in rows[count // 2 :]])
    products, there = half.products(query, np.arange(count))
    assert there.all()
    assert np.abs(products - rows @ query).max() <= half.slack < 1e-3


@pytest.mark.parametrize("bad", [None, b"short", bytes(4 * DIMENSION), np.full(DIMENSION, np.nan, "<f4").tobytes()])
def test_a_damaged_masked_vector_counts_as_missing(bad):
    half = HalfRows(DIMENSION)
    half.extend([bad, directions(np.random.default_rng(1), 1, 1)[0].tobytes()])
    assert half.products(np.ones(DIMENSION, np.float32), np.arange(2))[1].tolist() == [False, True]
    half.swap_remove(0)
    assert half.products(np.ones(DIMENSION, np.float32), np.arange(1))[1].tolist() == [True]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 199), max_size=40, unique=True), st.booleans())
def test_words_that_are_common_count_as_in_postings_of_their_own(seed, gone, compacted):
    rng = np.random.default_rng(seed)
    shapes = [shape_of(set(rng.integers(0, 6, 4).tolist())) for _ in range(200)]
    asked = shape_of({0, 1, 2, 77})
    grown = Postings(few=10, tail=10)
    grown.extend(shapes[:150])
    grown.shares(asked)
    grown.extend(shapes[150:])
    grown.shares(asked)
    for slot in gone:
        grown.drop(slot)
    slots = grown.compact() if compacted else np.arange(200)
    shares = grown.shares(asked)
    left = [at for at in range(200) if at not in gone]
    plain = Postings()
    plain.extend([shapes[at] for at in left])
    assert shares[slots[left]] == pytest.approx(plain.shares(asked), abs=1e-6)
