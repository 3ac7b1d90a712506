"""The trust report as an MCP App: offered, bound to `judge`, and harmless whatever it shows."""

import re
from collections.abc import Callable
from typing import Literal

import pytest
from mcp import Client
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.types import TextResourceContents

from mcp_server.pages import TRUST
from mcp_server.server import build_server
from mia_skill.agents.mia import Mia
from mia_skill.core.config import MiaConfig, ServerConfig

MakeMia = Callable[..., Mia]


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_the_page_of_judge_can_be_read(make_mia: MakeMia, era: Literal["auto", "legacy"]) -> None:
    mia = make_mia()
    async with Client(build_server(mia.config, mia=mia), mode=era) as client:
        bound = {tool.name: tool.meta for tool in (await client.list_tools()).tools if tool.meta}
        (content,) = (await client.read_resource(TRUST)).contents
        if era == "auto":  # the handshake has no place for extensions; hosts read the meta of the tool
            assert EXTENSION_ID in (client.server_capabilities.extensions or {})
    assert bound == {"judge": {"ui": {"resourceUri": TRUST}}}
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == APP_MIME_TYPE
    assert "ui/initialize" in content.text


async def test_the_page_loads_nothing_and_parses_no_text_as_markup(make_mia: MakeMia) -> None:
    mia = make_mia()
    async with Client(build_server(mia.config, mia=mia)) as client:
        (content,) = (await client.read_resource(TRUST)).contents
    assert isinstance(content, TextResourceContents)
    markup = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\("
    assert not re.search(markup + r"|https?:|src=|fetch\(", content.text)


async def test_without_resources_there_is_no_page(make_mia: MakeMia) -> None:
    mia = make_mia()
    config = MiaConfig(home=mia.config.home, server=ServerConfig(resources=False))
    async with Client(build_server(config, mia=mia)) as client:
        assert not any(tool.meta for tool in (await client.list_tools()).tools)
