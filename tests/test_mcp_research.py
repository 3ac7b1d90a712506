"""Research: the whole agent in one call or behind a handle, with progress, limits and clear ends."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import anyio
import pytest
from jsonschema import Draft202012Validator
from mcp import Client
from mcp.types import TextContent

from mcp_server.listing import tokens
from mcp_server.server import build_server
from mia_skill.agents.mia import Mia
from mia_skill.core.chat import Reply, ScriptedChat
from mia_skill.core.config import EndpointConfig, MiaConfig, ModelsConfig, ServerConfig
from mia_skill.core.errors import ModelUnreachableError
from mia_skill.core.types import Passage

MakeMia = Callable[..., Mia]
Era = Literal["auto", "legacy"]
ERAS: tuple[Era, ...] = ("auto", "legacy")
QUESTION = "Who founded Velmora Works?"
PLAN = '{"steps": ["find the founder of Velmora Works"]}'
STAY = '{"need_replan": false, "reason": "the evidence states it"}'
SEARCH = '<tool_call>{"name": "search", "arguments": {"query": "Velmora Works founder"}}</tool_call>'
ANSWER = "found it <answer>Aldric Tesh</answer>"
TOOLS = {"research", "research_start", "research_status", "research_cancel"}
ENDPOINT = EndpointConfig(base_url="http://127.0.0.1:9/v1", model="none")


class Shelf:
    """A search engine with one page."""

    name = "shelf"

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        return (Passage(id="p1", title="Velmora Works", text="Velmora Works was founded by Aldric Tesh."),)


@dataclass
class SlowChat:
    """A model that replies only once it is let go."""

    script: Sequence[str] = (PLAN, STAY)
    name: str = "slow"
    replies: int = 0
    asked: anyio.Event = field(default_factory=anyio.Event)
    go: anyio.Event = field(default_factory=anyio.Event)

    async def complete(self, messages: Sequence[Any], **_options: Any) -> tuple[Reply, ...]:
        self.asked.set()
        await self.go.wait()
        self.replies += 1
        return (Reply(text=self.script[self.replies - 1], model=self.name),)


def researcher(make_mia: MakeMia, planner: Any = None, **server: Any) -> Mia:
    """A `Mia` whose models are scripted, and whose configuration says that it has some."""
    models = {"planner": planner or ScriptedChat([PLAN, STAY]), "executor": ScriptedChat([SEARCH, ANSWER])}
    mia = make_mia(models=models, corpus=Shelf())
    settings = {"models": ModelsConfig(default=ENDPOINT), "server": ServerConfig.model_validate(server)}
    return replace(mia, config=mia.config.model_copy(update=settings))


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


async def refusal(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    assert result.is_error
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


async def test_research_is_listed_only_with_an_endpoint_and_its_cost_is_bounded(
    make_mia: MakeMia, record_property: Callable[[str, object], None]
) -> None:
    plain, able = make_mia(), researcher(make_mia)
    async with Client(build_server(plain.config, mia=plain)) as client:
        without = (await client.list_tools()).tools
    async with Client(build_server(able.config, mia=able)) as client:
        tools = (await client.list_tools()).tools
    assert not TOOLS & {tool.name for tool in without}
    assert {tool.name for tool in tools} >= TOOLS
    record_property("listing_tokens_with_research", tokens(tools))
    assert tokens(without) < 3000
    assert tokens(tools) - tokens(without) < 900


async def test_a_read_only_server_does_no_research_for_it_stores_what_it_learns(make_mia: MakeMia) -> None:
    mia = researcher(make_mia, read_only=True)
    async with Client(build_server(mia.config, mia=mia)) as client:
        assert not TOOLS & {tool.name for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize("era", ERAS)
async def test_research_answers_with_a_verdict_and_reports_every_step(make_mia: MakeMia, era: Era) -> None:
    mia = researcher(make_mia)
    told: list[tuple[float, str]] = []

    async def progress(done: float, _total: float | None, message: str | None) -> None:
        told.append((done, message or ""))

    async with Client(build_server(mia.config, mia=mia), mode=era) as client:
        schema = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}["research"]
        result = await client.call_tool("research", {"question": QUESTION}, progress_callback=progress)
        stored = await call(client, "memory_list")
    assert not result.is_error, result.content
    shown = result.structured_content or {}
    Draft202012Validator(schema or {}).validate(shown)
    assert (shown["answer"], shown["searches"], shown["stop"]) == ("Aldric Tesh", ["Velmora Works founder"], "answered")
    assert shown["sources"] == ["Velmora Works"]
    assert shown["label"] in {"correct", "incorrect", "abstain"}
    assert stored["total"] == 1
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    stages = " ".join(message for _, message in told)
    assert all(stage in stages for stage in ("starting", "search", "judge")), stages


@pytest.mark.parametrize("era", ERAS)
async def test_a_handle_is_found_again_until_the_result_is_there(make_mia: MakeMia, era: Era) -> None:
    slow = SlowChat()
    mia = researcher(make_mia, slow)
    async with Client(build_server(mia.config, mia=mia), mode=era) as client:
        started = await call(client, "research_start", question=QUESTION)
        assert started["state"] == "running"
        await slow.asked.wait()
        running = await call(client, "research_status", handle=started["handle"], wait_s=0)
        assert (running["state"], running["stage"]) == ("running", "plan")
        slow.go.set()
        done = await call(client, "research_status", handle=started["handle"], wait_s=50)
    assert (done["state"], done["result"]["answer"]) == ("done", "Aldric Tesh")
    assert done["handle"] == started["handle"]


async def test_a_finished_job_carries_the_result_and_a_failed_one_the_reason(make_mia: MakeMia) -> None:
    mia = researcher(make_mia, ScriptedChat([PLAN, STAY, ModelUnreachableError("the model is down: start it")]))
    async with Client(build_server(mia.config, mia=mia)) as client:
        first = await call(client, "research_start", question=QUESTION)
        done = await call(client, "research_status", handle=first["handle"])
        assert (done["state"], done["result"]["answer"]) == ("done", "Aldric Tesh")
        second = await call(client, "research_start", question=QUESTION)
        failed = await call(client, "research_status", handle=second["handle"])
        assert (failed["state"], failed["error"]) == ("failed", "the model is down: start it")
        assert "result" not in failed


async def test_a_cancelled_job_stops_and_stores_nothing(make_mia: MakeMia) -> None:
    slow = SlowChat()
    mia = researcher(make_mia, slow)
    async with Client(build_server(mia.config, mia=mia)) as client:
        handle = (await call(client, "research_start", question=QUESTION))["handle"]
        await slow.asked.wait()
        assert (await call(client, "research_cancel", handle=handle))["state"] == "cancelled"
        assert (await call(client, "research_cancel", handle=handle))["state"] == "cancelled"
        assert (await call(client, "memory_list"))["total"] == 0


async def test_a_call_that_the_client_gives_up_stops_the_work(make_mia: MakeMia) -> None:
    slow = SlowChat()
    mia = researcher(make_mia, slow, max_research=1)
    async with Client(build_server(mia.config, mia=mia)) as client:
        async with anyio.create_task_group() as group:
            with anyio.CancelScope() as giving_up:

                async def give_up() -> None:
                    await slow.asked.wait()
                    giving_up.cancel()

                group.start_soon(give_up)
                await client.call_tool("research", {"question": QUESTION})
        slow.go.set()
        with anyio.fail_after(20):
            while True:
                again = await client.call_tool("research_start", {"question": QUESTION})
                if not again.is_error:
                    break
                await anyio.lowlevel.checkpoint()


async def test_more_research_than_allowed_is_told_to_retry(make_mia: MakeMia) -> None:
    mia = researcher(make_mia, SlowChat(), max_research=1)
    async with Client(build_server(mia.config, mia=mia)) as client:
        await call(client, "research_start", question=QUESTION)
        said = await refusal(client, "research_start", question=QUESTION)
    assert "busy" in said
    assert "retry in 30 s" in said


async def test_an_unknown_handle_is_told_with_what_to_do(make_mia: MakeMia) -> None:
    mia = researcher(make_mia)
    async with Client(build_server(mia.config, mia=mia)) as client:
        for tool in ("research_status", "research_cancel"):
            said = await refusal(client, tool, handle="5a3c")
            assert "no research job with this handle" in said
            assert "research_start" in said


async def test_a_silent_model_is_covered_by_a_beat(make_mia: MakeMia) -> None:
    slow = SlowChat()
    mia = researcher(make_mia, slow, heartbeat_s=0.01)
    beats: list[str] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        beats.append(message or "")
        if sum("still at work" in one for one in beats) >= 3:
            slow.go.set()

    async with Client(build_server(mia.config, mia=mia)) as client:
        result = await client.call_tool("plan", {"question": QUESTION}, progress_callback=progress)
    assert not result.is_error, result.content
    assert any(beat == "recalling and planning: still at work" for beat in beats)


async def test_without_a_search_source_the_reason_comes_at_once(make_mia: MakeMia) -> None:
    mia = researcher(make_mia)
    bare = replace(mia, sources=type(mia.sources)())
    async with Client(build_server(bare.config, mia=bare)) as client:
        assert "search.corpus" in await refusal(client, "research_start", question=QUESTION)


def test_settings_name_their_bounds() -> None:
    assert MiaConfig().server.max_research == 4
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        ServerConfig(max_research=0)
