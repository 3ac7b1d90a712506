"""The pages as MCP Apps: offered, bound to their tools, and harmless whatever they show."""

import re
from collections.abc import Callable
from typing import Literal

import pytest
from mcp import Client
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.types import TextResourceContents

from mcp_server.pages import MEMORY, TRUST
from mcp_server.server import build_server
from mia_skill.agents.mia import Mia
from mia_skill.core.config import MiaConfig, ServerConfig

MakeMia = Callable[..., Mia]


@pytest.mark.parametrize("page", [TRUST, MEMORY])
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_the_pages_of_tools_can_be_read(make_mia: MakeMia, era: Literal["auto", "legacy"], page: str) -> None:
    mia = make_mia()
    async with Client(build_server(mia.config, mia=mia), mode=era) as client:
        bound = {tool.name: tool.meta for tool in (await client.list_tools()).tools if tool.meta}
        (content,) = (await client.read_resource(page)).contents
        if era == "auto":  # the handshake has no place for extensions; hosts read the meta of the tool
            assert EXTENSION_ID in (client.server_capabilities.extensions or {})
    asked_for_memories = {
        key: {"ui": {"resourceUri": MEMORY}} for key in ("memory_retrieve", "memory_list", "memory_show")
    }
    assert bound == {"judge": {"ui": {"resourceUri": TRUST}}, **asked_for_memories}
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == APP_MIME_TYPE
    assert "ui/initialize" in content.text


@pytest.mark.parametrize("page", [TRUST, MEMORY])
async def test_the_pages_load_nothing_and_parse_no_text_as_markup(make_mia: MakeMia, page: str) -> None:
    mia = make_mia()
    async with Client(build_server(mia.config, mia=mia)) as client:
        (content,) = (await client.read_resource(page)).contents
    assert isinstance(content, TextResourceContents)
    markup = r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Function\("
    assert not re.search(markup + r"|https?:|src=|fetch\(", content.text)


async def test_without_resources_there_is_no_page(make_mia: MakeMia) -> None:
    mia = make_mia()
    config = MiaConfig(home=mia.config.home, server=ServerConfig(resources=False))
    async with Client(build_server(config, mia=mia)) as client:
        assert not any(tool.meta for tool in (await client.list_tools()).tools)
