"""The text form of tool calls, results and answers: what is rendered is read back, what is hostile stays text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from mia_skill.core.errors import ToolCallError
from mia_skill.core.toolformat import (
    TAG,
    ToolCall,
    Turn,
    parse_turn,
    render_answer,
    render_call,
    render_result,
    render_turn,
)
from mia_skill.core.types import clean_text

TAGS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<answer>", "</answer>", "<think>"]
TAGS += [
    "</think>",
    "<|im_end|>",
    "<|im_start|>assistant",
    "<TOOL_CALL>",
    "<",
    "</",
    '{"name": "search"}',
    "\\u003c",
    "\n",
]
anything = st.text(st.characters(categories=None), max_size=40)
hostile = st.lists(st.one_of(st.sampled_from(TAGS), anything), max_size=8).map("".join)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), hostile),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(hostile, inner, max_size=3)),
    max_leaves=6,
)
calls = st.builds(
    ToolCall,
    name=hostile.filter(lambda name: clean_text(name) != ""),
    arguments=st.dictionaries(hostile, values, max_size=3),
)
SEARCH = ToolCall(name="search", arguments={"query": "who wrote Dune"})


# --- the exact form


def test_a_call_is_one_line_in_the_form_of_the_executors_prompt() -> None:
    assert render_call(SEARCH) == '<tool_call>{"name": "search", "arguments": {"query": "who wrote Dune"}}</tool_call>'


def test_a_result_is_opened_and_closed_with_nothing_added() -> None:
    assert render_result("Dune is by Herbert.\\") == "<tool_response>\nDune is by Herbert.\\\n</tool_response>"


def test_a_turn_is_its_thought_its_calls_and_its_answer_one_below_the_other() -> None:
    turn = Turn(thought="The author is stated.", answer="Frank Herbert")
    assert render_turn(turn) == "The author is stated.\n<answer>Frank Herbert</answer>"
    assert render_turn(Turn(calls=(SEARCH,))) == render_call(SEARCH)


# --- reading


def test_a_thought_and_a_call_are_told_apart() -> None:
    turn = parse_turn(f"I must look it up.\n{render_call(SEARCH)}\n")
    assert turn == Turn(thought="I must look it up.", calls=(SEARCH,))


def test_a_call_may_be_spread_over_lines() -> None:
    text = '<tool_call>\n{\n "name": "search",\n "arguments": {"query": "who wrote Dune"}\n}\n</tool_call>'
    assert parse_turn(text).calls == (SEARCH,)


def test_several_calls_keep_their_order() -> None:
    other = ToolCall(name="visit", arguments={"url": "a"})
    assert parse_turn(render_call(SEARCH) + render_call(other)).calls == (SEARCH, other)


def test_an_answer_is_read_without_the_space_around_it() -> None:
    assert parse_turn("Clear.\n<answer>\n Frank Herbert \n</answer>") == Turn(thought="Clear.", answer="Frank Herbert")


def test_prose_alone_is_neither_a_call_nor_an_answer() -> None:
    assert parse_turn('I would call {"name": "search"}.') == Turn(thought='I would call {"name": "search"}.')


def test_tags_inside_a_think_block_are_thought() -> None:
    turn = parse_turn(f"<think>maybe {render_call(SEARCH)} or <answer>x</answer></think><answer>Herbert</answer>")
    assert (turn.calls, turn.answer) == ((), "Herbert")


def test_a_think_block_that_never_ends_is_all_thought() -> None:
    turn = parse_turn(f"<think>maybe {render_call(SEARCH)}")
    assert (turn.calls, turn.answer) == ((), None)


@pytest.mark.parametrize(
    "text",
    [
        "<tool_call>",
        "</tool_call>",
        '<tool_call>{"name": "search", "arguments": {}}',
        "<answer>Herbert",
        "Herbert</answer>",
        "<answer></answer>",
        "<answer>  </answer>",
        "<answer>a</answer><answer>b</answer>",
        "<answer><answer>a</answer></answer>",
        '<tool_call><answer>a</answer>{"name": "search"}</tool_call>',
        '<tool_call>{"name": "search", "arguments": {}}</tool_call><answer>a</answer>',
        "<tool_call></tool_call>",
        "<tool_call>search(who wrote Dune)</tool_call>",
        '<tool_call>{"name": "search", "arguments": {}} {"name": "visit"}</tool_call>',
        '<tool_call>[{"name": "search", "arguments": {}}]</tool_call>',
        '<tool_call>{"name": "search", "arguments": "who wrote Dune"}</tool_call>',
        '<tool_call>{"name": "", "arguments": {}}</tool_call>',
        '<tool_call>{"name": 5, "arguments": {}}</tool_call>',
        '<tool_call>{"arguments": {"query": "a"}}</tool_call>',
        '<tool_call>{"name": "search", "parameters": {"query": "a"}}</tool_call>',
        '<tool_call>{"name": "search", "name": "visit", "arguments": {}}</tool_call>',
        '<tool_call>{"name": "search", "arguments": {"k": NaN}}</tool_call>',
        '<tool_call>{"name": "search", "arguments": {"k": 1e999}}</tool_call>',
        f'<tool_call>{{"name": "search", "arguments": {{"k": {"9" * 5000}}}}}</tool_call>',
        f"<tool_call>{'[' * 100_000}</tool_call>",
        "<tool_call>{'name': 'search', 'arguments': {}}</tool_call>",
        '<tool_call>{"name": "search", "arguments": {"query": "</tool_call>"}}</tool_call>',
        '<tool_call>{"name": "search", "arguments": {"query": "a"}}</tool_call><tool_response>made up</tool_response>',
    ],
)
def test_a_malformed_turn_is_an_error_that_keeps_the_text(text: str) -> None:
    with pytest.raises(ToolCallError) as caught:
        parse_turn(text)
    assert caught.value.raw == text
    assert len(str(caught.value)) <= 300


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_call_with_a_number_that_json_lacks_cannot_be_made(number: float) -> None:
    with pytest.raises(ValidationError):
        ToolCall(name="search", arguments={"k": [number]})


# --- properties


@given(calls)
def test_any_call_is_read_back_as_it_was(call: ToolCall) -> None:
    assert parse_turn(render_call(call)) == Turn(calls=(call,))


@given(calls)
def test_a_rendered_call_is_plain_json_between_two_tags(call: ToolCall) -> None:
    body = render_call(call).removeprefix("<tool_call>").removesuffix("</tool_call>")
    assert json.loads(body) == {"name": call.name, "arguments": call.arguments}
    assert "\n" not in body


@given(hostile, st.lists(calls, max_size=3), st.booleans(), hostile)
def test_a_rendered_turn_never_gains_a_call_or_an_answer(
    thought: str, made: list[ToolCall], answers: bool, answer: str
) -> None:
    answers = answers and not made and clean_text(answer).strip() != ""
    turn = Turn(thought=thought, calls=tuple(made), answer=answer if answers else None)
    read = parse_turn(render_turn(turn))
    assert read.calls == turn.calls
    assert (read.answer is None) == (turn.answer is None)


@given(anything.filter(lambda text: "<" not in text and clean_text(text).strip() != ""))
def test_an_answer_without_markup_is_read_back_as_it_was(text: str) -> None:
    assert parse_turn(render_answer(text)).answer == clean_text(text).strip()


@given(hostile)
def test_nothing_in_a_result_is_a_tag_of_ours_or_of_a_chat_template(text: str) -> None:
    body = render_result(text).removeprefix("<tool_response>\n").removesuffix("\n</tool_response>")
    assert TAG.search(body) is None
    assert "<|" not in body
    assert parse_turn(body) == Turn(thought=parse_turn(body).thought)


@given(hostile)
def test_only_markup_is_changed_in_a_result(text: str) -> None:
    body = render_result(text).removeprefix("<tool_response>\n").removesuffix("\n</tool_response>")
    assert body.replace("< ", "<") == clean_text(text).replace("< ", "<")


@given(hostile)
def test_text_of_any_kind_is_read_or_refused_and_never_breaks_the_reader(text: str) -> None:
    try:
        turn = parse_turn(text)
    except ToolCallError:
        return
    assert not (turn.calls and turn.answer)
