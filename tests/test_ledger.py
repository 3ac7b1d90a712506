"""What the process remembers of what it has shown."""

from mia_skill.agents.ledger import Ledger
from mia_skill.agents.notes import StepNote, steps_of
from mia_skill.core.types import Passage


def test_passages_are_found_by_id_and_the_oldest_are_dropped_first() -> None:
    ledger = Ledger(capacity=2)
    ledger.keep(Passage(id=f"p{n}", text="x") for n in range(3))
    assert [passage.id for passage in ledger.passages(["p0", "p1", "p2"])] == ["p1", "p2"]


def test_units_shown_for_a_question_add_up_whatever_its_spacing_and_case() -> None:
    ledger = Ledger()
    ledger.show("Who  founded X?", ["a", "b"])
    ledger.show("who founded x?", ["b", "c"])
    assert ledger.shown("WHO founded X?") == ("a", "b", "c")
    assert ledger.shown("another") == ()


def test_a_note_refers_to_passages_by_id_and_an_unknown_id_is_an_error_not_evidence() -> None:
    ledger = Ledger()
    ledger.keep([Passage(id="p1", text="known")])
    notes = [StepNote(query="a", passage_ids=["p1"]), StepNote(query="b", passage_ids=["zz"]), StepNote(found="text")]
    good, bad, own = steps_of(notes, ledger)
    assert good.passages[0].text == "known"
    assert good.error is None
    assert bad.error == "unknown passage ids: zz"
    assert (own.observation, own.error) == ("text", None)
