"""Export, import and audit."""

from datetime import timedelta

import orjson
import pytest
from bank_kinds import SCORINGS
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.config import BlendWeights
from mia_skill.core.types import Credit, Feedback, MemoryUnit, Modality, Origin, Outcome, PlanPair, Provenance, utc_now
from retrieval.audit import FindingKind
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=30)
UNITS = st.builds(
    MemoryUnit,
    question=TEXT,
    workflow=TEXT,
    caption=st.none() | TEXT,
    modality=st.sampled_from(Modality),
    outcome=st.sampled_from([*Outcome, None]),
    uses=st.integers(5, 9),
    wins=st.integers(0, 5),
    feedback=st.lists(st.builds(Feedback, good=st.booleans(), note=TEXT), max_size=1).map(tuple),
    provenance=st.builds(Provenance, origins=st.lists(st.sampled_from(Origin), max_size=2).map(tuple)),
    namespace=st.sampled_from(["default", "other"]),
)
PAIRS = st.builds(PlanPair, question=TEXT, good_plan=TEXT, bad_plan=TEXT, caption=st.none() | TEXT)


@pytest.fixture(params=SCORINGS)
def new_bank(banks, tmp_path, request):
    opened = []

    def opener():
        opened.append(banks.open(tmp_path / f"{len(opened)}.sqlite3", HashEmbedder(), **SCORINGS[request.param]))
        return opened[-1]

    yield opener
    for bank in opened:
        bank.close()


def unit(question, **fields):
    return MemoryUnit(
        **{"question": question, "workflow": "1. search the list\n2. read it", "outcome": Outcome.CORRECT, **fields}
    )


def store(bank, *units, pairs=()):
    return bank.consolidate(Consolidation(units=units, pairs=pairs))


@settings(max_examples=25, deadline=None)
@given(st.lists(UNITS, max_size=6), st.lists(PAIRS, max_size=3))
def test_a_restored_export_is_the_same_bank(banks, tmp_path_factory, units, pairs):
    folder = tmp_path_factory.mktemp("t")
    old = banks.open(folder / "old.sqlite3", HashEmbedder())
    new = banks.open(folder / "new.sqlite3", HashEmbedder(32))
    store(old, *units, pairs=pairs)
    exported = [orjson.dumps(line) for line in old.export()]
    report = new.import_(exported, restore=True)
    assert report.broken == ()
    assert [orjson.dumps(line) for line in new.export()] == exported
    assert new.list().units == old.list().units
    old.close()
    new.close()


def test_a_restore_keeps_pairs_that_its_own_embedder_cannot_tell_apart(banks, tmp_path):
    old = banks.open(tmp_path / "old.sqlite3", HashEmbedder())
    blind = banks.open(tmp_path / "blind.sqlite3", HashEmbedder(1))
    pairs = tuple(PlanPair(question=text, good_plan="1. a", bad_plan="1. b") for text in ("one bridge", "two ships"))
    store(old, pairs=pairs)
    exported = [orjson.dumps(line) for line in old.export()]
    blind.import_(exported, restore=True)
    assert [orjson.dumps(line) for line in blind.export()] == exported
    old.close()
    blind.close()


def test_an_import_from_elsewhere_is_marked_and_merges_with_what_is_known(new_bank):
    theirs, mine = new_bank(), new_bank()
    store(mine, own := unit("height of the bridge", uses=1, wins=1))
    store(theirs, unit("height of the bridge", uses=2, wins=0), fresh := unit("another thing altogether"))
    report = mine.import_(theirs.export())
    assert (report.added, report.merged, report.known) == (1, 1, 0)
    assert mine.get(own.id).uses == 1, "a stranger's counts are no outcomes of ours"
    assert mine.get(own.id).provenance.origins == (Origin.OWN_RUN,)
    assert mine.get(fresh.id).provenance.origins == (Origin.OWN_RUN, Origin.IMPORTED)
    again = mine.import_(theirs.export())
    assert (again.added, again.known, mine.list().total) == (0, 1, 2)


def test_broken_lines_are_reported_by_number_and_the_others_kept(new_bank):
    good = orjson.dumps({"kind": "unit", **unit("fine").model_dump(mode="json")})
    lines = [
        b'{"kind": "bank", "format": 1}',
        b"{ no json",
        good,
        b"",
        b"[1, 2]",
        b'{"kind": "unit", "question": "no workflow"}',
        b'{"kind": "dream"}',
        orjson.dumps({"kind": "unit", **unit("boast", uses=1).model_dump(mode="json"), "wins": 2}),
        b'{"kind": "pair", "question": "q", "good_plan": "g", "bad_plan": "b", "extra": 1}',
        b'{"kind": "bank", "format": 99}',
    ]
    bank = new_bank()
    report = bank.import_(lines)
    assert (report.added, bank.list().total) == (1, 1)
    assert [broken.line for broken in report.broken] == [2, 5, 6, 7, 8, 9, 10]
    reasons = " | ".join(broken.reason for broken in report.broken)
    for expected in ("no JSON", "no JSON object", "workflow", "'dream'", "2 wins in 1 uses", "extra", "upgrade"):
        assert expected in reasons


def test_a_dry_run_reports_the_same_and_writes_nothing(new_bank):
    bank = new_bank()
    store(bank, own := unit("height of the bridge"))
    lines = [
        {"kind": "unit", **one.model_dump(mode="json")} for one in (unit("height of the bridge"), unit("new"), own)
    ]
    rehearsed = bank.import_([*lines, "broken"], dry_run=True)
    assert rehearsed.dry_run
    assert bank.list().total == 1
    done = bank.import_([*lines, "broken"])
    assert done == rehearsed.model_copy(update={"dry_run": False})
    assert bank.list().total == 2


def test_an_import_can_go_into_another_namespace(new_bank):
    theirs, mine = new_bank(), new_bank()
    store(theirs, unit("a question"), pairs=(PlanPair(question="p", good_plan="g", bad_plan="b"),))
    mine.import_(theirs.export(), namespace="guest")
    assert mine.list(namespace="guest").total == 1
    assert len(mine.similar_pairs("p", namespace="guest")) == 1
    assert mine.recall(MemoryQuery(text="a question")).nothing_relevant


def test_an_export_is_of_one_moment(new_bank):
    bank = new_bank()
    store(bank, unit("first one"), unit("second thing"))
    lines = bank.export()
    next(lines)
    store(bank, unit("too late now"))
    assert [line["question"] for line in lines] == ["first one", "second thing"]


def test_the_audit_names_what_a_person_should_look_at(new_bank):
    bank = new_bank()
    judged = Provenance(judged_by="gold", sources=("https://e.org",))
    fine = unit("fine words only", uses=4, wins=3, provenance=judged)
    store(
        bank,
        fine,
        losing := unit("losing streak here", uses=6, wins=2, provenance=judged),
        empty := unit("empty thing there", workflow="1. x", uses=1, provenance=judged),
        pending := unit("pending still open", outcome=None, uses=1, provenance=judged),
        untraced := unit("untraced odd origin", uses=1),
        web := unit("web page said", provenance=Provenance(origins=(Origin.WEB,), judged_by="panel")),
        twin := unit("fine only words", outcome=Outcome.INCORRECT, uses=1, provenance=judged),
    )
    bank.feedback(twin.id, Feedback(good=True), Outcome.CORRECT)
    report = bank.audit()
    found = {kind: [finding.unit_ids for finding in report.of(kind)] for kind in FindingKind}
    assert report.units == 7
    assert found == {
        FindingKind.DUPLICATE: [(fine.id, twin.id)],
        FindingKind.NEVER_USED: [(web.id,)],
        FindingKind.LOSING: [(losing.id,)],
        FindingKind.EMPTY_WORKFLOW: [(empty.id,)],
        FindingKind.NO_PROVENANCE: [(untraced.id,)],
        FindingKind.UNTRUSTED: [(web.id,)],
        FindingKind.PENDING: [(pending.id,)],
        FindingKind.ECHO: [],
    }


def test_the_same_question_about_two_pictures_is_no_duplicate(new_bank):
    bank = new_bank()
    store(bank, *(unit("who is this", modality=Modality.IMAGE, caption=caption) for caption in ("a man", "one dog")))
    assert bank.audit().of(FindingKind.DUPLICATE) == ()


@pytest.mark.parametrize("number", [5, 590])
def test_duplicates_are_found_within_and_across_blocks(new_bank, number):
    bank = new_bank()
    units = [unit(f"word{n} other{n * 3} third{n * 7} fourth{n * 11}", namespace="n") for n in range(600)]
    twin = units[number].model_copy(update={"id": "mem_twin"})
    lines = [{"kind": "unit", **one.model_dump(mode="json")} for one in (*units, twin)]
    bank.import_(lines, restore=True)
    assert (units[number].id, "mem_twin") in {finding.unit_ids for finding in bank.audit().of(FindingKind.DUPLICATE)}


def line_of(one, **changed):
    return {"kind": "unit", **one.model_dump(mode="json"), **changed}


def test_a_file_cannot_bring_vectors_of_its_own(new_bank):
    bank = new_bank()
    report = bank.import_([line_of(unit("one"), vector=[0.1, 0.2]), line_of(unit("two"))])
    assert (report.added, [one.line for one in report.broken]) == (1, [1])
    assert "vector" in report.broken[0].reason


def test_a_lineage_that_is_a_circle_comes_in_is_traced_and_revoked_whole(new_bank):
    bank = new_bank()
    first, second, third = (unit(f"w{n} x{n} y{n}", workflow=f"1. way {n} of {n * 7}") for n in range(3))
    parents = {first.id: second.id, second.id: third.id, third.id: first.id}
    lines = [
        line_of(one, provenance=Provenance(parents=(parents[one.id], one.id)).model_dump(mode="json"))
        for one in (first, second, third)
    ]
    assert bank.import_(lines).added == 3
    assert {one.id for one in bank.trace(first.id).units} == set(parents)
    assert set(bank.revoke(second.id).unit_ids) == set(parents)
    assert bank.verify_log().sound


@pytest.mark.parametrize("giant", ["question", "workflow", "plan"])
def test_a_giant_unit_is_refused_by_number_and_the_others_are_kept(new_bank, giant):
    bank = new_bank()
    big = line_of(unit("big"), **{giant: "x" * 1_000_001})
    report = bank.import_([big, orjson.dumps(big), b'{"kind": "unit"' + b" " * 5_000_000, line_of(unit("small"))])
    assert (report.added, [one.line for one in report.broken]) == (1, [1, 2, 3])
    assert all("no workflow is that long" in one.reason for one in report.broken)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(st.characters(), min_size=1, max_size=40), min_size=6, max_size=6))
def test_hostile_text_in_any_field_comes_back_as_it_was_or_is_refused(banks, tmp_path_factory, texts):
    names = ("question", "workflow", "caption", "category", "plan", "namespace")
    bank = banks.open(tmp_path_factory.mktemp("h") / "b.sqlite3", HashEmbedder())
    line = line_of(unit("x"), **dict(zip(names, texts, strict=True)))
    report = bank.import_([line, line_of(unit("sound one"))], restore=True)
    assert report.added + len(report.broken) == 2
    for held in bank.list().units:
        again = orjson.loads(held.model_dump_json())
        assert MemoryUnit.model_validate(again) == held
    assert bank.verify_log().sound
    bank.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(-4000, 4000), min_size=1, max_size=6), st.integers(0, 5))
def test_a_clock_that_goes_back_or_far_ahead_loses_nothing_and_recall_goes_on(banks, tmp_path_factory, days, wins):
    bank = banks.open(tmp_path_factory.mktemp("c") / "b.sqlite3", HashEmbedder())
    for number, shift in enumerate(days):
        at = utc_now() + timedelta(days=shift)
        one = unit(f"w{number} x{number}", uses=5, wins=wins, created_at=at, updated_at=at)
        bank.import_([line_of(one)], restore=True)
        bank.consolidate(Consolidation(credits=(Credit(unit_id=one.id, won=True),)))
    for number in range(len(days)):
        recall = bank.recall(MemoryQuery(text=f"w{number} x{number}", k_success=6))
        assert f"w{number} x{number}" in {hit.unit.question for hit in recall.successes}
        assert all(0.0 <= hit.explanation.value <= 1.0 for hit in recall.hits)
    assert all((one.uses, one.wins) == (6, wins + 1) for one in bank.list().units)
    bank.close()


class Counting(HashEmbedder):
    """Counts the texts it is given."""

    texts = 0

    def embed(self, texts, kind="query"):
        self.texts += len(texts)
        return super().embed(texts, kind)


CAPTIONED = {"caption": "a bridge over a river", "modality": Modality.IMAGE}


@pytest.fixture
def with_vectors(new_bank):
    """Lines of an export with vectors: units with and without a caption, and a pair."""
    bank = new_bank()
    pair = PlanPair(question="delta", good_plan="a", bad_plan="b")
    store(bank, unit("alpha beta"), unit("gamma", **CAPTIONED), unit("epsilon zeta"), pairs=(pair,))
    return list(bank.export(vectors=True))


@pytest.fixture
def another(banks, tmp_path):
    embedder = Counting()
    bank = banks.open(tmp_path / "another.sqlite3", embedder, blend=BlendWeights(diversity=0.0))
    yield bank, embedder
    bank.close()


def stored_vectors(bank):
    return [(line["question"], line["vectors"]) for line in bank.export(vectors=True) if "vectors" in line]


@pytest.mark.parametrize("new_bank", ["blend"], indirect=True)
def test_vectors_of_the_same_embedder_are_taken_over_but_for_the_one_that_is_checked(with_vectors, another):
    bank, embedder = another
    report = bank.import_(with_vectors, restore=True, vectors=True)
    assert (report.added, report.pairs, report.embedded_again) == (3, 1, 0)
    assert embedder.texts <= 3, "the question of one line with its mask and caption"
    assert stored_vectors(bank) == [(line["question"], line["vectors"]) for line in with_vectors if "vectors" in line]
    assert bank.recall(MemoryQuery(text="alpha beta")).hits[0].unit.question == "alpha beta"


def test_vectors_are_made_anew_unless_they_are_asked_for(with_vectors, another):
    bank, embedder = another
    report = bank.import_(with_vectors, restore=True)
    assert (report.added, report.embedded_again) == (3, 4)
    assert embedder.texts >= 4


def renamed(lines):
    return [{**line, "embedder": "0" * 32} if line["kind"] == "bank" else line for line in lines]


def exchanged(lines):
    """Every line has the vectors of another."""
    beside = [line["vectors"] for line in lines if "vectors" in line]
    turned = iter([beside[-1], *beside[:-1]])
    return [{**line, "vectors": next(turned)} if "vectors" in line else line for line in lines]


def cut(lines):
    return [{**line, "vectors": {"question": "AAAA"}} if "vectors" in line else line for line in lines]


def unnamed(lines):
    return [line for line in lines if line["kind"] != "bank"]


@pytest.mark.parametrize("spoilt", [renamed, exchanged, cut, unnamed])
def test_vectors_of_another_embedder_or_of_other_texts_are_made_anew_and_counted(with_vectors, another, spoilt):
    bank, _ = another
    report = bank.import_(spoilt(with_vectors), restore=True, vectors=True)
    assert (report.added, report.pairs, report.embedded_again, report.broken) == (3, 1, 4, ())
    made = dict(stored_vectors(bank))
    bank.reembed()
    assert dict(stored_vectors(bank)) == made


@settings(max_examples=25, deadline=None)
@given(st.lists(UNITS, max_size=6), st.lists(PAIRS, max_size=3))
def test_a_bank_restored_with_its_vectors_is_the_same_bank(banks, tmp_path_factory, units, pairs):
    folder = tmp_path_factory.mktemp("v")
    old, new = (banks.open(folder / f"{name}.sqlite3", HashEmbedder()) for name in ("old", "new"))
    store(old, *units, pairs=pairs)
    exported = [orjson.dumps(line) for line in old.export(vectors=True)]
    report = new.import_(exported, restore=True, vectors=True)
    assert (report.embedded_again, report.broken) == (0, ())
    assert [orjson.dumps(line) for line in new.export(vectors=True)] == exported
    for bank in (old, new):
        bank.close()
