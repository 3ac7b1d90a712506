"""What single hosts are shown, and how many calls work at once."""

from collections.abc import Callable
from typing import Literal

import anyio
import pytest
from mcp import Client
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import Implementation, TextContent

from mcp_server.server import build_server
from mcp_server.turnstile import Turnstile
from mia_skill.agents.mia import Mia
from mia_skill.core.config import MiaConfig, ServerConfig

MakeMia = Callable[..., Mia]
Era = Literal["auto", "legacy"]
Structured = Literal["auto", "on", "off"]
ERAS: tuple[Era, ...] = ("auto", "legacy")


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("name", "structured", "expected"),
    [
        ("openclaw-bundle-mcp", "auto", False),
        ("claude-code", "auto", True),
        ("openclaw-bundle-mcp", "on", True),
        ("claude-code", "off", False),
    ],
)
async def test_a_host_that_would_show_a_model_both_gets_the_text_alone(
    make_mia: MakeMia, era: Era, name: str, structured: Structured, expected: bool
) -> None:
    mia = make_mia()
    config = MiaConfig(home=mia.config.home, server=ServerConfig(structured=structured))
    who = Implementation(name=name, version="1")
    async with Client(build_server(config, mia=mia), mode=era, client_info=who) as client:
        tools = (await client.list_tools()).tools
        result = await client.call_tool("memory_list", {})
    assert {tool.output_schema is not None for tool in tools} == {expected}
    assert (result.structured_content is not None) is expected
    (block,) = result.content
    assert isinstance(block, TextContent)
    assert '"total": 0' in block.text


async def test_calls_beyond_the_queue_are_told_to_retry() -> None:
    gate, hold = Turnstile(places=1), anyio.Event()
    inside = anyio.Event()

    async def work() -> None:
        async with gate.enter():
            inside.set()
            await hold.wait()

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        await inside.wait()
        group.start_soon(work)
        while gate.waiting == 0:
            await anyio.lowlevel.checkpoint()
        with pytest.raises(ToolError, match=r"busy: retry in \d+ s"):
            async with gate.enter():
                raise AssertionError
        hold.set()
    async with gate.enter():
        assert gate.waiting == 0


async def test_how_long_to_wait_follows_how_long_calls_take() -> None:
    now = [0.0]
    gate = Turnstile(places=1, clock=lambda: now[0])
    for _ in range(50):
        async with gate.enter():
            now[0] += 7
    assert gate.retry_s() == 7


async def test_a_waiting_call_that_is_given_up_leaves_the_queue() -> None:
    gate = Turnstile(places=1)
    async with gate.enter():
        with anyio.move_on_after(0):
            async with gate.enter():
                raise AssertionError
        assert gate.waiting == 0
