"""Whatever two processes do in turns, each sees what a third, opened afterwards, sees."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.config import BlendWeights
from mia_skill.core.types import Credit, Feedback, MemoryUnit, Outcome
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank

QUESTIONS = ("alpha beta gamma", "alpha delta", "epsilon beta", "zeta eta theta", "iota alpha kappa")
EVERYTHING = {"text": "alpha beta", "min_relevance": 0, "k_success": 20, "k_failure": 20, "max_tokens": 10**6}
WHO = st.integers(0, 1)
WHICH = st.integers(0, 20)
OUTCOMES = st.sampled_from([*Outcome, None])
TURNS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), WHO, st.integers(0, len(QUESTIONS) - 1), OUTCOMES),
        st.tuples(st.just("credit"), WHO, WHICH, st.booleans()),
        st.tuples(st.just("judge"), WHO, WHICH, st.sampled_from(Outcome)),
        st.tuples(st.just("forget"), WHO, WHICH, st.none()),
        st.tuples(st.just("read"), WHO, st.none(), st.none()),
    ),
    max_size=30,
)


def seen(bank):
    """All a reader can tell."""
    recall = bank.recall(MemoryQuery(**EVERYTHING))
    return {hit.unit.id: (hit.unit, pytest.approx(hit.score), hit.value, hit.rarity) for hit in recall.hits}


def turn(bank, what, which, value):
    if what == "store":
        unit = MemoryUnit(question=QUESTIONS[which], workflow="1. search", outcome=value)
        bank.consolidate(Consolidation(units=(unit,)))
        return
    units = bank.list().units
    if what == "read":
        seen(bank)
    elif units:
        unit_id = units[which % len(units)].id
        if what == "credit":
            bank.consolidate(Consolidation(credits=(Credit(unit_id=unit_id, won=value),)))
        elif what == "judge":
            bank.feedback(unit_id, Feedback(good=True), value)
        else:
            bank.forget([unit_id])


@settings(max_examples=40, deadline=None)
@given(TURNS)
def test_two_processes_in_any_turns_agree_with_a_fresh_one(banks, tmp_path_factory, turns):
    path = tmp_path_factory.mktemp("f") / "b.sqlite3"
    opened = [banks.open(path, HashEmbedder(), blend=BlendWeights(diversity=0.0)) for _ in range(2)]
    for what, who, which, value in turns:
        turn(opened[who], what, which, value)
    fresh = banks.open(path, HashEmbedder(), blend=BlendWeights(diversity=0.0))
    expected = seen(fresh)
    for bank in (*opened, fresh):
        assert seen(bank) == expected
        assert bank.health().problems == ()
        bank.close()


@settings(max_examples=40, deadline=None)
@given(TURNS)
def test_a_bank_that_rounds_every_vector_stores_and_finds_what_an_exact_one_does(tmp_path_factory, turns):
    """Also who merges with whom."""
    folder = tmp_path_factory.mktemp("r")
    blend = BlendWeights(diversity=0.0)
    exact = SqliteBank.open(folder / "exact.sqlite3", HashEmbedder(), blend=blend)
    rounding = SqliteBank.open(folder / "rounded.sqlite3", HashEmbedder(), blend=blend, exact_up_to=0)
    for what, _, which, value in turns:
        for bank in (exact, rounding):
            turn(bank, what, which, value)
    told = [
        sorted((hit.unit.question, hit.unit.uses, hit.unit.wins, round(hit.score, 5)) for hit in found.hits)
        for found in (bank.recall(MemoryQuery(**EVERYTHING)) for bank in (exact, rounding))
    ]
    assert told[0] == told[1]
    for bank in (exact, rounding):
        assert bank.health().problems == ()
        bank.close()
