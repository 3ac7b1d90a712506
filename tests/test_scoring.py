"""The blended score: masking, floor, value, diversity, and that the bank explains what it shows."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.config import BlendWeights, ScoreWeights
from mia_skill.core.types import Credit, MemoryUnit, Outcome
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.blend import Signals, candidates, diverse, relevance
from retrieval.contest import Pool, contest
from retrieval.embed import HashEmbedder
from retrieval.gate import Arm, Draw, Trial
from retrieval.postings import Postings
from retrieval.score import paper_scores
from retrieval.shape import features, mask, masked_text
from retrieval.value import Evidence, base_rate, credited, faded, posterior, sampled

BLEND = BlendWeights()
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PARTS = st.floats(0, 1, width=32)


def unit(question: str, **fields: object) -> MemoryUnit:
    given_ = {"question": question, "workflow": f"1. way to {question}", "outcome": Outcome.CORRECT, **fields}
    return MemoryUnit.model_validate(given_)


@pytest.fixture
def bank(banks, tmp_path):
    opened = banks.open(tmp_path / "b.sqlite3", HashEmbedder(256))
    yield opened
    opened.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Who wrote The Silver Violin?", "Who wrote Dune Messiah?"),
        ("What is the top-3 product in 2022", "What is the top-1 product in 2023"),
        ('Search for "usb wifi"', 'Search for "blue shoes"'),
        ("Where was the founder of Larkin Works born?", "Where was the founder of Bank of Tamm born?"),
    ],
)
def test_questions_of_one_shape_meet_although_their_names_differ(one, other):
    assert mask(one) == mask(other)
    assert masked_text(one) == masked_text(other)


def test_other_questions_do_not_meet():
    assert mask("Who wrote Dune Messiah?") != mask("Who directed Dune Messiah?")


@given(st.text(max_size=200))
def test_any_text_has_a_mask_which_is_its_own_mask(text):
    once = mask(text)
    assert mask(" ".join(once)) == once
    assert masked_text(text)
    assert len(features(text)) > 0


@given(st.lists(st.sampled_from(["alpha", "beta", "gamma", "delta", "of", "Rome"]), min_size=1, max_size=6))
def test_a_question_matches_itself_fully_and_nothing_more_than_that(words):
    text = " ".join(words)
    postings = Postings()
    postings.extend([features(text), features("something else entirely"), features(f"{text} and more")])
    shares = postings.shares(features(text))
    assert shares[0] == pytest.approx(1.0, abs=1e-5)
    assert ((shares >= 0) & (shares <= 1)).all()


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60))
def test_postings_that_grew_and_shrank_answer_as_those_made_at_once(changes):
    texts = [f"word{n % 5} other{n % 3} thing{n}" for n in range(31)]
    live, slots = Postings(), dict[int, int]()
    for add, n in changes:
        if add and n not in slots:
            slots[n] = int(live.extend([features(texts[n])])[0])
        elif not add and n in slots:
            live.drop(slots.pop(n))
    new = live.compact()
    fresh = Postings()
    order = sorted(slots)
    fresh.extend([features(texts[n]) for n in order])
    asked = features("word1 other2 thing7")
    if order:
        both = live.shares(asked)[[new[slots[n]] for n in order]], fresh.shares(asked)
        np.testing.assert_allclose(*both, atol=1e-6)


@given(PARTS, PARTS, PARTS)
def test_relevance_lies_between_its_signals_and_grows_with_each(lexical, masked, dense):
    def of(*parts: float) -> float:
        return float(relevance(Signals(*(np.array([part]) for part in parts)), BLEND)[0])

    found = of(lexical, masked, dense)
    assert min(lexical, masked, dense) - 1e-9 <= found <= max(lexical, masked, dense) + 1e-9
    assert of(1, masked, dense) >= found
    assert of(lexical, 1, dense) >= found
    assert of(lexical, masked, 1) >= found


def pool(relevances: list[float], worth: list[float]) -> Pool:
    same = np.array(relevances)
    none = np.zeros(len(same))
    return Pool(np.arange(len(same)), Signals(same, same, same), none, none, np.array(worth), 0.5, len(same))


@given(st.lists(st.tuples(PARTS, PARTS), min_size=1, max_size=20), PARTS)
def test_nothing_under_the_floor_is_ever_shown_however_valuable(candidates, floor):
    given_ = pool([one for one, _ in candidates], [value for _, value in candidates])
    ranking = contest(given_, MemoryQuery(text="q", min_relevance=floor), BLEND, 5)
    assert all(one.explanation is not None and one.explanation.relevance >= floor - 1e-5 for one in ranking.best)
    able = sum(one >= floor for one, _ in candidates)
    assert len(ranking.best) >= min(able, 20)


@given(st.floats(0.5, 1), st.integers(0, 100), st.integers(0, 100))
def test_of_two_equally_relevant_units_the_one_that_is_worth_more_comes_first(relevant, one, other):
    ranking = contest(pool([relevant, relevant], [one / 100, other / 100]), MemoryQuery(text="q"), BLEND, 2)
    assert ranking.best[0].seq == (0 if one >= other else 1)


@given(st.integers(0, 50), st.integers(0, 50), st.floats(0, 1), st.floats(0.1, 20))
def test_a_win_raises_and_a_loss_lowers_what_a_unit_is_worth(wins, losses, base, strength):
    def mean(won: int, lost: int) -> float:
        alpha, beta = posterior(np.array([float(won)]), np.array([float(won + lost)]), base, strength)
        return float((alpha / (alpha + beta))[0])

    here = mean(wins, losses)
    assert mean(wins + 1, losses) >= here >= mean(wins, losses + 1)
    assert 0 <= here <= 1
    assert mean(0, 0) == pytest.approx(base)


@given(st.floats(-1e9, 1e9), st.floats(1, 1000))
def test_evidence_fades_by_half_a_half_life_and_a_clock_that_goes_back_takes_nothing(age, half_life):
    left = float(faded(np.array(age), half_life))
    assert 0 <= left <= 1
    if age <= 0:
        assert left == 1
    assert float(faded(np.array(half_life * 86_400), half_life)) == pytest.approx(0.5)


def test_outcomes_of_another_environment_count_less_once_it_changed():
    old = Evidence(8.0, 8.0, NOW.timestamp(), "v1")
    same = credited(old, 1, 0, NOW, BLEND, "v1")
    moved = credited(old, 1, 0, NOW, BLEND, "v2")
    assert (same.uses, same.wins) == (9.0, 8.0)
    assert (moved.uses, moved.wins, moved.where) == (3.0, 2.0, "v2")
    back = credited(moved, 1, 1, NOW - timedelta(days=400), BLEND, "v2")
    assert (back.uses, back.wins) == (4.0, 3.0), "the clock went back: nothing faded"


def test_exploration_draws_the_same_for_the_same_seed_and_stays_in_range():
    alpha, beta = np.array([1.0, 5.0]), np.array([3.0, 1.0])
    np.testing.assert_array_equal(sampled(alpha, beta, (1, 2)), sampled(alpha, beta, (1, 2)))
    assert (sampled(alpha, beta, (1, 2)) != sampled(alpha, beta, (1, 3))).any()
    assert 0 < base_rate(0.0, 0.0) < 1


@given(st.lists(PARTS, max_size=12), st.integers(0, 6), st.floats(0, 1), st.data())
def test_diversity_keeps_the_best_first_and_repeats_nobody(scores, k, weight, data):
    words = [data.draw(st.frozensets(st.sampled_from("abcd"))) for _ in scores]
    picked = diverse(scores, words, k, weight)
    assert len(picked) == len(set(picked)) == min(k, len(scores))
    if picked:
        assert scores[picked[0]] == max(scores)
    if weight == 0:
        assert [scores[one] for one in picked] == sorted(scores, reverse=True)[:k]


@given(st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=30))
def test_the_papers_score_is_its_formula(rows):
    sims = np.array([row[0] for row in rows])
    uses = np.array([max(row[1:]) for row in rows], dtype=float)
    wins = np.array([min(row[1:]) for row in rows], dtype=float)
    scaled = (sims - sims.min()) / (sims.max() - sims.min() + 1e-8)
    expected = 0.7 * scaled + 0.3 * wins / (uses + 1) + 0.3 / (uses + 1)
    np.testing.assert_allclose(paper_scores(sims, wins, uses, ScoreWeights()), expected, atol=1e-9, rtol=0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 100), st.sampled_from([2, 30, 10**6]))
@settings(max_examples=30, deadline=None)
def test_the_candidates_of_a_large_bucket_are_the_best_and_among_equals_the_oldest(seed, count, levels):
    random = np.random.default_rng(seed)
    scores = (random.integers(-levels, levels + 1, size=5000) / levels).astype(np.float32)
    seqs = random.permutation(5000)
    expected = np.lexsort((seqs, -scores))[:count]
    assert set(candidates(scores, seqs, count).tolist()) == set(expected.tolist())


def test_a_question_with_other_names_recalls_the_procedure_and_says_why(bank):
    bank.consolidate(Consolidation(units=(unit("Where was the founder of Larkin Works born?"),)))
    (hit,) = bank.recall(MemoryQuery(text="Where was the founder of Tamm Yard born?")).hits
    assert hit.explanation is not None
    assert hit.explanation.lexical == pytest.approx(1.0, abs=1e-5)
    assert hit.explanation.dense < hit.explanation.shape
    assert hit.explanation.relevance >= hit.explanation.floor
    assert all(word in hit.why for word in ("words", "shape", "meaning", "floor", "worth"))


def test_an_unrelated_question_is_told_that_nothing_is_relevant(bank):
    bank.consolidate(Consolidation(units=(unit("Where was the founder of Larkin Works born?"),)))
    recall = bank.recall(MemoryQuery(text="Convert the nightly backup to parquet and upload everything"))
    assert recall.nothing_relevant
    assert "relevance" in recall.note
    assert "floor of 0.45" in recall.note


def test_two_units_with_the_same_workflow_are_shown_once(bank):
    questions = ("alpha beta gamma one", "alpha beta gamma two", "alpha beta gamma three")
    workflows = ("1. the same way", "1. The  same way", "1. quite another one")
    units = tuple(unit(text, workflow=workflow) for text, workflow in zip(questions, workflows, strict=True))
    bank.consolidate(Consolidation(units=units, merge=False))
    shown = bank.recall(MemoryQuery(text="alpha beta gamma", k_success=3)).successes
    assert len(shown) == 2
    assert len({" ".join(hit.unit.workflow.casefold().split()) for hit in shown}) == 2


def test_units_shown_together_share_an_outcome_and_the_one_left_out_gets_the_reverse(bank):
    units = [unit(f"alpha beta {name}") for name in ("one", "two", "three")]
    bank.consolidate(Consolidation(units=tuple(units), merge=False))
    first, second, third = (one.id for one in units)
    draw = Draw(
        task="t", namespace="default", arm=Arm.PARTLY, shown=(first, second), withheld=(third,), randomised=True
    )
    credits = tuple(Credit(unit_id=one, won=True) for one in (first, second))
    bank.consolidate(Consolidation(credits=credits, trials=(Trial(draw=draw, won=True, judged_by="gold"),)))
    hits = bank.recall(MemoryQuery(text="alpha beta", k_success=3, min_relevance=0)).successes
    worth = {hit.unit.id: hit.explanation.value for hit in hits if hit.explanation is not None}
    assert worth[first] == pytest.approx(worth[second])
    assert worth[first] > worth[third], "the task was won without the third"
    assert (bank.get(first).uses, bank.get(third).uses) == (1, 0)


def test_a_proven_unit_comes_before_an_untried_one_of_the_same_relevance(bank):
    tried, fresh = unit("open page of Rome"), unit("open page of Oslo")
    bank.consolidate(Consolidation(units=(fresh, tried), merge=False))
    for _ in range(4):
        bank.consolidate(Consolidation(credits=(Credit(unit_id=tried.id, won=True),)))
    assert bank.recall(MemoryQuery(text="open page of Bern")).successes[0].unit.id == tried.id


def test_a_draw_is_kept_over_a_restart_and_counts_once(banks, tmp_path):
    path = tmp_path / "b.sqlite3"
    draw = Draw(task="t", namespace="default", arm=Arm.WITHHELD, withheld=("a",), randomised=True)
    first = banks.open(path, HashEmbedder())
    first.keep_draw("key", draw)
    first.close()
    again = banks.open(path, HashEmbedder())
    assert again.take_draw("key") == draw
    assert again.take_draw("key") is None
    again.close()


def test_an_export_carries_the_outcomes_of_the_gate_and_a_restore_counts_them_once(banks, bank, tmp_path):
    bank.consolidate(Consolidation(units=(one := unit("alpha beta"),)))
    for task, arm in (("a", Arm.SHOWN), ("b", Arm.WITHHELD)):
        given_ = {"shown": (one.id,)} if arm is Arm.SHOWN else {"withheld": (one.id,)}
        draw = Draw(task=task, namespace="default", arm=arm, randomised=True, **given_)
        bank.consolidate(Consolidation(trials=(Trial(draw=draw, won=arm is Arm.SHOWN, judged_by="gold"),)))
    lines = list(bank.export())
    other = banks.open(tmp_path / "o.sqlite3", HashEmbedder(256))
    for _ in range(2):
        other.import_(lines, restore=True)
    assert other.lift() == bank.lift()
    stranger = banks.open(tmp_path / "s.sqlite3", HashEmbedder(256))
    stranger.import_(lines)
    assert stranger.lift().trials == 0, "outcomes of another bank's tasks are no evidence here"
    other.close()
    stranger.close()
