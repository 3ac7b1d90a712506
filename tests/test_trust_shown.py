"""A name that the evidence shows as something else than was asked for is not accepted as an answer, though it stands
there: a place to "who", a person to "where"."""

import pytest

from mia_skill.core.types import Passage
from mia_skill.core.verdict import Case, Label
from trust.evidence import examine

TOWER = (
    "The Eiffel Tower is a wrought-iron lattice tower on the Champ de Mars in Paris, France. It is named after the "
    "engineer Gustave Eiffel, whose company designed and built the tower from 1887 to 1889. The design was by Stephen "
    "Sauvestre, head of the architectural department of the company. It is 330 metres tall."
)
WHO, WHERE, CITY = (
    "Who designed the Eiffel Tower?",
    "Where is the Eiffel Tower?",
    "In which city is the Eiffel Tower?",
)


def label(question: str, answer: str, *texts: str) -> Label:
    evidence = tuple(Passage(id=f"e{n}", text=one) for n, one in enumerate(texts, 1))
    return examine(Case(question=question, answer=answer, evidence=evidence)).label


@pytest.mark.parametrize("answer", ["Paris", "Paris, France", "France", "in Paris", "It was designed in Paris."])
def test_a_place_that_stands_in_the_evidence_designed_nothing(answer: str) -> None:
    assert label(WHO, answer, TOWER) is Label.ABSTAIN


@pytest.mark.parametrize("answer", ["Gustave Eiffel", "Stephen Sauvestre"])
def test_a_person_who_stands_in_the_evidence_is_no_place(answer: str) -> None:
    assert label(WHERE, answer, TOWER) is Label.ABSTAIN
    assert label(CITY, answer, TOWER) is Label.ABSTAIN
    assert label(WHO, answer, TOWER) is Label.CORRECT


def test_the_same_names_are_accepted_where_they_are_asked_for() -> None:
    assert label(WHERE, "Paris", TOWER) is Label.CORRECT
    assert label(CITY, "Paris", TOWER) is Label.CORRECT


def test_an_answer_left_open_says_what_the_evidence_shows_it_as() -> None:
    verdict = examine(Case(question=WHO, answer="Paris", evidence=(Passage(id="e1", text=TOWER),)))
    assert verdict.reasons[0] == "it asks who, and the evidence shows the answer only as a place"


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        ("Who hosted the 1998 World Cup?", "France", "The 1998 World Cup was held in France."),
        ("Who was the host of the 1998 World Cup?", "France", "The 1998 World Cup was held in France."),
        ("Who uses the baht as its currency?", "Thailand", "The baht is the currency used in Thailand."),
        ("Who won the cup final of 1998?", "Brazil", "Brazil won the cup final of 1998, played in Brazil."),
        ("Who was the drummer's last band?", "Genesis", "The drummer's last band: he was the drummer in Genesis."),
        ("Who is the hero of the legend?", "Lancelot", "The hero of the legend, all believed in Lancelot."),
        ("Who is the mayor of Velmora?", "Paris", "The mayor of Velmora is Paris. She was born in Paris."),
        ("Which country singer recorded Jolene?", "Dolly Parton", "Jolene was written by singer Dolly Parton."),
        ("Where did Ann Lee study?", "Lincoln", "Ann Lee studied in Lincoln. Lincoln was a president of the union."),
        ("In which city does Ann Lee live?", "Salem", "Ann Lee lives in Salem, a town named by the writer Salem."),
    ],
)
def test_what_may_be_meant_is_no_reason_against_an_answer(question: str, answer: str, text: str) -> None:
    verdict = examine(Case(question=question, answer=answer, evidence=(Passage(id="e1", text=text),)))
    assert verdict.label is Label.CORRECT


def test_one_source_that_names_it_as_one_who_acts_is_enough() -> None:
    other = "Paris, the youngest of the brothers, designed the Eiffel Tower."
    verdict = examine(
        Case(
            question=WHO,
            answer="Paris",
            evidence=(Passage(id="e1", text=TOWER), Passage(id="e2", text=other)),
        )
    )
    assert verdict.label is Label.CORRECT


SORTS = (
    "The bridge was designed by the French engineer Ada Brook.",
    "Ada Brook was a French civil engineer. She designed the Velm Bridge.",
    "The Velm Bridge is a French suspension bridge designed by Ada Brook, one of the French Resistance.",
    "The French-born Ada Brook designed the Velm Bridge, an early French work.",
)


@pytest.mark.parametrize("text", SORTS)
def test_a_nationality_designed_nothing(text: str) -> None:
    assert label("Who designed the Velm Bridge?", "French", text) is Label.ABSTAIN
    assert label("Who designed the Velm Bridge?", "Ada Brook", text) is Label.CORRECT


@pytest.mark.parametrize(
    ("question", "answer", "text"),
    [
        ("Who invented paper?", "The Chinese", "Paper was invented by the Chinese."),
        ("Who designed the Velm Bridge?", "The French", "The French designed the Velm Bridge, a French work."),
        ("Who won the cup of 1998?", "The French", "The French won the cup of 1998 with a French coach."),
        ("Who directed Psycho?", "Hitchcock", "Psycho is a Hitchcock film, directed by him."),
        ("Who wrote the song?", "Vivian", "The song is a Vivian song; it was written by Vivian in 1990."),
        ("Who wrote the song?", "Julian", "The song was written by Julian Velm. Julian Velm is a singer."),
        ("Who wrote the song?", "Brian", "Brian plays bass. The song was a hit; Brian likes that he wrote the song."),
    ],
)
def test_people_who_act_are_an_answer_whatever_their_name_looks_like(question: str, answer: str, text: str) -> None:
    assert label(question, answer, text) is Label.CORRECT
