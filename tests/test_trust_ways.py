"""Answers of several steps: the end of the best way through the evidence, and pages that speak of other things."""

from mia_skill.core.types import Passage
from mia_skill.core.verdict import Case
from trust.evidence import examine
from trust.facts import gather_facts

PAGES = (
    Passage(id="book", title="The Salt Almanac", text="The Salt Almanac is a book. It was written by Dora Fosk."),
    Passage(id="writer", title="Dora Fosk", text="Dora Fosk was a painter. She was born in Yasholm."),
    Passage(id="other", title="Tibor Pradott", text="Tibor Pradott was a sailor. He was born in Kridis."),
)
QUESTION = "Where was the author of The Salt Almanac born?"
RIVERS = tuple(
    Passage(id=name, title=f"{name} River", text=f"The {name} River lies in Kalia. Its total length is {km} km.")
    for name, km in (("Jirdin", "1,811"), ("Pomdel", "488"), ("Tanen", "760"))
)


def case(answer: str) -> Case:
    return Case(question=QUESTION, answer=answer, evidence=PAGES)


def test_the_end_of_the_way_leads_and_an_answer_beside_it_falls_behind() -> None:
    (right,), (wrong,) = gather_facts(case("Yasholm")).findings, gather_facts(case("Kridis")).findings
    assert right.lead > 0 > wrong.lead


def test_an_answer_two_pages_away_is_likelier_than_one_that_no_way_leads_to() -> None:
    right, wrong = examine(case("Yasholm")).p_correct, examine(case("Kridis")).p_correct
    assert right is not None
    assert wrong is not None
    assert right > wrong


def test_the_lengths_of_other_rivers_are_no_contradiction() -> None:
    found = examine(Case(question="How long is the Jirdin River?", answer="1,811", evidence=RIVERS))
    assert not found.conflicts


def test_another_length_of_the_same_river_is_a_contradiction() -> None:
    twin = Passage(id="twin", title="Jirdin River", text="The Jirdin River lies in Kalia. Its total length is 902 km.")
    found = examine(Case(question="How long is the Jirdin River?", answer="1,811", evidence=(*RIVERS, twin)))
    assert [one.sources for one in found.conflicts] == [(("Jirdin",), ("twin",))]
