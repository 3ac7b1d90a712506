"""Quarantine, promotion, merging and echoes: what is not trusted informs, and never takes a trusted place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.errors import InputError
from mia_skill.core.types import MemoryUnit, Origin, Outcome, Provenance, Status
from retrieval.audit import FindingKind
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.custody import task_of
from retrieval.echo import echoed, repeats_text
from retrieval.embed import HashEmbedder
from retrieval.gate import Draw, Trial
from retrieval.merge import merged, supersedes
from retrieval.prune import proven

TRUSTED = (Origin.OWN_RUN, Origin.USER)
DOUBTED = (Origin.IMPORTED, Origin.OTHER_AGENT, Origin.FILE, Origin.WEB)


@pytest.fixture
def bank(banks, tmp_path):
    opened = banks.open(tmp_path / "bank.sqlite3", HashEmbedder())
    yield opened
    opened.close()


def unit(question="alpha beta gamma", origin=Origin.OWN_RUN, parents=(), sources=(), **fields):
    fields.setdefault("outcome", Outcome.CORRECT)
    fields.setdefault("workflow", f"1. search for {question}")
    came = Provenance(origins=(origin,), parents=parents, sources=sources, judged_by=fields.pop("judged_by", "none"))
    return MemoryUnit(question=question, provenance=came, **fields)


def store(bank, *units):
    return bank.consolidate(Consolidation(units=units))


def outcome(bank, *shown, task, won=True, judged_by="gold", namespace="default"):
    draw = Draw(task=task, namespace=namespace, shown=tuple(one.id for one in shown))
    bank.consolidate(Consolidation(trials=(Trial(draw=draw, won=won, judged_by=judged_by),)))


def hits(bank, text="alpha beta gamma", **fields):
    return bank.recall(MemoryQuery(text=text, **fields)).hits


# -- the door --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("origin", DOUBTED)
def test_what_comes_from_elsewhere_is_quarantined_whatever_it_says_of_itself(bank, origin):
    boast = unit(origin=origin, status=Status.ACTIVE, uses=50, wins=50, judged_by="gold")
    store(bank, boast)
    assert bank.get(boast.id).status is Status.QUARANTINED


@pytest.mark.parametrize("origin", TRUSTED)
def test_what_we_did_or_a_user_wrote_may_direct(bank, origin):
    one = unit(origin=origin, status=Status.QUARANTINED)
    store(bank, one)
    assert bank.get(one.id).status is Status.ACTIVE


def test_a_run_made_in_sight_of_quarantined_text_is_quarantined_with_it(bank):
    web = unit(origin=Origin.WEB)
    child = unit("delta epsilon zeta", parents=(web.id,))
    grandchild = unit("eta theta iota", parents=(child.id,))
    for one in (web, child, grandchild):
        store(bank, one)
    assert bank.get(grandchild.id).status is Status.QUARANTINED


def test_quarantined_units_come_after_the_trusted_one_of_a_polarity_at_most_and_say_so(bank):
    trusted = unit("alpha beta gamma delta")
    poison = [unit(f"alpha beta gamma {word}", origin=Origin.WEB) for word in ("one", "two", "three", "four")]
    store(bank, trusted, *poison)
    recall = bank.recall(MemoryQuery(text="alpha beta gamma one", k_success=5))
    statuses = [hit.unit.status for hit in recall.successes]
    assert statuses == [Status.ACTIVE, Status.QUARANTINED]
    assert "1 quarantined: hints, not steps to follow" in recall.note


def test_quarantined_units_get_no_place_that_a_trusted_one_can_fill(bank):
    store(bank, unit("alpha beta gamma delta"), unit("alpha beta gamma", origin=Origin.WEB))
    assert [hit.unit.status for hit in hits(bank, k_success=1)] == [Status.ACTIVE]


# -- promotion -------------------------------------------------------------------------------------------------------


def test_two_wins_on_other_tasks_promote_a_unit_and_what_was_quarantined_for_its_sake(bank):
    web = unit(origin=Origin.WEB)
    child = unit("delta epsilon zeta", parents=(web.id,))
    store(bank, web)
    store(bank, child)
    outcome(bank, web, task="t1")
    assert bank.get(web.id).status is Status.QUARANTINED
    outcome(bank, web, task="t2")
    assert bank.get(web.id).status is bank.get(child.id).status is Status.ACTIVE


def test_wins_that_are_not_independent_promote_nothing(bank):
    web, ours = unit(origin=Origin.WEB), unit("delta epsilon zeta")
    store(bank, web, ours)
    for number in range(5):
        outcome(bank, web, task=f"host{number}", judged_by="host")
        outcome(bank, web, task=f"none{number}", judged_by="none")
        outcome(bank, web, ours, task=f"beside{number}")
        outcome(bank, web, task="always the same")
        outcome(bank, web, task=task_of("default", web.question))
    assert bank.get(web.id).status is Status.QUARANTINED


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.sampled_from(["gold", "host", "evidence"])), max_size=12)
)
def test_promotion_comes_with_two_wins_more_than_losses_over_different_tasks(banks, tmp_path_factory, runs):
    bank = banks.open(tmp_path_factory.mktemp("c") / "bank.sqlite3", HashEmbedder())
    web = unit(origin=Origin.WEB)
    store(bank, web)
    counted: dict[int, bool] = {}
    earned = False
    for task, won, judge in runs:
        outcome(bank, web, task=str(task), won=won, judged_by=judge)
        if judge != "host":
            counted.setdefault(task, won)
            earned = earned or sum(1 if one else -1 for one in counted.values()) >= 2
        assert (bank.get(web.id).status is Status.ACTIVE) == earned
    bank.close()


def test_a_person_can_promote_and_nobody_can_promote_what_is_revoked(bank):
    web = unit(origin=Origin.WEB)
    store(bank, web)
    assert bank.promote(web.id) == (web.id,)
    assert bank.promote(web.id) == ()
    bank.revoke("web")
    with pytest.raises(InputError, match="revoked"):
        bank.promote(web.id)
    with pytest.raises(InputError, match="nothing here came from"):
        bank.revoke("https://never.example")


# -- merging ---------------------------------------------------------------------------------------------------------

UNITS = st.builds(
    unit,
    origin=st.sampled_from(Origin),
    outcome=st.sampled_from(Outcome),
    workflow=st.sampled_from(["1. a", "1. search\n2. read", "1. a longer way\n2. to the same\n3. end"]),
    steps=st.integers(0, 5),
    judged_by=st.sampled_from(["none", "host", "evidence", "panel", "gold", "user"]),
    status=st.sampled_from([Status.ACTIVE, Status.QUARANTINED]),
).flatmap(
    lambda one: st.integers(0, 9).flatmap(
        lambda uses: st.integers(0, uses).map(lambda wins: one.model_copy(update={"uses": uses, "wins": wins}))
    )
)


@given(UNITS, UNITS)
def test_merging_never_lets_a_failure_or_doubted_text_take_a_proven_ones_place(old, new):
    if new.outcome is Outcome.INCORRECT or (proven(old) and new.status is not Status.ACTIVE):
        assert not supersedes(new, old)
    if old.outcome is new.outcome:
        both = merged(old, new)
        assert (both.id, both.outcome, both.status) == (old.id, old.outcome, old.status)
        assert both.wins <= both.uses
        if new.status is not Status.ACTIVE:
            assert (both.uses, both.wins) == (old.uses, old.wins)


@settings(max_examples=40, deadline=None)
@given(st.lists(UNITS, min_size=1, max_size=6))
def test_whatever_arrives_a_proven_unit_keeps_its_text_unless_a_trusted_success_is_shorter(
    banks, tmp_path_factory, arriving
):
    bank = banks.open(tmp_path_factory.mktemp("m") / "bank.sqlite3", HashEmbedder())
    best = unit(workflow="1. search\n2. read", steps=2, judged_by="gold")
    store(bank, best)
    for one in arriving:
        before = bank.get(best.id)
        store(bank, one.model_copy(update={"id": f"mem_{len(bank.list().units)}"}))
        after = bank.get(best.id)
        assert after.outcome is Outcome.CORRECT
        assert after.status is Status.ACTIVE
        if after.workflow != before.workflow:
            assert one.outcome is Outcome.CORRECT
            assert set(one.provenance.origins) <= set(TRUSTED)
            assert one.provenance.judged_by in ("gold", "user")
    bank.close()


def test_copies_from_elsewhere_are_one_witness(bank):
    for number in range(5):
        store(bank, unit(origin=Origin.WEB, sources=(f"https://mirror{number}.example/a",), uses=3, wins=3))
    (only,) = bank.list().units
    assert (only.uses, only.wins) == (3, 3)


# -- echoes ----------------------------------------------------------------------------------------------------------

TEXTS = st.lists(st.sampled_from("search find read the name year of place list page town".split()), min_size=6).map(
    " ".join
)


@given(TEXTS)
def test_a_text_repeats_itself_and_any_text_it_stands_in(text):
    assert repeats_text(text, text)
    assert repeats_text(text, f"before it {text} after it")
    assert not repeats_text(f"{text} quite another matter that goes on for many words more than that {text[::-1]}", "")


def test_recalled_text_is_not_stored_again(bank):
    known = unit(workflow="1. search the year of the founding\n2. read the page")
    store(bank, known)
    back = unit(
        "delta epsilon zeta", workflow="1. Search the year of the founding.\n2. Read the page!", parents=(known.id,),
        sources=("p1",),
    )  # fmt: skip
    assert store(bank, back).unit_ids == (known.id,)
    assert bank.list().total == 1


def test_a_near_copy_is_an_echo_only_where_its_run_read_nothing_itself():
    known = unit(workflow="1. search the year of the founding of the town\n2. read the page about the town hall there")
    near = known.workflow + " too"
    assert echoed(unit("other", workflow=near), [known]) is known
    assert echoed(unit("other", workflow=near, sources=("p1",)), [known]) is None
    assert echoed(unit("other", workflow=near, outcome=Outcome.INCORRECT), [known]) is None


def test_the_audit_names_echoes_that_came_in_by_another_door(bank):
    known = unit(workflow="1. search the year of the founding\n2. read the page")
    back = unit("delta epsilon zeta", workflow=known.workflow, parents=(known.id,))
    bank.import_([{"kind": "unit", **one.model_dump(mode="json")} for one in (known, back)], restore=True)
    (found,) = bank.audit().of(FindingKind.ECHO)
    assert found.unit_ids == (back.id,)


def test_a_list_can_be_of_one_status(bank):
    web = unit(origin=Origin.WEB)
    store(bank, web, unit("delta epsilon zeta"))
    assert [one.id for one in bank.list(status=Status.QUARANTINED).units] == [web.id]
