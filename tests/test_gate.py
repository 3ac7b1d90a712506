"""The do-no-harm gate: its statistics, its draws, and what it does to recall."""

import random

import pytest
from bank_kinds import SCORINGS
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.types import MemoryUnit, Outcome, Status
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.gate import (
    MIN_ARM,
    WARM_UP,
    Arm,
    Draw,
    Tally,
    Trial,
    chance,
    harmful,
    helped_again,
    lift,
    pick_arm,
    share_of,
    suspect,
)

COUNTS = st.integers(0, 200).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))
TALLIES = st.builds(
    lambda shown, held: Tally(shown=shown[0], shown_wins=shown[1], withheld=held[0], withheld_wins=held[1]),
    COUNTS,
    COUNTS,
)


@pytest.fixture
def bank(banks, tmp_path):
    opened = banks.open(tmp_path / "bank.sqlite3", HashEmbedder())
    yield opened
    opened.close()


def unit(question="alpha beta gamma", workflow="1. search\n2. read", **fields):
    fields.setdefault("outcome", Outcome.CORRECT)
    return MemoryUnit(question=question, workflow=workflow, **fields)


def warmed(bank, count=WARM_UP):
    trials = tuple(Trial(draw=Draw(task=f"w{n}", namespace="default"), won=n % 2 == 0) for n in range(count))
    bank.consolidate(Consolidation(trials=trials))


# -- statistics ------------------------------------------------------------------------------------------------------


def test_the_interval_is_newcombes():
    # Newcombe 1998, table II, row (a): 56/70 against 48/80, method 10.
    found = lift(Tally(shown=70, shown_wins=56, withheld=80, withheld_wins=48))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_an_arm_without_outcomes_shows_nothing():
    assert lift(Tally(shown=9, shown_wins=1)) is None


@settings(deadline=None)
@given(TALLIES)
def test_an_interval_holds_its_estimate_and_swaps_with_its_arms(tally):
    found = lift(tally)
    if found is None:
        assert 0 in (tally.shown, tally.withheld)
        return
    assert -1 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1
    other = lift(
        Tally(
            shown=tally.withheld,
            shown_wins=tally.withheld_wins,
            withheld=tally.shown,
            withheld_wins=tally.shown_wins,
        )
    )
    assert (other.value, other.low, other.high) == pytest.approx((-found.value, -found.high, -found.low))


@settings(deadline=None)
@given(TALLIES)
def test_nothing_is_harmful_on_few_outcomes_or_with_the_better_rate(tally):
    if harmful(tally):
        assert min(tally.shown, tally.withheld) >= MIN_ARM
        assert not helped_again(tally)
        assert tally.shown_wins / tally.shown < tally.withheld_wins / tally.withheld


@settings(deadline=None)
@given(TALLIES, st.floats(0.01, 0.5))
def test_the_share_withheld_is_a_share_and_harm_turns_it_round(tally, share):
    found = share_of(share, tally)
    assert 0 < found < 1
    assert not harmful(tally) or found == 1 - share
    assert share_of(0.0, tally) == 0.0


@settings(deadline=None)
@given(TALLIES, TALLIES)
def test_suspicion_never_fails_on_any_pair_of_tallies(tally, base):
    assert suspect(tally, base) in (True, False)


@pytest.mark.parametrize("rate", [0.4, 0.6, 0.8])
def test_a_unit_without_effect_is_rarely_called_harmful_however_often_one_looks(rate):
    rng = random.Random(1)
    wrong = 0
    for _ in range(60):
        tally = Tally()
        for _ in range(200):
            tally = tally.plus(shown=rng.random() < 0.5, won=rng.random() < rate)
            if harmful(tally):
                wrong += 1
                break
    # 98 % at each of 200 looks: about one in twelve is caught by chance at some time.
    assert wrong <= 10


# -- draws -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(), st.text(), st.text())
def test_a_draw_depends_on_nothing_but_its_arguments(seed, one, other):
    assert chance(seed, one, other) == chance(seed, one, other)
    assert 0 <= chance(seed, one, other) < 1


def test_draws_are_spread_evenly():
    drawn = [chance(7, "memory", str(n)) for n in range(4000)]
    assert 0.48 < sum(drawn) / len(drawn) < 0.52
    assert 0.04 < sum(one < 0.05 for one in drawn) / len(drawn) < 0.06


def test_the_configured_share_of_tasks_is_withheld_half_of_it_unit_by_unit():
    units = [("a", "lot a", 0.05), ("b", "lot b", 0.05)]
    arms = [pick_arm(1, str(n), 0.2, [Tally()], units) for n in range(4000)]
    whole = sum(arm is Arm.WITHHELD for arm, _ in arms) / len(arms)
    partly = sum(arm is Arm.PARTLY for arm, _ in arms) / len(arms)
    assert 0.08 < whole < 0.12
    assert 0.07 < partly < 0.11
    assert {one for arm, one in arms if arm is Arm.PARTLY} == {"a", "b"}


def test_a_share_of_nothing_withholds_nothing():
    assert all(pick_arm(1, str(n), 0.0, [Tally()], [("a", "lot a", 0.0)]) == (Arm.SHOWN, None) for n in range(200))


# -- in the bank -----------------------------------------------------------------------------------------------------


def test_a_young_bank_withholds_nothing(bank):
    bank.consolidate(Consolidation(units=(unit(),)))
    for task in range(100):
        recall = bank.recall(MemoryQuery(text="alpha beta gamma", task=str(task), withhold=0.5))
        assert recall.hits
        assert not recall.draw.randomised


def drawn(bank):
    """What is left out of a hundred tasks, by the words of the units."""
    asked = [MemoryQuery(text="alpha beta gamma", task=str(task), withhold=0.5) for task in range(100)]
    draws = [bank.recall(query).draw for query in asked]
    return [sorted(bank.get(one).question for one in draw.withheld) for draw in draws]


def test_banks_that_remember_the_same_draw_the_same_whatever_the_ids_and_over_a_restart(banks, tmp_path):
    left_out = []
    for name in ("one", "other"):
        bank = banks.open(tmp_path / name, HashEmbedder(), **SCORINGS["blend"])
        units = tuple(unit(f"alpha beta gamma {word}", workflow=f"1. {word}") for word in ("rome", "oslo"))
        bank.consolidate(Consolidation(units=units, merge=False))
        warmed(bank)
        left_out.append(drawn(bank))
        bank.close()
        again = banks.open(tmp_path / name, HashEmbedder(), **SCORINGS["blend"])
        assert drawn(again) == left_out[-1]
        again.close()
    assert left_out[0] == left_out[1]
    assert len({tuple(one) for one in left_out[0]}) == 4, "nothing, either unit, and both"


def test_the_same_task_is_drawn_alike_until_its_outcome_is_known(bank):
    bank.consolidate(Consolidation(units=(unit(),)))
    warmed(bank)
    query = MemoryQuery(text="alpha beta gamma", withhold=0.5)
    arms = set()
    for _ in range(30):
        first, second = bank.recall(query), bank.recall(query)
        assert first.draw == second.draw
        arms.add(first.draw.arm)
        bank.consolidate(Consolidation(trials=(Trial(draw=first.draw, won=True),)))
    assert Arm.SHOWN in arms
    assert len(arms) > 1


def test_recall_says_what_was_withheld_and_shows_none_of_it(bank):
    ours = unit()
    bank.consolidate(Consolidation(units=(ours, unit("alpha beta gamma", outcome=Outcome.INCORRECT))))
    warmed(bank)
    seen = {}
    for task in range(60):
        recall = bank.recall(MemoryQuery(text="alpha beta gamma", task=str(task), withhold=0.5))
        shown = {hit.unit.id for hit in recall.hits}
        assert shown == set(recall.draw.shown)
        assert not shown & set(recall.draw.withheld)
        seen[recall.draw.arm] = recall
    assert seen[Arm.WITHHELD].nothing_relevant
    assert "withheld for this task, by chance" in seen[Arm.WITHHELD].note
    assert len(seen[Arm.PARTLY].hits) == 1
    assert seen[Arm.PARTLY].draw.withheld[0] in seen[Arm.PARTLY].note


def outcomes(bank, one, *, shown, won, count, arm=Arm.PARTLY):
    ids = {"shown": (one.id,)} if shown else {"withheld": (one.id,), "arm": arm}
    draws = [Draw(task=f"{shown}{won}{n}", namespace="default", randomised=True, **ids) for n in range(count)]
    bank.consolidate(Consolidation(trials=tuple(Trial(draw=draw, won=won, judged_by="gold") for draw in draws)))


def test_a_unit_measured_to_do_harm_is_withheld_and_comes_back_when_it_recovers(bank):
    bad, fine = unit(), unit("alpha beta gamma delta")
    bank.consolidate(Consolidation(units=(bad, fine)))
    outcomes(bank, bad, shown=True, won=False, count=12)
    outcomes(bank, bad, shown=False, won=True, count=12)
    assert bank.get(bad.id).status is Status.WITHHELD
    recall = bank.recall(MemoryQuery(text="alpha beta gamma"))
    assert [hit.unit.id for hit in recall.hits] == [fine.id]
    assert bad.id in recall.note
    rows = {row.key: row for row in bank.lift().rows if row.scope == "unit"}
    assert rows[bad.id].withheld_now
    assert rows[bad.id].lift.high < 0
    outcomes(bank, bad, shown=True, won=True, count=100)
    outcomes(bank, bad, shown=False, won=False, count=10)
    assert bank.get(bad.id).status is Status.ACTIVE


def test_a_withheld_unit_is_tried_again_now_and_then(bank):
    bad = unit()
    bank.consolidate(Consolidation(units=(bad,)))
    outcomes(bank, bad, shown=True, won=False, count=12)
    outcomes(bank, bad, shown=False, won=True, count=12)
    tries = sum(
        bool(bank.recall(MemoryQuery(text="alpha beta gamma", task=str(n), withhold=0.2)).hits) for n in range(300)
    )
    assert 20 < tries < 100


def test_a_copy_of_a_withheld_unit_does_not_slip_past_the_gate(bank):
    bad = unit()
    bank.consolidate(Consolidation(units=(bad,)))
    outcomes(bank, bad, shown=True, won=False, count=12)
    outcomes(bank, bad, shown=False, won=True, count=12)
    stored = bank.consolidate(Consolidation(units=(unit(workflow="1. the same again"),)))
    assert stored.unit_ids == (bad.id,)
    assert bank.recall(MemoryQuery(text="alpha beta gamma")).nothing_relevant


def test_memory_that_does_not_help_a_namespace_is_withheld_and_recall_says_why(bank):
    ours = unit()
    bank.consolidate(Consolidation(units=(ours,)))
    warmed(bank)
    for won, arm in ((False, {"shown": ("other",)}), (True, {"withheld": ("other",), "arm": Arm.WITHHELD})):
        draws = [Draw(task=f"{won}{n}", namespace="default", randomised=True, **arm) for n in range(20)]
        bank.consolidate(Consolidation(trials=tuple(Trial(draw=draw, won=won) for draw in draws)))
    recalls = [bank.recall(MemoryQuery(text="alpha beta gamma", task=str(n), withhold=0.05)) for n in range(50)]
    empty = [recall for recall in recalls if recall.nothing_relevant]
    assert len(empty) > 40
    assert "did not help (lift -1.00" in empty[0].note


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30))
@settings(max_examples=20, deadline=None)
def test_credit_of_both_arms_adds_up_to_the_outcomes_given(banks, tmp_path_factory, given_outcomes):
    bank = banks.open(tmp_path_factory.mktemp("g") / "bank.sqlite3", HashEmbedder())
    one = unit()
    bank.consolidate(Consolidation(units=(one,)))
    for number, (shown, won) in enumerate(given_outcomes):
        ids = {"shown": (one.id,)} if shown else {"withheld": (one.id,), "arm": Arm.WITHHELD}
        draw = Draw(task=str(number), namespace="default", randomised=True, **ids)
        bank.consolidate(Consolidation(trials=(Trial(draw=draw, won=won),)))
    report = bank.lift()
    bank.close()
    assert report.trials == report.randomised == len(given_outcomes)
    for row in report.rows:
        assert row.tally == Tally(
            shown=sum(shown for shown, _ in given_outcomes),
            shown_wins=sum(shown and won for shown, won in given_outcomes),
            withheld=sum(not shown for shown, _ in given_outcomes),
            withheld_wins=sum(not shown and won for shown, won in given_outcomes),
        )


def test_an_outcome_that_is_not_written_leaves_no_trial(bank):
    with pytest.raises(Exception, match="wins"):
        bank.consolidate(
            Consolidation(units=(unit(uses=0, wins=1),), trials=(Trial(draw=Draw(task="t", namespace="n"), won=True),))
        )
    assert bank.lift().trials == 0
