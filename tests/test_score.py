"""The paper's score, against a scalar transcription of its formula."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia_skill.core.config import ScoreWeights
from retrieval.score import paper_scores, similarity

WEIGHTS = ScoreWeights()
UNITS = st.lists(
    st.tuples(st.floats(-1, 1), st.integers(0, 50), st.integers(0, 50)).map(
        lambda unit: (unit[0], min(unit[1], unit[2]), max(unit[1], unit[2]))
    ),
    min_size=1,
    max_size=40,
)


def direct(units: list[tuple[float, int, int]]) -> list[float]:
    """Appendix 10, written out one unit at a time."""
    sims = [sim for sim, _, _ in units]
    scores = []
    for sim, wins, uses in units:
        scaled = (sim - min(sims)) / (max(sims) - min(sims) + 1e-8)
        scores.append(0.7 * scaled + 0.3 * (wins / (uses + 1)) + 0.3 * (1 / (uses + 1)))
    return scores


@given(UNITS)
def test_scores_equal_the_formula_to_1e_minus_9(units):
    sims, wins, uses = (np.array(column) for column in zip(*units, strict=True))
    assert np.allclose(paper_scores(sims, wins, uses, WEIGHTS), direct(units), rtol=0, atol=1e-9)


@given(UNITS)
def test_a_part_of_the_bucket_scored_with_the_bounds_of_the_whole_gets_the_same_scores(units):
    sims, wins, uses = (np.array(column) for column in zip(*units, strict=True))
    part = slice(0, None, 2)
    bounds = (float(sims.min()), float(sims.max()))
    scored = paper_scores(sims[part], wins[part], uses[part], WEIGHTS, bounds=bounds)
    assert np.array_equal(scored, paper_scores(sims, wins, uses, WEIGHTS)[part])


def test_a_unit_that_always_won_scores_as_one_never_tried_and_a_miss_drops_it_below():
    sims = np.array([0.5, 0.5, 0.5])
    always, untried, missed = paper_scores(sims, np.array([9, 0, 8]), np.array([9, 0, 9]), WEIGHTS)
    assert math.isclose(always, untried)
    assert missed < untried


def test_an_empty_bucket_has_no_scores():
    assert paper_scores(np.array([]), np.array([]), np.array([]), WEIGHTS).shape == (0,)


def test_a_bucket_of_equal_similarities_stays_finite():
    assert np.isfinite(paper_scores(np.full(3, 0.4), np.zeros(3), np.zeros(3), WEIGHTS)).all()


def test_the_caption_counts_a_fifth_where_both_sides_have_one():
    got = similarity(np.array([0.5, 0.5]), np.array([1.0, 1.0]), np.array([True, False]), WEIGHTS)
    assert got == pytest.approx([0.8 * 0.5 + 0.2 * 1.0, 0.5])


def test_without_a_caption_in_the_query_only_the_question_counts():
    assert similarity(np.array([0.25]), None, np.array([True]), WEIGHTS).tolist() == [0.25]
