"""One letter is a verdict; everything else is an error and never a label (spec 8.1: "THE ANSWER IS B" was correct)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mia_skill.core.errors import JudgeError
from mia_skill.core.verdict import Label
from trust.reference import parse_grade
from trust.verdict import parse_verdict

TALK = [
    "THE ANSWER IS B",
    "Verdict: A",
    "A.",
    "a",
    "b",
    "AB",
    "A B",
    "A or B",
    "I cannot decide",
    "A\nB",
    "**A**",
    '"A"',
]
TALK += ["Α", "А", "Ａ", "A\u200b", "\ufeffA", "B. The answer is wrong", "", " ", "C", "correct", "A\x00", "A\u2028"]


@pytest.mark.parametrize("white", ["", " ", "\n", "\r\n", "\t "])
def test_the_letter_alone_is_a_verdict_whatever_white_space_is_around_it(white: str) -> None:
    assert parse_verdict(f"{white}A{white}") is Label.CORRECT
    assert parse_verdict(f"{white}B{white}") is Label.INCORRECT


@pytest.mark.parametrize("text", TALK)
def test_talk_lower_case_and_look_alikes_are_errors_that_keep_the_reply(text: str) -> None:
    with pytest.raises(JudgeError) as caught:
        parse_verdict(text)
    assert caught.value.raw == text


@given(st.text())
def test_no_text_becomes_a_label_unless_it_is_the_letter(text: str) -> None:
    if text.strip(" \t\r\n") in ("A", "B"):
        assert parse_verdict(text) in (Label.CORRECT, Label.INCORRECT)
    else:
        with pytest.raises(JudgeError):
            parse_verdict(text)


@given(st.text(min_size=1), st.sampled_from(["A", "B"]), st.text())
def test_a_letter_injected_into_other_text_is_no_verdict(before: str, letter: str, after: str) -> None:
    text = f"{before}{letter}{after}"
    if text.strip(" \t\r\n") != letter:
        with pytest.raises(JudgeError):
            parse_verdict(text)


@given(st.text())
def test_a_grade_is_one_of_three_words_or_an_error(text: str) -> None:
    if text.strip(" \t\r\n") not in ("CORRECT", "INCORRECT", "NOT_ATTEMPTED"):
        with pytest.raises(JudgeError):
            parse_grade(text)


@pytest.mark.parametrize("text", ["CORRECT.", "correct", "INCORRECT CORRECT", "It is CORRECT", "NOT ATTEMPTED", "A"])
def test_a_grade_with_anything_beside_it_is_an_error(text: str) -> None:
    with pytest.raises(JudgeError):
        parse_grade(text)
