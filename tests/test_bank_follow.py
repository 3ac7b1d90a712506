"""Whatever two processes do in turns, each sees what a third, opened afterwards, sees."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.config import BlendWeights
from mia_skill.core.types import Credit, Feedback, MemoryUnit, Outcome
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder

QUESTIONS = ("alpha beta gamma", "alpha delta", "epsilon beta", "zeta eta theta", "iota alpha kappa")
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
    query = MemoryQuery(text="alpha beta", min_relevance=0, k_success=20, k_failure=20, max_tokens=10**6)
    recall = bank.recall(query)
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
