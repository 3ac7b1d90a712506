"""Arguments as models send them, and errors as models can use them."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.types import TextContent

from mcp_server.gate import sentence
from mcp_server.server import build_server
from mia_skill.agents.mia import Mia
from mia_skill.core.config import MemoryConfig, MiaConfig
from mia_skill.core.errors import BankUnwritableError, ModelUnreachableError

MakeMia = Callable[..., Mia]


def said(result: Any) -> str:
    assert result.is_error
    (block,) = result.content
    assert isinstance(block, TextContent)
    assert len(block.text) <= 1000
    return block.text


async def refusal(mia: Mia, tool: str, arguments: dict[str, Any]) -> str:
    async with Client(build_server(mia.config, mia=mia)) as client:
        return said(await client.call_tool(tool, arguments))


class Broken:
    """Takes the place of a bank; every call ends in the same way."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __getattr__(self, _name: str) -> Callable[..., Any]:
        def fail(*_given: Any, **_named: Any) -> Any:
            raise self.error

        return fail


def with_bank(mia: Mia, error: BaseException) -> Mia:
    return Mia(config=mia.config, bank=Broken(error), manager=mia.manager)  # type: ignore[arg-type]


async def test_an_unknown_argument_is_refused_with_the_nearest_name(make_mia: MakeMia) -> None:
    text = await refusal(make_mia(), "memory_list", {"outcom": "correct"})
    assert text == "Unknown argument 'outcom'. Did you mean 'outcome'? This tool takes: outcome, text, limit, cursor."


@pytest.mark.parametrize("name", ["userQuery", "user_query", "query", "Question", "task"])
async def test_names_that_models_invent_are_understood(make_mia: MakeMia, name: str) -> None:
    mia = make_mia()
    async with Client(build_server(mia.config, mia=mia)) as client:
        result = await client.call_tool("memory_retrieve", {name: "Who wrote Dune?", "topK": "3", "caption": None})
    assert not result.is_error


async def test_an_invented_name_beside_the_real_one_is_refused(make_mia: MakeMia) -> None:
    assert "Unknown argument 'query'" in await refusal(make_mia(), "memory_retrieve", {"question": "a", "query": "b"})


async def test_problems_are_listed_by_field_at_most_five_and_without_echo(make_mia: MakeMia) -> None:
    wrong = {"question": "q", "answer": "a", "steps": [{"query": ["SECRET"]} for _ in range(50)]}
    text = await refusal(make_mia(), "judge", wrong)
    assert text.splitlines()[0] == "steps.0.query: should be a valid string"
    assert text.splitlines()[-1] == "and 45 more"
    assert "SECRET" not in text


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("memory_retrieve", {}, "question: is required"),
        ("memory_retrieve", {"question": ""}, "question: is too short, at least 1"),
        ("memory_retrieve", {"question": "\x00"}, "question: is too short, at least 1"),
        ("memory_retrieve", {"question": "x" * 5000}, "question: is too long, at most 4000"),
        ("memory_retrieve", {"question": "q", "k": -1}, "k: should be greater than or equal to 1"),
        ("memory_retrieve", {"question": "q", "k": "many"}, "k: should be a valid integer"),
        ("memory_retrieve", {"question": "q", "min_score": "NaN"}, "min_score: should be a finite number"),
        ("memory_retrieve", {"question": "q", "namespace": "../x"}, "namespace: "),
        ("search", {"queries": []}, "queries: is too short, at least 1"),
        ("search", {"queries": ["q"], "source": "moon"}, "source: should be 'auto', 'corpus' or 'web'"),
        ("memory_show", {"id": {"a": 1}}, "id: should be a valid string"),
        ("memory_forget", {"ids": ["x"] * 101}, "ids: is too long, at most 100"),
        ("judge", {"question": "q", "answer": "a", "steps": "[[1]]"}, "steps.0: "),
        ("plan", {"question": "q", "form": {"steps": []}}, "form.steps: is too short, at least 1"),
    ],
)
async def test_a_wrong_value_is_told_with_its_field_and_its_limit(
    make_mia: MakeMia, tool: str, arguments: dict[str, Any], expected: str
) -> None:
    assert (await refusal(make_mia(), tool, arguments)).startswith(expected)


async def test_a_hundred_thousand_wrong_items_get_a_short_answer(make_mia: MakeMia) -> None:
    assert len(await refusal(make_mia(), "search", {"queries": [1] * 100_000})) < 300


async def test_an_unknown_tool_is_told_shortly_however_long_its_name(make_mia: MakeMia) -> None:
    assert (await refusal(make_mia(), "x" * 100_000, {})).startswith("Unknown tool: xxx")


async def test_an_unknown_id_is_told(make_mia: MakeMia) -> None:
    assert "mem_none" in await refusal(make_mia(), "memory_show", {"id": "mem_none"})


async def test_our_errors_reach_the_model_in_their_words_without_folders(make_mia: MakeMia) -> None:
    error = BankUnwritableError("cannot write /home/me/.local/share/mia/memory.sqlite3: disk full; free some space")
    text = await refusal(with_bank(make_mia(), error), "memory_list", {})
    assert text == "cannot write memory.sqlite3: disk full; free some space"


async def test_a_group_of_our_errors_is_told_by_its_first(make_mia: MakeMia) -> None:
    group = BaseExceptionGroup("three reviewers", [ModelUnreachableError("the judge is unreachable: start it")])
    assert await refusal(with_bank(make_mia(), group), "memory_list", {}) == "the judge is unreachable: start it"


async def test_a_bug_says_nothing_but_the_name_of_the_tool(make_mia: MakeMia, caplog: pytest.LogCaptureFixture) -> None:
    text = await refusal(with_bank(make_mia(), KeyError("api_key=SECRET")), "memory_list", {})
    assert text == "Error executing tool memory_list"
    assert "SECRET" in caplog.text


async def test_a_part_that_exits_does_not_end_the_server(make_mia: MakeMia) -> None:
    mia = with_bank(make_mia(), SystemExit(3))
    async with Client(build_server(mia.config, mia=mia)) as client:
        assert "keeps running" in said(await client.call_tool("memory_list", {}))
        assert "keeps running" in said(await client.call_tool("memory_list", {}))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("no file ~/a/b/c.db here", "no file c.db here"),
        ("POST http://127.0.0.1:8000/v1/chat failed", "POST http://127.0.0.1:8000/v1/chat failed"),
        ("either/or 3/4 and search.corpus", "either/or 3/4 and search.corpus"),
        ("lone \ud83d", "lone ?"),
    ],
)
def test_only_folders_are_taken_out_of_a_sentence(text: str, shown: str) -> None:
    assert sentence(ValueError(text)).replace("\ufffd", "?") == shown


async def test_a_server_that_cannot_start_its_parts_lists_its_tools_and_tells_why(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    config = MiaConfig(home=tmp_path, memory=MemoryConfig(path=blocked / "memory.sqlite3"))
    async with Client(build_server(config)) as client:
        assert len((await client.list_tools()).tools) == 10
        first = said(await client.call_tool("memory_list", {}))
        assert str(tmp_path) not in first
        blocked.unlink()
        again = await client.call_tool("memory_list", {})
    assert not again.is_error, "once the cause is gone the next call builds the parts"


async def test_the_listing_is_answered_before_heavy_parts_are_imported() -> None:
    script = (
        "import sys, mcp_server.server\n"
        "from mia_skill.core.config import MiaConfig\n"
        "mcp_server.server.build_server(MiaConfig())\n"
        "print(*sorted({'faiss','onnxruntime','tokenizers','tantivy','rich','numpy'} & set(sys.modules)))\n"
    )
    done = await anyio.run_process([sys.executable, "-c", script])
    assert done.stdout.decode().split() == []
