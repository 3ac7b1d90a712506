"""Forgetting and generalising: what is proven goes last, and what agrees becomes one workflow."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.agents.manager import Manager
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.errors import ModelUnreachableError
from mia_skill.core.types import MemoryUnit, Origin, Outcome, Provenance, Status
from retrieval.bank import Consolidation
from retrieval.embed import HashEmbedder
from retrieval.generalise import generalised, shapes
from retrieval.prune import PruneRules, doomed, over_budget, proven, worth

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def bank(banks, tmp_path):
    opened = banks.open(tmp_path / "bank.sqlite3", HashEmbedder())
    yield opened
    opened.close()


def unit(question="alpha beta gamma", workflow="1. search", days=0, judged_by="none", **fields):
    fields.setdefault("outcome", Outcome.CORRECT)
    at = NOW - timedelta(days=days)
    return MemoryUnit(
        question=question,
        workflow=workflow,
        created_at=at,
        updated_at=at,
        provenance=fields.pop("provenance", Provenance(judged_by=judged_by)),
        **fields,
    )


UNITS = st.lists(
    st.builds(
        lambda wins, losses, outcome, status, judge, days: unit(
            uses=wins + losses, wins=wins, outcome=outcome, status=status, judged_by=judge, days=days
        ),
        st.integers(0, 5),
        st.integers(0, 5),
        st.sampled_from([*Outcome, None]),
        st.sampled_from(Status),
        st.sampled_from(["none", "evidence", "gold"]),
        st.integers(0, 100),
    ),
    max_size=12,
)


@settings(deadline=None)
@given(UNITS, st.integers(1, 12))
def test_a_budget_is_kept_and_nothing_proven_goes_while_something_unproven_stays(units, most):
    gone = {one.id for one in doomed(units, PruneRules(most=most), NOW)}
    left = [one for one in units if one.id not in gone]
    assert len(left) == min(most, len(units))
    if any(proven(one) for one in units if one.id in gone):
        assert all(proven(one) for one in left)


@settings(deadline=None)
@given(UNITS, st.integers(1, 12))
def test_a_failure_just_learnt_never_pushes_out_a_proven_success(units, most):
    failure = unit(outcome=Outcome.INCORRECT)
    gone = over_budget([*units, failure], most, spared=[failure.id])
    if any(proven(one) for one in gone):
        assert failure in gone


@settings(deadline=None)
@given(UNITS)
def test_age_takes_nothing_that_is_proven_or_was_touched_since(units):
    for one in doomed(units, PruneRules(older_than_days=30), NOW):
        (found,) = [each for each in units if each.id == one.id]
        assert not proven(found)
        assert found.updated_at < NOW - timedelta(days=30)


def test_losing_units_go_when_even_the_best_reading_of_their_record_is_poor():
    losing, unlucky = unit(uses=12, wins=1), unit(uses=3, wins=0)
    assert [one.id for one in doomed([losing, unlucky], PruneRules(losing=True), NOW)] == [losing.id]


def test_a_dry_run_says_what_goes_and_the_real_run_does_just_that(bank):
    old, new = unit("delta epsilon", days=400), unit("zeta eta", uses=4, wins=4, days=400)
    bank.import_([{"kind": "unit", **one.model_dump(mode="json")} for one in (old, new)], restore=True)
    rules = PruneRules(older_than_days=90)
    rehearsed = bank.prune(rules, dry_run=True)
    assert (bank.list().total, rehearsed.dry_run) == (2, True)
    done = bank.prune(rules)
    assert [one.id for one in done.units] == [one.id for one in rehearsed.units] == [old.id]
    assert [one.id for one in bank.list().units] == [new.id]
    assert bank.verify_log().sound


def test_a_namespace_never_holds_more_than_its_capacity_and_keeps_what_is_proven(banks, tmp_path):
    bank = banks.open(tmp_path / "bank.sqlite3", HashEmbedder(), capacity=10, merge_similarity=1.0)
    best = unit("the proven one", judged_by="gold")
    bank.consolidate(Consolidation(units=(best,)))
    for number in range(30):
        outcome = Outcome.INCORRECT if number % 2 else Outcome.CORRECT
        bank.consolidate(Consolidation(units=(unit(f"q{number} r{number} s{number}", outcome=outcome),)))
        assert bank.list().total <= 10
    bank.consolidate(Consolidation(units=(unit("elsewhere", namespace="other"),)))
    assert bank.get(best.id) is not None
    assert bank.list(namespace="default").total == 10
    assert bank.list(namespace="other").total == 1
    bank.close()


def test_the_order_of_worth_is_revoked_pending_doubted_failed_succeeded_proven():
    ladder = [
        unit(status=Status.REVOKED),
        unit(outcome=None),
        unit(status=Status.QUARANTINED, uses=9, wins=9),
        unit(outcome=Outcome.INCORRECT),
        unit(),
        unit(uses=2, wins=1),
    ]
    assert sorted(reversed(ladder), key=worth) == ladder


# -- generalising ----------------------------------------------------------------------------------------------------


def founded(name, wording, **fields):
    return unit(
        f"When was the town of {name} founded by settlers?",
        f'1. search [name 1]; look for wording like "{wording}" ([name 1] -> the answer)',
        **fields,
    )


def three():
    return (founded("Arden", "was founded", steps=2), founded("Belm", "dates from", steps=1), founded("Corr", "began"))


def test_successes_of_one_shape_make_one_workflow_with_the_variants_of_its_steps():
    other = unit("Who directed the film Odd?", "1. search [name 1] ([name 1] -> the answer)")
    (group,) = shapes([*three(), other])
    made = generalised(group, now=NOW)
    assert made.workflow.splitlines()[0].endswith('"began" ([name 1] -> the answer)')
    assert made.workflow.count("or: ") == 2
    assert set(made.provenance.parents) == {one.id for one in group}
    assert (made.uses, made.wins) == (0, 0)


def test_what_is_doubted_or_failed_takes_no_part():
    first, second, third = three()
    for change in ({"status": Status.QUARANTINED}, {"status": Status.WITHHELD}, {"outcome": Outcome.INCORRECT}):
        assert shapes([first, second, third.model_copy(update=change)]) == []


@settings(deadline=None)
@given(st.permutations(range(3)), st.lists(st.sampled_from(Origin), min_size=3, max_size=3))
def test_a_general_workflow_is_the_same_in_any_order_and_trusted_as_its_least_member(order, origins):
    units = [
        one.model_copy(update={"id": str(number), "provenance": Provenance(origins=(origin,))})
        for number, (one, origin) in enumerate(zip(three(), origins, strict=True))
    ]
    made = generalised([units[position] for position in order], now=NOW)
    assert made.id == generalised(units, now=NOW).id
    assert set(made.provenance.origins) == set(origins)


async def test_the_manager_generalises_once_keeps_the_members_and_says_so_in_a_dry_run(bank):
    bank.consolidate(Consolidation(units=three(), merge=False))
    manager = Manager(bank)
    (rehearsed,) = await manager.generalise("default", dry_run=True)
    assert bank.list().total == 3
    (made,) = await manager.generalise("default")
    assert made.id == rehearsed.id
    assert bank.get(made.id).status is Status.ACTIVE
    assert bank.list().total == 4
    assert await manager.generalise("default") == ()
    assert [line.depth for line in bank.trace(made.id).units] == [0, 1, 1, 1]


async def test_a_model_writes_the_general_workflow_and_the_rule_stands_in_when_it_fails(bank):
    bank.consolidate(Consolidation(units=three(), merge=False))
    writing = ScriptedChat(['{"steps": ["find the year (town -> year)"]}'])
    (made,) = await Manager(bank, writing).generalise("default", dry_run=True)
    assert made.workflow == "1. find the year (town -> year)"
    failing = ScriptedChat([ModelUnreachableError("down")])
    (made,) = await Manager(bank, failing).generalise("default", dry_run=True)
    assert "or: " in made.workflow


async def test_a_general_workflow_of_imported_members_cannot_be_made_until_they_are_promoted(bank):
    came = Provenance(origins=(Origin.IMPORTED,))
    bank.consolidate(
        Consolidation(units=tuple(one.model_copy(update={"provenance": came}) for one in three()), merge=False)
    )
    assert await Manager(bank).generalise("default") == ()
    for one in bank.list().units:
        bank.promote(one.id)
    (made,) = await Manager(bank).generalise("default")
    assert bank.get(made.id).status is Status.QUARANTINED
