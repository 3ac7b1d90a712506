"""Lineage: trust is the least of all ancestors, in trees and in circles, in Python and in the bank alike."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.types import MemoryUnit, Origin, Outcome, Provenance, Status
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.lineage import TRUSTED, ancestors, descendants, least, tainted, taints, trust_of

NAMES = ("a", "b", "c", "d", "e")
GRAPHS = st.dictionaries(st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=3).map(tuple))
ORIGINS = st.fixed_dictionaries({name: st.tuples(st.sampled_from(Origin)) for name in NAMES})
STATUSES = st.fixed_dictionaries({name: st.sampled_from(Status) for name in NAMES})


def test_of_several_origins_the_least_trusted_counts_and_none_is_trusted_least():
    assert least([Origin.OWN_RUN, Origin.WEB, Origin.USER]) is Origin.WEB
    assert least([Origin.OWN_RUN]) is Origin.OWN_RUN
    assert least([]) is Origin.WEB


@given(GRAPHS)
def test_a_lineage_is_walked_once_even_in_a_circle(parents):
    for name in NAMES:
        above = ancestors(name, parents)
        assert len(above) == len(set(above))
        assert name not in above
        for one in above:
            assert name in descendants([one], parents)
        for one in descendants([name], parents)[1:]:
            assert name in ancestors(one, parents)


@given(GRAPHS, ORIGINS)
def test_no_unit_is_trusted_more_than_any_of_its_ancestors(parents, origins):
    rank = list(Origin).index
    for name in NAMES:
        trust = trust_of(name, parents, origins)
        everyone = [origins[one][0] for one in (name, *ancestors(name, parents))]
        assert trust in everyone
        assert all(rank(trust) >= rank(one) for one in everyone)


@settings(max_examples=40, deadline=None)
@given(GRAPHS, ORIGINS, STATUSES)
def test_the_bank_finds_the_same_taint_as_the_pure_rule(banks, tmp_path_factory, parents, origins, statuses):
    bank = banks.open(tmp_path_factory.mktemp("l") / "bank.sqlite3", HashEmbedder())
    lines = [
        {
            "kind": "unit",
            **MemoryUnit(
                id=name,
                question=f"question {name}",
                workflow=f"1. {name}",
                outcome=Outcome.CORRECT,
                status=statuses[name],
                provenance=Provenance(origins=origins[name], parents=parents.get(name, ())),
            ).model_dump(mode="json"),
        }
        for name in NAMES
    ]
    bank.import_(lines, restore=True)
    with bank._work(write=False) as rows:
        for name in NAMES:
            here = least(origins[name]) not in TRUSTED or taints(rows, name, parents.get(name, ()))
            assert here == tainted(name, parents, origins, statuses), name
    bank.close()


@settings(max_examples=30, deadline=None)
@given(GRAPHS, st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=2, unique=True))
def test_a_revocation_reaches_exactly_the_descendants_also_past_what_was_forgotten(
    banks, tmp_path_factory, parents, source, forgotten
):
    bank = banks.open(tmp_path_factory.mktemp("l") / "bank.sqlite3", HashEmbedder())
    units = [
        MemoryUnit(
            id=name,
            question=f"word{name} other{name} third{name}",
            workflow=f"1. {name}",
            outcome=Outcome.CORRECT,
            provenance=Provenance(parents=parents.get(name, ()), sources=(f"https://{name}.example/page",)),
        )
        for name in NAMES
    ]
    bank.consolidate(Consolidation(units=tuple(units), merge=False))
    if forgotten:
        bank.forget(forgotten)
    rehearsed = bank.revoke(f"https://{source}.example/page", dry_run=True)
    done = bank.revoke(f"https://{source}.example/page")
    assert set(done.unit_ids) == set(rehearsed.unit_ids) == set(descendants([source], parents)) - set(forgotten)
    left = {unit.id for unit in bank.list().units if unit.status is not Status.REVOKED}
    assert left == set(NAMES) - set(descendants([source], parents)) - set(forgotten)
    for name in NAMES:
        shown = bank.recall(MemoryQuery(text=f"word{name} other{name} third{name}", k_success=9)).successes
        assert {hit.unit.id for hit in shown} <= left
    assert bank.verify_log().sound
    bank.close()


def test_a_trace_of_a_circle_ends(banks, tmp_path):
    bank = banks.open(tmp_path / "bank.sqlite3", HashEmbedder())
    for one, other in (("a", "b"), ("b", "a")):
        came = Provenance(parents=(other,), sources=(f"p-{one}",), trail=(f"search: x -> p-{one}",))
        bank.consolidate(
            Consolidation(
                units=(
                    MemoryUnit(
                        id=one,
                        question=f"q{one} r{one}",
                        workflow=f"1. {one}",
                        outcome=Outcome.CORRECT,
                        provenance=came,
                    ),
                )
            )
        )
    trace = bank.trace("a")
    assert [(line.id, line.depth) for line in trace.units] == [("a", 0), ("b", 1)]
    assert trace.units[1].sources == ("p-b",)
    assert trace.units[1].trail == ("search: x -> p-b",)
    bank.close()


def test_a_trace_names_what_was_forgotten_and_the_trust_of_the_whole_lineage(banks, tmp_path):
    bank = banks.open(tmp_path / "bank.sqlite3", HashEmbedder())
    page = MemoryUnit(
        id="page", question="page one", workflow="1. p", outcome=Outcome.CORRECT,
        provenance=Provenance(origins=(Origin.WEB,)),
    )  # fmt: skip
    middle = MemoryUnit(
        id="middle", question="middle two", workflow="1. m", outcome=Outcome.CORRECT,
        provenance=Provenance(parents=("page",)),
    )  # fmt: skip
    leaf = MemoryUnit(
        id="leaf", question="leaf three", workflow="1. l", outcome=Outcome.CORRECT,
        provenance=Provenance(parents=("middle",)),
    )  # fmt: skip
    for unit in (page, middle, leaf):
        bank.consolidate(Consolidation(units=(unit,)))
    bank.forget(["middle"])
    trace = bank.trace("leaf")
    assert [line.status for line in trace.units] == [Status.QUARANTINED, None, Status.QUARANTINED]
    assert trace.trust is Origin.WEB
    assert trace.history[0].endswith("store quarantined; judged by none")
    bank.close()


@pytest.mark.parametrize("target", ["https://blog.example/a?b=1", "blog.example", "web", "mem_1", "mallory"])
def test_everything_from_a_source_can_be_revoked_by_any_of_its_names(banks, tmp_path, target):
    bank = banks.open(tmp_path / "bank.sqlite3", HashEmbedder())
    came = Provenance(origins=(Origin.WEB,), sources=("https://blog.example/a?b=1",), principal="mallory")
    theirs = MemoryUnit(id="mem_1", question="from there", workflow="1. x", outcome=Outcome.CORRECT, provenance=came)
    ours = MemoryUnit(question="quite another", workflow="1. y", outcome=Outcome.CORRECT)
    bank.consolidate(Consolidation(units=(theirs, ours)))
    assert bank.revoke(target).unit_ids == ("mem_1",)
    assert bank.get(ours.id).status is Status.ACTIVE
    bank.close()


def test_what_comes_from_a_revoked_page_later_is_revoked_at_the_door(banks, tmp_path):
    bank = banks.open(tmp_path / "bank.sqlite3", HashEmbedder())

    def from_page(text):
        came = Provenance(origins=(Origin.WEB,), sources=("https://blog.example/a",))
        return MemoryUnit(question=text, workflow="1. x", outcome=Outcome.CORRECT, provenance=came)

    bank.consolidate(Consolidation(units=(from_page("first text"),)))
    bank.revoke("https://blog.example/a")
    late = from_page("second words")
    bank.consolidate(Consolidation(units=(late,)))
    assert bank.get(late.id).status is Status.REVOKED
    bank.close()
