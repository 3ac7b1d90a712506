"""What a run shows about itself, and grading against a known answer."""

import pytest

from mia_skill.core.chat import ScriptedChat
from mia_skill.core.errors import JudgeError, ModelUnreachableError
from mia_skill.core.types import Passage, Step
from mia_skill.core.verdict import Label
from trust.process import signals
from trust.reference import Grader, exact_match, f1

QUESTION = "Who founded Velmora Works?"
READ = Step(query="Velmora Works", passages=(Passage(id="p", text="Velmora Works was founded by Aldric Tesh."),))


def names(steps: tuple[Step, ...], answer: str = "Aldric Tesh", question: str = QUESTION) -> set[str]:
    return {one.name for one in signals(question, steps, answer)}


def test_an_ordinary_run_shows_nothing() -> None:
    assert names((READ,)) == set()


def test_searching_the_same_again_shows_whatever_the_case_and_order_of_words() -> None:
    assert "repeated_search" in names((READ, Step(query="works velmora", observation="Velmora is a town.")))


def test_failures_and_empty_results_are_told_apart() -> None:
    assert names((Step(query="a", error="timed out"),)) >= {"errors", "no_evidence"}
    found = names((Step(query="a", observation="No results found."), READ))
    assert "empty_results" in found
    assert "errors" not in found


def test_a_run_that_read_nothing_has_no_evidence() -> None:
    assert {"no_evidence"} <= names(())


def test_a_name_of_the_question_that_was_never_read_about_shows() -> None:
    assert "no_evidence_for_relation" in names((READ,), question="Who founded Velmora Works and the Ostrel Mill?")


@pytest.mark.parametrize("answer", ["", "I don't know.", "unknown"])
def test_giving_up_shows(answer: str) -> None:
    assert "gave_up" in names((READ,), answer)


def test_an_answer_that_was_never_read_shows() -> None:
    assert "answer_not_in_evidence" in names((READ,), "Bela Ruvo")


def test_the_most_severe_comes_first() -> None:
    order = ["high", "medium", "low"]
    found = [one.severity for one in signals(QUESTION, (READ, READ, Step(query="x", error="e")), "Bela Ruvo")]
    assert found == sorted(found, key=order.index)


@pytest.mark.parametrize(
    ("answer", "gold"),
    [("the Beatles", "Beatles"), ("1,234", "1234"), ("São Paulo", "sao paulo"), ("Yes.", "yes"), ("大桥", "大桥")],
)
def test_an_exact_match_ignores_articles_case_accents_and_separators(answer: str, gold: str) -> None:
    assert exact_match(answer, [gold])


@pytest.mark.parametrize(
    ("answer", "gold"), [("", ""), ("", "a"), ("1,5", "15"), ("1.5", "15"), ("Tesh", "Aldric Tesh")]
)
def test_what_is_not_the_same_is_no_exact_match(answer: str, gold: str) -> None:
    assert not exact_match(answer, [gold])


def test_f1_is_the_best_overlap_with_any_gold_answer() -> None:
    assert f1("Aldric Tesh", ["Bela Ruvo", "Tesh"]) == pytest.approx(2 / 3)
    assert f1("", ["x"]) == f1("x", []) == 0.0


async def test_an_exact_match_and_an_empty_answer_need_no_model() -> None:
    grader = Grader(ScriptedChat([]))
    assert (await grader.grade(QUESTION, "aldric tesh", ["Aldric Tesh"])).label is Label.CORRECT
    assert (await grader.grade(QUESTION, "  ", ["Aldric Tesh"])).label is Label.NOT_ATTEMPTED


@pytest.mark.parametrize(("word", "label"), [("CORRECT", Label.CORRECT), ("INCORRECT\n", Label.INCORRECT)])
async def test_the_model_grades_with_one_word(word: str, label: Label) -> None:
    model = ScriptedChat([word])
    verdict = await Grader(model).grade(QUESTION, "A. Tesh", ["Aldric Tesh"])
    assert (verdict.label, verdict.backend) == (label, "gold")
    assert all(text in model.seen[0][0].content for text in (QUESTION, "A. Tesh", "Aldric Tesh"))


@pytest.mark.parametrize("reply", ["correct", "It is CORRECT", "", ModelUnreachableError("down")])
async def test_no_grade_is_an_error_and_never_a_wrong_answer(reply: str | Exception) -> None:
    with pytest.raises(JudgeError):
        await Grader(ScriptedChat([reply])).grade(QUESTION, "x", ["y"])
