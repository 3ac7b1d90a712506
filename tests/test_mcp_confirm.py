"""Deleting memories: the user is asked where the host can ask, and his word holds."""

from collections.abc import Callable
from typing import Any, Literal

import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.types import ElicitRequestFormParams, ElicitResult, TextContent

from mcp_server.confirm import question_for
from mcp_server.server import build_server
from mia_skill.agents.mia import Mia

MakeMia = Callable[..., Mia]
Era = Literal["auto", "legacy"]
ERAS: tuple[Era, ...] = ("auto", "legacy")
RUN = {"question": "q one", "answer": "a", "steps": [{"query": "s", "found": "a is it"}], "outcome": "correct"}


class User:
    """Answers what he is asked, and keeps it."""

    def __init__(self, answer: ElicitResult) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def __call__(self, _context: ClientRequestContext, params: Any) -> ElicitResult:
        assert isinstance(params, ElicitRequestFormParams)
        self.asked.append(params.message)
        return self.answer


async def forget(mia: Mia, era: Era, user: User | None) -> tuple[Any, int]:
    """The outcome of forgetting the only memory, and how many are left."""
    async with Client(build_server(mia.config, mia=mia), mode=era, elicitation_callback=user) as client:
        stored = (await client.call_tool("memory_store", RUN)).structured_content or {}
        result = await client.call_tool("memory_forget", {"ids": stored["ids"]})
        left = (await client.call_tool("memory_list", {})).structured_content or {}
    return result, left["total"]


@pytest.mark.parametrize("era", ERAS)
async def test_with_the_users_consent_the_memory_is_gone(make_mia: MakeMia, era: Era) -> None:
    user = User(ElicitResult(action="accept", content={"delete": True}))
    result, left = await forget(make_mia(), era, user)
    assert (result.structured_content, left) == ({"forgotten": 1}, 0)
    assert user.asked == ["Delete 1 memories of MIA for good?\n- q one"]


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    "answer",
    [
        ElicitResult(action="decline"),
        ElicitResult(action="cancel"),
        ElicitResult(action="accept", content={"delete": False}),
    ],
    ids=["decline", "cancel", "no"],
)
async def test_without_it_nothing_is_deleted(make_mia: MakeMia, era: Era, answer: ElicitResult) -> None:
    result, left = await forget(make_mia(), era, User(answer))
    assert (result.is_error, left) == (True, 1)
    (block,) = result.content
    assert isinstance(block, TextContent)
    assert block.text.startswith("The user did not agree: nothing was deleted.")


@pytest.mark.parametrize("era", ERAS)
async def test_a_host_that_cannot_ask_is_obeyed(make_mia: MakeMia, era: Era) -> None:
    result, left = await forget(make_mia(), era, None)
    assert (result.structured_content, left) == ({"forgotten": 1}, 0)


async def test_an_unknown_id_is_told_and_nobody_is_asked(make_mia: MakeMia) -> None:
    mia, user = make_mia(), User(ElicitResult(action="accept", content={"delete": True}))
    async with Client(build_server(mia.config, mia=mia), elicitation_callback=user) as client:
        assert (await client.call_tool("memory_forget", {"ids": ["mem_none"]})).is_error
    assert user.asked == []


def test_the_question_stays_short() -> None:
    asked = question_for(["x" * 4000] * 100)
    assert len(asked) < 1500
    assert asked.endswith("and 90 more")
