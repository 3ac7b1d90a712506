"""Writing: one transaction, credit by id, merging, and what other processes see of it."""

from threading import Barrier, Thread

import numpy as np
import pytest
from bank_kinds import ON_A_FILE, SCORINGS
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.errors import BankError, EmbedderMismatchError, InputError, UnknownIdError
from mia_skill.core.types import (
    Credit,
    Feedback,
    MemoryUnit,
    Modality,
    Origin,
    Outcome,
    PlanPair,
    Provenance,
    Status,
    new_id,
)
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.live import LiveIndex
from retrieval.merge import merged, supersedes
from retrieval.schema import connect, transaction
from retrieval.writer import Writer

GOOD, BAD = Outcome.CORRECT, Outcome.INCORRECT


class Planted:
    """Vectors by text."""

    identity = "planted"
    dimension = 2

    def __init__(self, **cosines):
        self.cosines = cosines

    def embed(self, texts, kind="query"):
        cosines = np.array([self.cosines.get(text.split()[0], 1.0) for text in texts])
        return np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32)


def unit(question="origin", outcome=GOOD, workflow="1. search\n2. read", **fields):
    return MemoryUnit(question=question, workflow=workflow, outcome=outcome, **fields)


@pytest.fixture(params=SCORINGS)
def open_bank(banks, tmp_path, request):
    """Opens the test's bank; which score ranks it must not change what a write does."""
    opened = []

    def opener(embedder=None, **options):
        bank = banks.open(tmp_path / "bank.sqlite3", embedder or HashEmbedder(), **SCORINGS[request.param] | options)
        opened.append(bank)
        return bank

    yield opener
    for bank in opened:
        bank.close()


@pytest.fixture
def bank(open_bank):
    return open_bank()


def store(bank, *units, **rest):
    return bank.consolidate(Consolidation(units=units, **rest))


def questions(bank, **query):
    everything = {"min_similarity": -1, "min_relevance": 0, "k_success": 20, "k_failure": 20}
    recall = bank.recall(MemoryQuery(**{"text": "origin"} | everything | query))
    return sorted(hit.unit.question for hit in recall.hits)


def test_a_stored_unit_comes_back_as_it_was(bank):
    one = unit(
        caption="a bridge",
        modality=Modality.IMAGE,
        plan="1. look",
        category="geo",
        uses=3,
        wins=2,
        steps=4,
        namespace="n",
        feedback=(Feedback(good=True, note="ok — ✓"),),
        provenance=Provenance(origins=(Origin.WEB,), parents=("mem_1",), sources=("https://e.org",), judged_by="gold"),
    )
    stored = store(bank, one)
    assert (stored.unit_ids, stored.merged) == ((one.id,), (False,))
    assert bank.get(one.id) == one.model_copy(update={"status": Status.QUARANTINED})


def test_a_stored_unit_is_seen_by_the_next_recall(bank):
    assert questions(bank) == []
    store(bank, unit())
    assert questions(bank) == ["origin"]


@pytest.mark.parametrize(("cosine", "merges"), [(0.97, True), (0.96999, False), (1.0, True)])
def test_units_merge_from_the_threshold_on(open_bank, cosine, merges):
    bank = open_bank(Planted(near=cosine), merge_similarity=0.97)
    first = store(bank, unit("origin")).unit_ids
    second = store(bank, unit("near"))
    assert second.merged == (merges,)
    assert (second.unit_ids == first) is merges


def test_at_a_threshold_of_one_the_same_text_still_merges(open_bank):
    bank = open_bank(HashEmbedder(), merge_similarity=1.0)
    stored = store(bank, unit("three odd words here"), unit("three odd words here"))
    assert stored.merged == (False, True)


@pytest.mark.parametrize(
    "other", [{"outcome": BAD}, {"outcome": None}, {"namespace": "b"}, {"modality": Modality.IMAGE}, {"caption": "x"}]
)
def test_units_of_another_outcome_namespace_modality_or_picture_do_not_merge(bank, other):
    assert store(bank, unit(), unit(**other)).merged == (False, False)


def test_the_same_question_about_two_pictures_is_two_units(bank):
    pictures = [unit(modality=Modality.IMAGE, caption=caption) for caption in ("a red bridge", "some green frog")]
    assert store(bank, *pictures).merged == (False, False)
    assert store(bank, unit(modality=Modality.IMAGE, caption="a red bridge")).merged == (True,)


def test_merging_keeps_the_older_id_the_counts_and_the_shorter_success(bank):
    old = unit(steps=6, uses=4, wins=3, workflow="1. long way")
    new = unit(steps=2, uses=1, wins=1, workflow="1. short way", provenance=Provenance(parents=("mem_p",)))
    store(bank, old)
    stored = store(bank, new)
    kept = bank.get(old.id)
    assert stored.unit_ids == (old.id,)
    assert (kept.workflow, kept.steps, kept.uses, kept.wins) == ("1. short way", 2, 5, 4)
    assert kept.provenance.parents == ("mem_p",)
    with pytest.raises(UnknownIdError):
        bank.get(new.id)


def test_a_longer_success_leaves_the_shorter_workflow(bank):
    store(bank, old := unit(steps=2, workflow="1. short"), unit(steps=9, workflow="1. longer"))
    assert bank.get(old.id).workflow == "1. short"


def test_a_text_from_the_web_never_replaces_one_of_an_own_run():
    web = unit(steps=1, provenance=Provenance(origins=(Origin.OWN_RUN, Origin.WEB)))
    assert not supersedes(web, unit(steps=9))
    assert supersedes(unit(steps=1), web.model_copy(update={"steps": 9}))
    assert not supersedes(unit(steps=1, provenance=Provenance(origins=())), unit(steps=9))


UNITS = st.builds(
    unit,
    outcome=st.sampled_from([GOOD, BAD, None]),
    workflow=st.text("abc\n", min_size=1, max_size=12),
    steps=st.integers(0, 5),
    uses=st.just(3),
    wins=st.integers(0, 3),
    provenance=st.builds(Provenance, origins=st.lists(st.sampled_from(Origin), max_size=3).map(tuple)),
)


@given(UNITS, UNITS)
def test_a_failure_never_replaces_a_success_and_no_count_is_lost(old, new):
    if old.outcome is not new.outcome:
        assert not supersedes(new, old)
        with pytest.raises(ValueError, match="same outcome"):
            merged(old, new)
        return
    both = merged(old, new)
    assert (both.id, both.outcome, both.uses, both.wins) == (old.id, old.outcome, 6, old.wins + new.wins)
    assert both.workflow == (new.workflow if supersedes(new, old) else old.workflow)
    assert both.outcome is GOOD or both.workflow == old.workflow


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([GOOD, BAD]), st.integers(1, 9)), min_size=1, max_size=12))
def test_whatever_comes_in_the_proven_workflow_is_the_shortest_success(banks, tmp_path_factory, runs):
    bank = banks.open(tmp_path_factory.mktemp("m") / "b.sqlite3", HashEmbedder())
    for outcome, steps in runs:
        store(bank, unit(outcome=outcome, steps=steps, workflow=f"1. {outcome} in {steps}"))
    units = {one.outcome: one for one in bank.list().units}
    assert bank.list().total == len({outcome for outcome, _ in runs})
    bank.close()
    if GOOD in units:
        best = min(steps for outcome, steps in runs if outcome is GOOD)
        assert units[GOOD].workflow == f"1. correct in {best}"


def test_storing_a_unit_again_changes_nothing(bank):
    one = unit(uses=2, wins=1)
    store(bank, one)
    assert store(bank, one).merged == (True,)
    assert bank.get(one.id) == one


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=20))
def test_credit_goes_to_the_named_unit_and_to_no_other(banks, tmp_path_factory, given_credits):
    bank = banks.open(tmp_path_factory.mktemp("c") / "b.sqlite3", HashEmbedder())
    units = [unit(f"word{number} other{number * 3} third{number * 5}") for number in range(3)]
    store(bank, *units)
    ids = [*(one.id for one in units), "mem_gone"]
    credits = tuple(Credit(unit_id=ids[at], won=won) for at, won in given_credits)
    stored = store(bank, credits=credits)
    for at, one in enumerate(units):
        mine = [won for to, won in given_credits if to == at]
        kept = bank.get(one.id)
        assert (kept.uses, kept.wins) == (len(mine), sum(mine))
    assert stored.credited == sum(at < 3 for at, _ in given_credits)
    assert set(stored.unknown_credits) <= {"mem_gone"}
    bank.close()


def test_credit_changes_the_next_recalls_order(bank):
    store(bank, a := unit("alpha beta"), unit("alpha gamma"))
    query = MemoryQuery(text="alpha", k_success=2)
    assert bank.recall(query).successes[0].unit.id == a.id
    store(bank, credits=(Credit(unit_id=a.id, won=False),))
    assert bank.recall(query).successes[0].unit.id != a.id


def test_more_wins_than_uses_is_refused_and_nothing_is_stored(bank):
    with pytest.raises(InputError, match="2 wins in 1 uses"):
        store(bank, unit("fine"), unit("not fine", uses=1, wins=2))
    assert bank.list().total == 0


def test_a_consolidation_that_fails_half_way_leaves_nothing(bank):
    store(bank, unit("before this"))
    broken = PlanPair.model_construct(
        **{**PlanPair(question="q", good_plan="g", bad_plan="b").__dict__, "good_plan": None}
    )
    with pytest.raises(BankError, match=r"(?i)not.null"):
        store(bank, unit("never seen", outcome=BAD), pairs=(broken,), credits=())
    assert [one.question for one in bank.list().units] == ["before this"]
    assert questions(bank) == ["before this"]
    assert bank.health().problems == ()


def test_feedback_is_kept_and_flips_the_outcome(bank):
    store(bank, one := unit())
    told = bank.feedback(one.id, Feedback(good=False, note="wrong town"), BAD)
    assert (told.outcome, told.feedback[0].note, told.provenance.judged_by) == (BAD, "wrong town", "user")
    assert bank.get(one.id) == told
    recall = bank.recall(MemoryQuery(text="origin"))
    assert (len(recall.successes), len(recall.failures)) == (0, 1)


def test_feedback_without_an_outcome_leaves_it(bank):
    store(bank, one := unit(outcome=None))
    assert bank.feedback(one.id, Feedback(good=True)).outcome is None


def test_a_pending_unit_is_recalled_once_somebody_judged_it(bank):
    store(bank, one := unit(outcome=None))
    assert questions(bank) == []
    bank.feedback(one.id, Feedback(good=True), GOOD)
    assert questions(bank) == ["origin"]


def test_unknown_ids_are_errors(bank):
    for call in (bank.get, lambda unit_id: bank.feedback(unit_id, Feedback(good=True)), lambda one: bank.forget([one])):
        with pytest.raises(UnknownIdError, match="mem_nobody"):
            call("mem_nobody")


def test_forgetting_takes_the_unit_and_the_pairs_of_its_question(bank):
    pair = PlanPair(question="origin", good_plan="g", bad_plan="b")
    other = PlanPair(question="something else", good_plan="g", bad_plan="b")
    store(bank, one := unit(), unit("kept words"), pairs=(pair, other))
    assert bank.forget([one.id, one.id]) == 1
    assert questions(bank) == ["kept words"]
    assert [hit.pair.id for hit in bank.similar_pairs("origin", min_similarity=-1)] == [other.id]


@ON_A_FILE
def test_forgotten_text_is_not_left_in_the_file(banks, bank, tmp_path):
    store(bank, one := unit("the secret-xyzzy question"))
    assert any(b"secret-xyzzy" in file.read_bytes() for file in tmp_path.iterdir())
    bank.forget([one.id])
    rows = connect(tmp_path / "bank.sqlite3")
    assert rows.execute("SELECT count(*) FROM vectors").fetchone()[0] == 0
    rows.close()
    assert all(b"secret-xyzzy" not in file.read_bytes() for file in tmp_path.iterdir())


def test_one_unknown_id_and_nothing_is_forgotten(bank):
    store(bank, one := unit())
    with pytest.raises(UnknownIdError, match="nothing was forgotten"):
        bank.forget([one.id, "mem_nobody"])
    assert bank.get(one.id) == one


def test_the_same_two_plans_for_a_question_are_kept_once(bank):
    pair = PlanPair(question="q one", good_plan="g", bad_plan="b")
    first = store(bank, pairs=(pair,)).pair_ids
    again = store(bank, pairs=(pair.model_copy(update={"id": "pair_2"}),)).pair_ids
    other = store(bank, pairs=(pair.model_copy(update={"id": "pair_3", "bad_plan": "c"}),)).pair_ids
    assert (again, other) == (first, ("pair_3",))


def test_another_process_write_flip_credit_and_forget_are_seen_at_the_next_read(open_bank):
    mine, theirs = open_bank(), open_bank()
    store(mine, one := unit("alpha beta"))
    assert questions(theirs) == ["alpha beta"]
    store(theirs, two := unit("gamma delta", workflow="1. ask\n2. read"), credits=(Credit(unit_id=one.id, won=True),))
    assert questions(mine) == ["alpha beta", "gamma delta"]
    assert mine.recall(MemoryQuery(text="alpha beta")).successes[0].value == 0.5
    theirs.feedback(two.id, Feedback(good=False), BAD)
    assert len(mine.recall(MemoryQuery(text="gamma delta")).failures) == 1
    theirs.forget([one.id])
    assert questions(mine) == ["gamma delta"]
    assert mine.health().index == "fresh"


def test_a_twin_that_another_process_stored_is_merged_into(open_bank):
    mine, theirs = open_bank(), open_bank()
    store(mine, unit("first words"))
    store(theirs, twin := unit("shared question"))
    assert store(mine, unit("shared question")).unit_ids == (twin.id,)


@ON_A_FILE
def test_a_reader_that_missed_too_many_deletions_loads_anew(banks, open_bank, tmp_path):
    mine = open_bank()
    units = [unit(f"w{number} x{number} y{number}", workflow=f"1. search {number}") for number in range(12)]
    store(mine, *units)
    assert len(questions(mine)) == 12
    rows = connect(tmp_path / "bank.sqlite3")
    for one in units[:10]:
        with transaction(rows, write=True):
            Writer(rows, LiveIndex("theirs")).forget([one.id], listed=4)
    rows.close()
    assert len(questions(mine)) == 2
    health = mine.health()
    assert health.index.startswith("rebuilt")
    assert health.problems == ()


def test_threads_may_write_and_read_at_once(bank):
    start = Barrier(4)
    errors = []

    def work(number):
        start.wait()
        for turn in range(10):
            store(bank, unit(f"t{number} turn{turn} {number * 31 + turn} zz{turn * number}", outcome=BAD))
            if bank.recall(MemoryQuery(text=f"t{number}", min_similarity=-1, min_relevance=0)).nothing_relevant:
                errors.append((number, turn))

    threads = [Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    health = bank.health()
    assert (errors, health.problems) == ([], ())
    assert health.units == bank.list().total > 4


def test_opening_with_another_embedder_names_the_command_that_helps(open_bank):
    store(open_bank(HashEmbedder(64)), unit())
    with pytest.raises(EmbedderMismatchError, match="mia memory reembed"):
        open_bank(HashEmbedder(32))


def test_reembedding_changes_the_embedder_and_keeps_every_unit(open_bank):
    first = open_bank(HashEmbedder(64))
    units = [unit(f"w{number} of x{number}", caption=f"c{number}" if number % 2 else None) for number in range(150)]
    store(first, *units, pairs=(PlanPair(question="alpha", good_plan="g", bad_plan="b"),))
    second = open_bank(HashEmbedder(32), for_reembed=True)
    with pytest.raises(EmbedderMismatchError):
        second.recall(MemoryQuery(text="w1"))
    seen = []
    assert second.reembed(lambda done, total: seen.append((done, total))) == 150 + 75 + 1
    assert seen[-1] == (151, 151)
    assert second.reembed() == 150 + 75 + 1
    assert second.list().total == second.health().units == first.list().total
    assert second.similar_pairs("alpha")[0].similarity == pytest.approx(1.0)
    assert second.recall(MemoryQuery(text="w3 of x3")).successes[0].unit.question == "w3 of x3"
    with pytest.raises(EmbedderMismatchError):
        first.recall(MemoryQuery(text="w1"))


def test_an_interrupted_reembedding_goes_on_where_it_stopped_and_the_old_vectors_serve_meanwhile(open_bank):
    class Dies(HashEmbedder):
        calls = 0

        def embed(self, texts, kind="query"):
            self.calls += 1
            if self.calls == 3:
                raise KeyboardInterrupt
            return super().embed(texts, kind)

    old = open_bank(HashEmbedder(64))
    store(
        old, *(unit(f"word{number} and more{number * 7}", outcome=None, namespace=str(number)) for number in range(200))
    )
    store(old, unit("alpha"))
    dying = open_bank(Dies(32), for_reembed=True)
    with pytest.raises(KeyboardInterrupt):
        dying.reembed()
    assert questions(old) == ["alpha"]
    assert open_bank(HashEmbedder(32), for_reembed=True).reembed() == 201 - 128


def test_a_remote_model_of_another_dimension_is_refused_at_the_first_vector(open_bank):
    class Changed(HashEmbedder):
        identity = HashEmbedder(64).identity

    store(open_bank(HashEmbedder(64)), unit())
    changed = open_bank(Changed(32))
    with pytest.raises(EmbedderMismatchError, match="64 dimensions"):
        changed.recall(MemoryQuery(text="origin"))
    with pytest.raises(EmbedderMismatchError, match="64 dimensions"):
        store(changed, unit("another question"))


def test_pages_are_newest_first_and_complete(bank):
    store(bank, *(unit(f"w{number} x{number} y{number}", outcome=None, namespace=f"n{number}") for number in range(7)))
    seen, cursor = [], None
    while True:
        page = bank.list(limit=3, cursor=cursor)
        assert page.total == 7
        seen += [one.question for one in page.units]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [f"w{number} x{number} y{number}" for number in reversed(range(7))]


def test_list_filters_by_namespace_outcome_category_and_text_in_any_case(bank):
    store(bank, unit("ÄPFEL pie", category="food"), unit("bridge height", BAD), unit("third", namespace="n"))
    assert bank.list(text="äpfel").units[0].category == "food"
    assert bank.list(text="SEARCH").total == 3
    assert bank.list(outcome=BAD).units[0].question == "bridge height"
    assert bank.list(namespace="n").total == bank.list(category="food").total == 1
    assert bank.list(text="100%_").total == 0


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"limit": 501}, {"cursor": "x"}, {"cursor": "²"}, {"cursor": "9" * 30}]
)
def test_a_bad_limit_or_cursor_is_refused(bank, wrong):
    with pytest.raises(InputError):
        bank.list(**wrong)


def test_identifiers_come_in_the_order_of_their_making_and_are_not_to_be_guessed():
    made = [new_id("mem") for _ in range(200)]
    times, chance = [one[:16] for one in made], {one[16:] for one in made}
    assert times == sorted(times)
    assert len(chance) == 200
    assert {len(one) for one in chance} == {20}


def test_a_unit_restored_twice_in_one_transaction_is_there_once(bank):
    """Rows of a restore enter the index together, after the fact: what it then holds is what the rows hold."""
    one, other = unit("alpha beta"), unit("gamma delta", id="mem_other")
    lines = [{"kind": "unit", **each.model_dump(mode="json")} for each in (one, other, one)]
    report = bank.import_(lines, restore=True)
    assert (report.added, report.known) == (2, 1)
    assert questions(bank, text="alpha beta")[0] == "alpha beta"
    assert not bank.health().problems
