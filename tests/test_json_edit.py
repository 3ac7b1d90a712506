"""Editing JSON, JSONC and JSON5 in place: everything but the one entry stays, and the way back is exact."""

import json
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mia_skill.core.errors import InputError
from mia_skill.install.edit import lookup, removed, with_entry
from mia_skill.install.json5 import Json, parse

ENTRY: dict[str, Json] = {"command": "/py", "args": ["-m", "mcp_server"], "env": {"MIA_HOME": "/h"}}
PATH = ("mcp", "servers", "mia")

JSON5 = """\
// my gateway
{
  agents: { defaults: { model: 'a/b' } }, // the model
  mcp: {
    /* servers I use */
    servers: {
      files: { command: "npx", args: ['-y', "files",], }, // do not touch
    },
  },
  port: 0x2A, ratio: .5, big: +Infinity,
}
"""

FORMS = [
    "{}",
    "{ }",
    '{"mcp": {}}',
    '{"mcp": {"servers": {}}}',
    '{"a": 1}',
    '{"a": 1, "mcp": {"servers": {"x": {}}}}',
    '{\n  "a": 1\n}\n',
    '{\n\t"mcp": {\n\t\t"servers": {\n\t\t\t"x": {"command": "y"}\n\t\t}\n\t}\n}',
    "{a: 1,}",
    "{\n  a: 1, // note\n}\n",
    "{\n  a: 1 // note\n}\n",
    "{\n  a: 1 /* one */ // two\n  // and a last word\n}\n",
    "{ // empty so far\n}\n",
    "{a: 1 // x\n}",
    '{"a": "// no comment, \\" quote"}',
    JSON5,
    JSON5.replace("\n", "\r\n"),
    "\ufeff" + JSON5,
]


@pytest.mark.parametrize("text", FORMS)
def test_an_entry_is_added_and_every_comment_and_value_stays(text: str) -> None:
    edited = with_entry(text, PATH, ENTRY)
    assert lookup(edited, PATH) == ENTRY
    for remark in ("my gateway", "servers I use", "do not touch", "note", "and a last word", "empty so far"):
        assert (remark in edited) == (remark in text)
    before = parse(text).value
    assert isinstance(before, dict)
    for key in before.keys() - {"mcp"}:
        assert repr(lookup(edited, (key,))) == repr(before[key])


@pytest.mark.parametrize("text", FORMS)
def test_adding_twice_changes_nothing_and_taking_out_gives_the_values_back(text: str) -> None:
    edited = with_entry(text, PATH, ENTRY)
    assert with_entry(edited, PATH, ENTRY) == edited
    assert lookup(removed(edited, PATH), PATH) is None


@pytest.mark.parametrize("text", [one for one in FORMS if '"mcp": {}' not in one and one != "{ }"])
def test_one_of_the_ways_back_is_exact(text: str) -> None:
    edited = with_entry(text, PATH, ENTRY)
    assert text in [removed(edited, PATH[:depth]) for depth in (3, 2, 1)]


def test_line_ends_stay_as_they_are() -> None:
    edited = with_entry(JSON5.replace("\n", "\r\n"), PATH, ENTRY)
    assert edited.count("\n") == edited.count("\r\n")


def test_a_comment_on_the_line_of_the_last_entry_stays_with_that_entry() -> None:
    edited = with_entry(JSON5, PATH, ENTRY)
    (line,) = [one for one in edited.splitlines() if "do not touch" in one]
    assert "files" in line


def test_a_strict_json_file_stays_strict_json() -> None:
    for text in ('{"a": 1}', '{\n  "a": 1\n}\n', "{}", ""):
        assert json.loads(with_entry(text, PATH, ENTRY))["mcp"]["servers"]["mia"] == ENTRY


def test_an_entry_is_replaced_where_it_stands() -> None:
    text = with_entry('{"mcp": {"servers": {"mia": {"old": 1}, "x": {}}}}', PATH, ENTRY)
    assert list(json.loads(text)["mcp"]["servers"]) == ["mia", "x"]


def test_the_first_and_a_middle_entry_can_be_taken_out() -> None:
    text = '{\n  "a": 1,\n  "b": 2,\n  "c": 3\n}'
    assert json.loads(removed(text, ("a",))) == {"b": 2, "c": 3}
    assert json.loads(removed(text, ("b",))) == {"a": 1, "c": 3}
    assert removed(text, ("d",)) == text
    assert removed(text, ("a", "x")) == text


@pytest.mark.parametrize(
    "text",
    [
        "{",
        '{"a": }',
        '{"a" 1}',
        '{"a": 1 "b": 2}',
        "{} {}",
        '{"a": "x}',
        "[1, 2",
        "{/* ",
        '{"a": 1, "a": 2}',
        '{"a": "\\u12"}',
        "{,}",
        "[1 2]",
        "nul",
        "{1: 2}",
        "[" * 5000,
        '{"a": tru}',
    ],
)
def test_what_is_not_json5_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(InputError, match="line 1, column"):
        parse(text)


def test_a_refusal_never_shows_a_value() -> None:
    with pytest.raises(InputError) as caught:
        parse('{"token": "sk-secret" "x": 1}')
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("text", ['{"mcp": 1}', '{"mcp": {"servers": []}}', "[]", "3"])
def test_a_value_where_an_object_is_due_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="not an object"):
        with_entry(text, PATH, ENTRY)


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=("Cs",))),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=5), JSONS, max_size=4), st.sampled_from([None, 1, 2, 4, "\t"]))
@settings(max_examples=150, deadline=None)
def test_any_json_document_is_read_as_json_reads_it_and_survives_the_way_there_and_back(
    document: dict[str, Json], indent: int | str | None
) -> None:
    text = json.dumps(document, indent=indent, ensure_ascii=False)
    assert parse(text).value == document
    if "mcp" not in document:
        edited = with_entry(text, PATH, ENTRY)
        assert {**json.loads(edited), "mcp": None} == {**document, "mcp": None}
        assert json.loads(removed(edited, PATH[:1])) == document


@given(st.text(max_size=40))
@settings(max_examples=300, deadline=None)
def test_no_text_breaks_the_reader_in_another_way_than_by_its_error(text: str) -> None:
    with suppress(InputError):
        parse(text)
