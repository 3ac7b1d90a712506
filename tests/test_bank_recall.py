"""Recall: the right units, in the right order, and nothing where nothing is relevant."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.config import ScoreWeights
from mia_skill.core.types import MemoryUnit, Modality, Outcome, PlanPair
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.score import paper_scores

GOOD, BAD = Outcome.CORRECT, Outcome.INCORRECT


class Angles:
    """Texts are angles in degrees: the similarity of two texts is the cosine of their difference."""

    identity = "angles"
    dimension = 2

    def embed(self, texts, kind="query"):
        radians = np.radians([float(text.split()[0]) for text in texts])
        return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


def unit(angle, outcome=GOOD, **fields):
    return MemoryUnit(question=str(angle), workflow=f"1. turn by {angle} degrees", outcome=outcome, **fields)


def ask(angle=0, **fields):
    return MemoryQuery(text=str(angle), **{"min_similarity": -1, **fields})


@pytest.fixture
def bank(banks, tmp_path):
    opened = banks.open(tmp_path / "bank.sqlite3", Angles(), merge_similarity=1.0, scoring="paper")
    yield opened
    opened.close()


def store(bank, *units, pairs=()):
    return bank.consolidate(Consolidation(units=units, pairs=pairs))


def asked(hits):
    return [hit.unit.question for hit in hits]


def test_an_empty_bank_says_so_without_asking_the_embedder(banks, tmp_path):
    class Untouchable(Angles):
        def embed(self, texts, kind="query"):
            raise AssertionError("nothing to compare with")

    bank = banks.open(tmp_path / "b.sqlite3", Untouchable())
    recall = bank.recall(ask())
    assert recall.nothing_relevant
    assert "nothing relevant: no judged units" in recall.note
    assert bank.similar_pairs("0") == ()
    bank.close()


def test_successes_and_failures_come_apart_and_best_first(bank):
    store(bank, unit(40), unit(10), unit(25), unit(35, BAD), unit(5, BAD), unit(80, BAD))
    recall = bank.recall(ask())
    assert asked(recall.successes) == ["10", "25"]
    assert asked(recall.failures) == ["5", "35"]
    assert recall.considered == 6
    assert recall.hits == recall.successes + recall.failures


def test_k_is_per_outcome_and_may_be_zero(bank):
    store(bank, unit(10), unit(20), unit(30, BAD))
    recall = bank.recall(ask(k_success=1, k_failure=0))
    assert asked(recall.hits) == ["10"]


def test_a_unit_nobody_judged_is_never_recalled(bank):
    store(bank, unit(0, None), unit(60))
    recall = bank.recall(ask())
    assert asked(recall.hits) == ["60"]
    assert recall.considered == 1


def test_under_the_similarity_floor_nothing_is_relevant_and_the_note_says_how_close_it_came(bank):
    store(bank, unit(60), unit(80, BAD))
    recall = bank.recall(ask(min_similarity=0.51))
    assert recall.nothing_relevant
    assert recall.note == ("nothing relevant: the most similar of 2 units has similarity 0.50, under the floor of 0.51")


def test_the_min_max_is_over_the_whole_bucket_also_over_units_under_the_floor(bank):
    store(bank, unit(0), unit(30), unit(90))
    hits = bank.recall(ask(min_similarity=0.5)).successes
    assert [hit.score for hit in hits] == pytest.approx([0.7 + 0.3, 0.7 * np.cos(np.radians(30)) + 0.3], abs=1e-6)


def test_the_same_text_passes_a_floor_of_one(bank):
    store(bank, *(unit(angle) for angle in range(1, 60)))
    for angle in range(1, 60):
        assert asked(bank.recall(ask(angle, min_similarity=1.0)).hits) == [str(angle)]


def test_asking_for_nothing_is_told_from_finding_nothing(bank):
    store(bank, unit(0))
    assert bank.recall(ask(k_success=0, k_failure=0)).note == "nothing was asked for: k_success and k_failure are 0"
    assert "category 'x'" in bank.recall(ask(category="x")).note


def test_the_score_floor_drops_hits(bank):
    store(bank, unit(10), unit(50))
    assert asked(bank.recall(ask(min_score=0.9)).hits) == ["10"]
    nothing = bank.recall(ask(min_score=5.0))
    assert nothing.nothing_relevant
    assert "no score reaches 5.0" in nothing.note


def test_a_proven_unit_beats_a_slightly_more_similar_loser(bank):
    store(bank, unit(10, uses=9, wins=0), unit(14, uses=9, wins=9), unit(90))
    assert asked(bank.recall(ask(k_success=1)).successes) == ["14"]


def test_a_hit_carries_its_terms_and_a_readable_reason(bank):
    store(bank, unit(0, uses=3, wins=2), unit(90))
    hit = bank.recall(ask()).successes[0]
    assert (hit.similarity, hit.value, hit.rarity) == (pytest.approx(1.0), 0.5, 0.25)
    assert hit.score == pytest.approx(0.7 + 0.3 * 0.5 + 0.3 * 0.25, abs=1e-6)
    assert hit.why == "similarity 1.00; right 2 of the 3 times it was shown; score 0.92"


def test_text_questions_see_only_text_units_and_image_questions_only_image_units(bank):
    store(bank, unit(0), unit(0, modality=Modality.IMAGE, caption="1"))
    assert bank.recall(ask()).hits[0].unit.modality is Modality.TEXT
    image = bank.recall(ask(modality=Modality.IMAGE, caption="1"))
    assert [hit.unit.modality for hit in image.hits] == [Modality.IMAGE]


def test_captions_decide_between_units_of_the_same_question(bank):
    images = [unit(0, modality=Modality.IMAGE, caption=caption) for caption in ("90", "10", "45")]
    store(bank, *images)
    recall = bank.recall(ask(modality=Modality.IMAGE, caption="12", k_success=3))
    assert [hit.unit.caption for hit in recall.successes] == ["10", "45", "90"]
    assert recall.successes[0].similarity == pytest.approx(0.8 + 0.2 * np.cos(np.radians(2)), abs=1e-6)


def test_namespaces_do_not_see_each_other(bank):
    store(bank, unit(0, namespace="mine"), unit(5, namespace="yours"))
    assert asked(bank.recall(ask(namespace="yours")).hits) == ["5"]
    assert bank.recall(ask(namespace="nobody")).nothing_relevant


def test_a_category_narrows_the_bucket_and_its_min_max(bank):
    store(bank, unit(0, category="a"), unit(30, category="b"), unit(60, category="b"))
    recall = bank.recall(ask(category="b"))
    assert asked(recall.hits) == ["30", "60"]
    assert recall.considered == 2
    assert recall.successes[0].score == pytest.approx(0.7 + 0.3, abs=1e-6)
    assert bank.recall(ask(category="never heard of")).nothing_relevant


def test_the_token_budget_is_for_all_units_together_and_taken_in_turns(bank):
    long = "1. " + "x" * 396
    units = [unit(angle, outcome).model_copy(update={"workflow": long}) for angle in (1, 2) for outcome in (GOOD, BAD)]
    store(bank, *units)
    recall = bank.recall(ask(max_tokens=200))
    assert (asked(recall.successes), asked(recall.failures)) == (["1"], ["1"])
    assert recall.note == "2 of 4 units; 2 left out by the limit of 200 tokens"


def test_a_unit_that_does_not_fit_makes_room_for_a_shorter_one(bank):
    store(bank, unit(1).model_copy(update={"workflow": "x" * 500}), unit(2))
    assert asked(bank.recall(ask(max_tokens=100)).hits) == ["2"]
    nothing = bank.recall(ask(max_tokens=1))
    assert nothing.nothing_relevant
    assert "longer than the limit" in nothing.note


def test_equal_units_come_oldest_first(bank):
    store(bank, *(unit(10, namespace="n", modality=Modality.IMAGE, caption=str(angle)) for angle in (0, 5, 10)))
    recall = bank.recall(ask(10, namespace="n", modality=Modality.IMAGE, k_success=3))
    assert [hit.unit.caption for hit in recall.hits] == ["0", "5", "10"]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 180), st.integers(0, 9), st.integers(0, 9)),
        min_size=1,
        max_size=30,
        unique_by=lambda u: u[0],
    )
)
def test_the_banks_order_is_the_papers_order(banks, tmp_path_factory, drawn):
    bank = banks.open(tmp_path_factory.mktemp("p") / "b.sqlite3", Angles(), merge_similarity=1.0, scoring="paper")
    store(bank, *(unit(angle, uses=max(a, b), wins=min(a, b)) for angle, a, b in drawn))
    recall = bank.recall(ask(k_success=20, max_tokens=100_000))
    bank.close()
    sims = np.cos(np.radians([angle for angle, _, _ in drawn]))
    uses, wins = np.array([max(a, b) for _, a, b in drawn]), np.array([min(a, b) for _, a, b in drawn])
    scores = paper_scores(sims, wins, uses, ScoreWeights())
    assert [hit.score for hit in recall.successes] == pytest.approx(sorted(scores, reverse=True)[:20], abs=1e-5)


def test_each_of_fifty_pairs_is_the_first_answer_to_its_own_question(banks, tmp_path):
    bank = banks.open(tmp_path / "b.sqlite3", HashEmbedder(256))
    questions = [f"who wrote book{n} and where is town{n * 7} in land{n * 13}" for n in range(50)]
    bank.consolidate(
        Consolidation(pairs=tuple(PlanPair(question=q, good_plan=f"good {q}", bad_plan="bad") for q in questions))
    )
    for question in questions:
        hits = bank.similar_pairs(question, k=4)
        assert hits[0].pair.question == question
        assert [hit.similarity for hit in hits] == sorted((hit.similarity for hit in hits), reverse=True)
    bank.close()


def test_pairs_respect_namespace_floor_and_k(bank):
    pairs = [PlanPair(question=str(angle), good_plan="g", bad_plan="b") for angle in (60, 30, 0)]
    store(bank, pairs=(*pairs, PlanPair(question="1", good_plan="g", bad_plan="b", namespace="other")))
    assert [hit.pair.question for hit in bank.similar_pairs("0", k=2)] == ["0", "30"]
    assert [hit.pair.question for hit in bank.similar_pairs("0", min_similarity=0.8)] == ["0", "30"]
    assert [hit.pair.question for hit in bank.similar_pairs("0", namespace="other")] == ["1"]
