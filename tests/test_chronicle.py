"""What a page is shown of a bank: counts, the log, the uses of a unit, a sample; on every kind of bank."""

import numpy as np
import pytest
from bank_kinds import ON_A_FILE

from mia_skill.core.errors import InputError
from mia_skill.core.types import Credit, MemoryUnit, Origin, Outcome, Provenance, Status
from retrieval.bank import Consolidation
from retrieval.embed import HashEmbedder
from retrieval.gate import Arm, Draw, Trial


@pytest.fixture
def bank(banks, tmp_path):
    opened = banks.open(tmp_path / "bank.sqlite3", HashEmbedder())
    yield opened
    opened.close()


def unit(question, outcome=Outcome.CORRECT, parents=(), origin=Origin.OWN_RUN, **fields):
    came = Provenance(origins=(origin,), parents=parents)
    return MemoryUnit(
        question=question, workflow=f"1. search for {question}", outcome=outcome, provenance=came, **fields
    )


def store(bank, *units):
    bank.consolidate(Consolidation(units=units, merge=False))
    return units


def many(count, **fields):
    return tuple(unit(f"who made the thing number{n} of maker{n * 7}", **fields) for n in range(count))


def test_a_census_counts_by_namespace_outcome_and_status(bank):
    store(bank, unit("alpha one", uses=4, wins=3), unit("beta two", uses=1), unit("gamma three", Outcome.INCORRECT))
    store(bank, unit("delta four", None), unit("eps five", origin=Origin.WEB, namespace="work"))
    rows = {(row.namespace, row.outcome, row.status): row for row in bank.census().rows}
    assert rows["default", "correct", "active"].model_dump()["units"] == 2
    assert (rows["default", "correct", "active"].uses, rows["default", "correct", "active"].wins) == (5, 3)
    assert rows["default", None, "active"].units == rows["work", "correct", "quarantined"].units == 1
    assert bank.census().units == 5


def test_an_empty_bank_has_an_empty_census_and_sample(bank):
    assert bank.census().rows == ()
    assert [entry for entry in bank.log().entries if entry.subject] == []
    assert bank.sample(10).units == ()


def test_the_log_comes_in_pages_newest_first_and_none_is_shown_twice(bank):
    store(bank, *many(7))
    numbers, cursor = [], None
    while True:
        page = bank.log(limit=3, cursor=cursor)
        numbers += [entry.number for entry in page.entries]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(numbers) >= 7
    assert numbers == list(range(len(numbers), 0, -1))


def test_the_log_of_a_unit_holds_the_credits_that_name_it_and_no_other_units(bank):
    one, other = store(bank, unit("alpha one"), unit("beta two"))
    bank.consolidate(Consolidation(credits=(Credit(unit_id=one.id, won=True), Credit(unit_id=other.id, won=True))))
    bank.consolidate(Consolidation(credits=(Credit(unit_id=other.id, won=False),)))
    assert [entry.action for entry in bank.log(subject=one.id).entries] == ["credit", "store"]
    assert [entry.action for entry in bank.log(subject=other.id, limit=2).entries] == ["credit", "credit"]


@pytest.mark.parametrize("subject", ["%", "mem_%", "' OR 1=1 --", "!", "_"])
def test_a_name_with_wildcards_finds_nothing_that_does_not_hold_it(bank, subject):
    (one,) = store(bank, unit("alpha one"))
    bank.consolidate(Consolidation(credits=(Credit(unit_id=one.id, won=True),)))
    assert subject == "_" or bank.log(subject=subject).entries == ()
    assert bank.uses(subject).uses == ()


@pytest.mark.parametrize(("limit", "cursor"), [(0, None), (201, None), (5, "x"), (5, "9" * 30), (5, "-1")])
def test_a_limit_or_a_cursor_that_is_none_of_ours_is_an_input_error(bank, limit, cursor):
    with pytest.raises(InputError):
        bank.log(limit=limit, cursor=cursor)


def test_the_uses_of_a_unit_are_the_tasks_that_showed_it_or_left_it_out(bank):
    one, other = store(bank, unit("alpha one"), unit("beta two"))
    draws = (
        Draw(task="a", namespace="default", shown=(one.id, other.id)),
        Draw(task="b", namespace="default", arm=Arm.PARTLY, shown=(other.id,), withheld=(one.id,), randomised=True),
        Draw(task="c", namespace="default", shown=(other.id,)),
    )
    trials = tuple(Trial(draw=draw, won=draw.task == "a", judged_by="gold") for draw in draws)
    bank.consolidate(Consolidation(trials=trials))
    report = bank.uses(one.id)
    told = [(use.task, use.shown, use.together, use.won) for use in report.uses]
    assert told == [("b", False, 1, False), ("a", True, 2, True)]
    assert (report.searched, report.outcomes) == (3, 3)
    assert (report.tally.shown, report.tally.withheld) == (0, 1)
    assert report.lift is None
    assert len(bank.uses(other.id, limit=2).uses) == 2


def test_what_was_made_in_sight_of_a_unit_is_listed_also_when_it_was_forgotten(bank):
    (parent,) = store(bank, unit("alpha one"))
    kept, gone = store(bank, unit("beta two", parents=(parent.id,)), unit("gamma three", parents=(parent.id,)))
    bank.forget([gone.id])
    report = bank.uses(parent.id)
    assert {child.id: child.question for child in report.children} == {kept.id: kept.question, gone.id: None}
    assert report.descendants == 2


@pytest.mark.parametrize("masked", [True, False])
def test_a_sample_of_a_small_bank_is_all_of_it_with_vectors_of_length_one(bank, masked):
    units = store(bank, *many(9))
    drawn = bank.sample(50, masked=masked)
    assert [one.id for one in drawn.units] == [one.id for one in units]
    assert np.allclose(np.linalg.norm(drawn.vectors_ND, axis=1), 1, atol=1e-5)
    assert (drawn.total, drawn.without) == (9, 0)


def test_a_sample_of_a_large_bank_has_the_wanted_size_and_is_the_same_for_the_same_seed(bank):
    units = store(bank, *many(120))
    bank.forget([one.id for one in units[20:60]])
    drawn, again, other = bank.sample(30), bank.sample(30), bank.sample(30, seed=1)
    assert len(drawn.units) == 30
    assert drawn.total == 80
    assert [one.id for one in drawn.units] == [one.id for one in again.units] != [one.id for one in other.units]


def test_a_sample_keeps_to_its_namespace(bank):
    store(bank, *many(40), *many(5, namespace="work"))
    drawn = bank.sample(3, namespace="work")
    assert {one.namespace for one in drawn.units} == {"work"}
    assert (len(drawn.units), drawn.total) == (3, 5)


@pytest.mark.parametrize("count", [0, 1, 2001])
def test_a_sample_is_bounded(bank, count):
    with pytest.raises(InputError):
        bank.sample(count)


def test_units_without_a_masked_vector_are_counted_and_left_out(banks, tmp_path):
    bank = banks.open(tmp_path / "paper.sqlite3", HashEmbedder(), scoring="paper")
    store(bank, *many(4))
    drawn = bank.sample(10)
    assert (len(drawn.units), drawn.without) == (0, 4)
    assert len(bank.sample(10, masked=False).units) == 4
    bank.close()


def test_lift_lists_the_units_with_the_most_outcomes_first_and_no_more_than_asked(bank):
    units = store(bank, *many(4))
    trials = [
        Trial(draw=Draw(task=f"{n}{k}", namespace="default", shown=(one.id,), randomised=True), won=True)
        for n, one in enumerate(units)
        for k in range(n + 1)
    ]
    bank.consolidate(Consolidation(trials=tuple(trials)))
    listed = [row.key for row in bank.lift(units=2).rows if row.scope == "unit"]
    assert sorted(listed) == sorted(one.id for one in units[2:])
    assert len([row for row in bank.lift().rows if row.scope == "unit"]) == 4
    assert [row for row in bank.lift(("work",), units=2).rows] == []


def test_the_trace_says_how_an_ancestor_ended(bank):
    (parent,) = store(bank, unit("alpha one", Outcome.INCORRECT))
    (child,) = store(bank, unit("beta two", parents=(parent.id,)))
    assert [one.outcome for one in bank.trace(child.id).units] == [Outcome.CORRECT, Outcome.INCORRECT]


@ON_A_FILE
def test_the_page_verbs_read_and_never_write(bank):
    (one,) = store(bank, unit("alpha one"))
    before = bank.verify_log().head
    bank.census(), bank.log(), bank.uses(one.id), bank.sample(10), bank.lift(units=3)
    assert bank.verify_log().head == before
    assert bank.get(one.id).status is Status.ACTIVE


def test_half_a_character_in_any_text_of_a_unit_is_replaced_and_the_unit_is_stored(bank):
    half = "x\ud83d"
    came = Provenance(parents=(half,), sources=(half,), principal=half, judged_by=half, trail=(half,))
    odd = MemoryUnit(question=half, workflow=half, caption=half, plan=half, category=half, provenance=came)
    store(bank, odd)
    assert bank.get(odd.id).provenance.sources == ("x\ufffd",)
    assert bank.verify_log().sound
