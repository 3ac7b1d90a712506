"""Results: the same facts as structure and as text, bounded, without anything that breaks a host."""

import json
import subprocess
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import TextContent

from mcp_server.result import View, fit, plain, present, stringify

AWKWARD = {
    "integral": 1.0,
    "negative zero": -0.0,
    "score": 0.123456,
    "tiny": 0.00004,
    "text": 'quote " backslash \\ tab \t bell \x07 del \x7f line \u2028 emoji 😀 ß',
    "empty": [],
    "nothing": {},
    "deep": [{"a": [1, 2.5, None, True]}],
}


class Shelf(View):
    """A result with a long text, a list and a score."""

    text: str = ""
    rows: tuple[str, ...] = ()
    score: float = 0


def test_the_text_is_the_structure_printed_with_two_spaces() -> None:
    made = present(Shelf(text="a", rows=("b",), score=2.0), 10_000)
    block = made.content[0]
    assert isinstance(block, TextContent)
    assert block.text == '{\n  "text": "a",\n  "rows": [\n    "b"\n  ],\n  "score": 2\n}'
    assert json.loads(block.text) == made.structured_content


def test_floats_have_at_most_four_decimals_and_integral_ones_are_ints() -> None:
    assert plain(AWKWARD | {"text": ""}) == AWKWARD | {
        "text": "", "integral": 1, "negative zero": 0, "score": 0.1235, "tiny": 0
    }  # fmt: skip


def test_the_text_is_byte_for_byte_what_javascript_makes_of_the_structure(node: str) -> None:
    text = stringify(plain(AWKWARD))
    script = "process.stdout.write(JSON.stringify(JSON.parse(require('fs').readFileSync(0, 'utf8')), null, 2))"
    done = subprocess.run(
        [node, "-e", script], input=json.dumps(plain(AWKWARD)).encode(), capture_output=True, check=True
    )
    assert done.stdout.decode() == text


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(alphabet="abcdef_ äß"), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_the_text_follows_the_rules_of_json_stringify(value: Any) -> None:
    made = plain(value)
    assert stringify(made) == json.dumps(made, indent=2, ensure_ascii=False)


@given(st.text(alphabet=st.characters(codec=None)))
def test_no_lone_surrogate_and_no_nul_leaves_in_a_result(text: str) -> None:
    shown = plain({text: [text]})
    stringify(shown).encode("utf-8")
    assert "\x00" not in json.dumps(shown, ensure_ascii=False)


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_a_score_that_is_no_number_is_a_bug_and_never_a_result(score: float) -> None:
    with pytest.raises(ValueError, match="holds"):
        present(Shelf(score=score), 1000)


@pytest.mark.parametrize("limit", [1000, 5000, 32_000])
@pytest.mark.parametrize(
    "shelf",
    [
        Shelf(text="x" * 100_000),
        Shelf(rows=tuple(f"row {number} " + "y" * 900 for number in range(300))),
        Shelf(rows=tuple(f"row {number}" for number in range(20_000))),
        Shelf(text="😀" * 40_000),
        Shelf(text='"\n' * 40_000),
    ],
    ids=["one long text", "many texts", "long list", "astral", "escaped"],
)
def test_a_result_is_never_longer_than_the_limit_and_says_what_to_do(shelf: Shelf, limit: int) -> None:
    made = present(shelf, limit)
    block = made.content[0]
    assert isinstance(block, TextContent)
    assert len(block.text.encode("utf-16-le")) // 2 <= limit
    shown = made.structured_content or {}
    assert json.loads(block.text) == shown
    assert shown["truncated"] is True
    assert "ask for less" in shown["next"]


def test_short_strings_survive_when_long_ones_are_cut() -> None:
    shown = fit({"id": "mem_1", "text": "x" * 50_000}, 4000, more="m")
    assert shown["id"] == "mem_1"
    assert "characters left out" in str(shown["text"])


def test_a_result_that_fits_is_left_alone() -> None:
    tree = {"id": "mem_1"}
    assert fit(tree, 1000, more="m") is tree
