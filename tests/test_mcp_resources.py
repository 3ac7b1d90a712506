"""Resources and prompts: what a host can offer people beside the tools."""

import json
from collections.abc import Callable
from typing import Literal

import pytest
from mcp import Client, MCPError
from mcp.types import TextContent, TextResourceContents

from mcp_server.server import build_server
from mia_skill.agents.mia import Mia

MakeMia = Callable[..., Mia]
Era = Literal["auto", "legacy"]
RUN = {"question": "q one", "answer": "a", "steps": [{"query": "s", "found": "a is it"}], "outcome": "correct"}


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_memory_can_be_read_as_a_resource(make_mia: MakeMia, era: Era) -> None:
    mia = make_mia()
    async with Client(build_server(mia.config, mia=mia), mode=era) as client:
        stored = (await client.call_tool("memory_store", RUN)).structured_content or {}
        (unit_id,) = stored["ids"]
        (content,) = (await client.read_resource(f"mia://memory/{unit_id}")).contents
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == "application/json"
    assert json.loads(content.text)["question"] == "q one"


@pytest.mark.parametrize("era", ["auto", "legacy"])
@pytest.mark.parametrize("tail", ["mem_none", "x" * 50_000, "..%2F..%2Fetc%2Fpasswd"])
async def test_an_unknown_memory_is_not_found_and_the_answer_is_short(make_mia: MakeMia, era: Era, tail: str) -> None:
    mia = make_mia()
    async with Client(build_server(mia.config, mia=mia), mode=era) as client:
        with pytest.raises(MCPError) as caught:
            await client.read_resource(f"mia://memory/{tail}")
        assert caught.value.code == -32602
        assert len(str(caught.value)) < 1100
        assert not (await client.call_tool("memory_list", {})).is_error


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_an_unknown_prompt_is_told_with_the_known_ones(make_mia: MakeMia, era: Era) -> None:
    mia = make_mia()
    async with Client(build_server(mia.config, mia=mia), mode=era) as client:
        with pytest.raises(MCPError) as caught:
            await client.get_prompt("nope")
    assert (caught.value.code, str(caught.value)) == (-32602, "Unknown prompt. There are: plan, review")


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_the_prompts_fence_what_they_are_given(make_mia: MakeMia, era: Era) -> None:
    mia = make_mia()
    async with Client(build_server(mia.config, mia=mia), mode=era) as client:
        planned = await client.get_prompt("plan", {"question": "Who? $question"})
        reviewed = await client.get_prompt("review", {"question": "Who?", "answer": "Him."})
    (turn,) = planned.messages
    assert isinstance(turn.content, TextContent)
    assert "<<task " in turn.content.text
    assert "Who? $question" in turn.content.text
    assert "`memory_retrieve`" in turn.content.text
    assert isinstance(reviewed.messages[0].content, TextContent)
    assert "<<answer " in reviewed.messages[0].content.text
