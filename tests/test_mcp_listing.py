"""What a host is shown before the first call.

The snapshots change on purpose only: `mia-mcp --print-tools > tests/snapshots/tools_list.json`, and the same with
`--config tests/snapshots/full.toml` for tools_list_full.json; then read the diff.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import orjson
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.types import Tool

from mcp_server.listing import pretty, slim, tokens
from mcp_server.server import build_server
from mcp_server.tools import build_tools
from mia_skill.core.config import MiaConfig, ServerConfig

SNAPSHOT = Path(__file__).parent / "snapshots" / "tools_list.json"
FULL_SNAPSHOT = SNAPSHOT.with_name("tools_list_full.json")
READERS = {"memory_retrieve", "plan", "replan", "search", "judge", "memory_list", "memory_show"}
LOOKUPS = {"visit", "image_search"}
RESEARCH = {"research", "research_start", "research_status", "research_cancel"}
WRITERS = {"memory_store", "memory_feedback", "memory_forget"}
Era = Literal["auto", "legacy"]
ERAS: tuple[Era, ...] = ("auto", "legacy")


async def listed(config: MiaConfig, era: Era = "auto") -> list[Tool]:
    async with Client(build_server(config), mode=era) as client:
        return (await client.list_tools()).tools


@pytest.fixture
def config(tmp_path: Path) -> MiaConfig:
    return MiaConfig(home=tmp_path)


@pytest.mark.parametrize("era", ERAS)
async def test_both_protocol_eras_are_shown_the_same_tools(config: MiaConfig, era: Era) -> None:
    assert {tool.name for tool in await listed(config, era)} == READERS | WRITERS


async def test_the_listing_is_what_the_snapshot_says(config: MiaConfig) -> None:
    assert orjson.loads(pretty(await listed(config))) == orjson.loads(SNAPSHOT.read_bytes())


async def test_the_listing_costs_less_than_three_thousand_tokens(
    config: MiaConfig, record_property: Callable[[str, object], None]
) -> None:
    cost = tokens(await listed(config))
    record_property("listing_tokens", cost)
    assert 1000 < cost < 3000, f"the listing costs about {cost} tokens"


@pytest.fixture
def full(tmp_path: Path) -> MiaConfig:
    """With everything that adds a tool."""
    return MiaConfig.model_validate(
        {
            "home": tmp_path,
            "models": {"default": {"base_url": "http://127.0.0.1:9/v1", "model": "m"}},
            "visit": {"mode": "on"},
            "images": {"cache": [tmp_path]},
        }
    )


async def test_with_every_tool_listed_the_limit_still_holds(
    full: MiaConfig, record_property: Callable[[str, object], None]
) -> None:
    tools = await listed(full)
    assert {tool.name for tool in tools} == READERS | WRITERS | LOOKUPS | RESEARCH
    record_property("full_listing_tokens", tokens(tools))
    assert tokens(tools) < 3000, f"the whole listing costs about {tokens(tools)} tokens"
    assert orjson.loads(pretty(tools)) == orjson.loads(FULL_SNAPSHOT.read_bytes())
    for tool in tools:
        assert (tool.description or "").split(". ")[1].startswith("Call it"), tool.name


async def test_a_read_only_server_leaves_out_every_tool_that_writes(config: MiaConfig) -> None:
    shut = config.model_copy(update={"server": ServerConfig(read_only=True)})
    tools = await listed(shut)
    assert {tool.name for tool in tools} == READERS
    assert all(tool.annotations and tool.annotations.read_only_hint for tool in tools)


async def test_every_tool_says_all_four_annotations_and_who_writes(config: MiaConfig) -> None:
    for tool in await listed(config):
        hints = tool.annotations
        assert hints is not None
        assert tool.title
        assert None not in (hints.destructive_hint, hints.idempotent_hint, hints.open_world_hint)
        assert hints.read_only_hint is (tool.name in READERS)


async def test_every_description_says_what_and_then_when(config: MiaConfig) -> None:
    for tool in await listed(config):
        _, second, *_ = (tool.description or "").split(". ")
        assert second.startswith("Call it"), tool.name


def unbounded(schema: Any, path: str) -> list[str]:
    """Strings and lists in an input schema that have no upper bound."""
    found = []
    kind = schema.get("type")
    if kind == "string" and not ({"maxLength", "enum", "pattern"} & schema.keys()):
        found.append(path)
    if kind == "array" and "maxItems" not in schema:
        found.append(path)
    for name, one in schema.get("properties", {}).items():
        found += unbounded(one, f"{path}.{name}")
    return found + (unbounded(schema["items"], f"{path}[]") if "items" in schema else [])


async def test_every_string_and_list_that_may_be_sent_is_bounded_whether_or_not_the_listing_says_so(
    full: MiaConfig,
) -> None:
    """The listing leaves out limits that no model meets; the tool enforces them all the same."""
    accepted = {tool.name: slim_bounds(tool.fn_metadata.arg_model.model_json_schema()) for tool in build_tools(full)}
    assert len(accepted) == 16
    assert [hole for name, schema in accepted.items() for hole in unbounded(schema, name)] == []


def slim_bounds(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema` with its definitions put in place and "may be null" taken away; every bound stays."""
    defs = schema.get("$defs", {})

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(one) for one in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            return put(defs[value["$ref"].removeprefix("#/$defs/")])
        arms = [one for one in value.get("anyOf", []) if one != {"type": "null"}]
        return put(arms[0]) if len(arms) == 1 else {key: put(one) for key, one in value.items()}

    return {"properties": put(schema["properties"])}


async def test_a_text_beyond_an_unlisted_limit_is_refused_with_the_limit_in_words(config: MiaConfig) -> None:
    async with Client(build_server(config)) as client:
        told = await client.call_tool("memory_retrieve", {"question": "x" * 4001})
    assert told.is_error
    assert "4000" in told.content[0].text  # type: ignore[union-attr]


async def test_all_schemas_are_valid_json_schema(config: MiaConfig) -> None:
    for tool in await listed(config):
        Draft202012Validator.check_schema(tool.input_schema)
        Draft202012Validator.check_schema(tool.output_schema or {"type": 1})
        assert tool.input_schema["additionalProperties"] is False


def test_slimming_keeps_a_property_that_is_called_title() -> None:
    schema = {"title": "T", "type": "object", "properties": {"title": {"title": "Title", "type": "string"}}}
    assert slim(schema) == {"type": "object", "properties": {"title": {"type": "string"}}}


def test_slimming_puts_a_definition_used_once_where_it_is_used_and_keeps_one_used_twice() -> None:
    one = {"$ref": "#/$defs/A"}
    defs = {"A": {"type": "object", "title": "A"}}
    assert slim({"properties": {"a": one}, "$defs": defs}) == {"properties": {"a": {"type": "object"}}}
    twice = slim({"properties": {"a": one, "b": one}, "$defs": defs})
    assert twice == {"properties": {"a": one, "b": one}, "$defs": {"A": {"type": "object"}}}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("name", ["prompts", "resources"])
async def test_what_is_switched_off_is_not_advertised_and_not_served(config: MiaConfig, era: Era, name: str) -> None:
    shut = config.model_copy(update={"server": ServerConfig.model_validate({name: False})})
    async with Client(build_server(shut), mode=era) as client:
        assert getattr(client.server_capabilities, name) is None
        assert client.server_capabilities.tools is not None
        with pytest.raises(Exception, match="switched off"):
            await (client.list_prompts() if name == "prompts" else client.list_resource_templates())


@pytest.mark.parametrize("era", ERAS)
async def test_prompts_and_resources_are_advertised_by_default(config: MiaConfig, era: Era) -> None:
    async with Client(build_server(config), mode=era) as client:
        assert {prompt.name for prompt in (await client.list_prompts()).prompts} == {"plan", "review"}
        templates = (await client.list_resource_templates()).resource_templates
        assert [template.uri_template for template in templates] == ["mia://memory/{id}"]
