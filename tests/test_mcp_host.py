"""Three brains, one behaviour: an endpoint, the host's own model by sampling, or the host agent with a brief."""

from collections.abc import Callable
from typing import Any, Literal

import orjson
import pytest
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.types import CreateMessageRequestParams, CreateMessageResult, ImageContent, TextContent

from mcp_server.host import mark
from mcp_server.server import build_server
from mia_skill.agents.mia import Mia
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.errors import ModelUnreachableError
from trust.panel import JudgeForm

MakeMia = Callable[..., Mia]
Era = Literal["auto", "legacy"]
ERAS: tuple[Era, ...] = ("auto", "legacy")
QUESTION = "Which river flows through the birthplace of Arvel Tomm?"
PLAN = {"steps": ["find the birthplace of Arvel Tomm", "find the river there"], "memory_ids": []}
REPLAN = {"need_replan": True, "reason": "nothing was found", "steps": ["try the parish register"]}
RUN = {
    "question": QUESTION,
    "answer": "the Lethra",
    "steps": [{"query": "river Quessel", "found": "The river Lethra flows through Quessel."}],
}


class Model:
    """A host's model that replies from a script, and keeps what it was asked."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.seen: list[CreateMessageRequestParams] = []

    async def __call__(self, _context: ClientRequestContext, params: CreateMessageRequestParams) -> CreateMessageResult:
        self.seen.append(params)
        reply = self.script.pop(0)
        text = reply if isinstance(reply, str) else orjson.dumps(reply).decode()
        return CreateMessageResult(role="assistant", content=TextContent(type="text", text=text), model="host-model")

    @property
    def prompt(self) -> str:
        (turn,) = self.seen[-1].messages
        assert isinstance(turn.content, TextContent)
        return turn.content.text


async def ask(mia: Mia, era: Era, tool: str, arguments: dict[str, Any], model: Any = None) -> dict[str, Any]:
    async with Client(build_server(mia.config, mia=mia), mode=era, sampling_callback=model) as client:
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        assert result.structured_content is not None
        return result.structured_content


async def refusal(mia: Mia, era: Era, tool: str, arguments: dict[str, Any], model: Any = None) -> str:
    async with Client(build_server(mia.config, mia=mia), mode=era, sampling_callback=model) as client:
        result = await client.call_tool(tool, arguments)
        assert result.is_error
        (block,) = result.content
        assert isinstance(block, TextContent)
        return block.text


def filled() -> dict[str, Any]:
    """A judge form with the smallest valid value everywhere, by its own schema."""
    schema = JudgeForm.model_json_schema()
    return {name: smallest(one, schema) for name, one in schema["properties"].items()}


def smallest(part: dict[str, Any], schema: dict[str, Any]) -> Any:
    if "$ref" in part:
        part = schema["$defs"][part["$ref"].rpartition("/")[2]]
    if "enum" in part:
        return part["enum"][0]
    match part.get("type"):
        case "object":
            required = part.get("required", [])
            return {name: smallest(part["properties"][name], schema) for name in required}
        case "array":
            return [smallest(part["items"], schema)] * part.get("minItems", 0)
        case "boolean":
            return False
        case "integer" | "number":
            return part.get("minimum", 0)
        case _:
            return "x" * max(1, part.get("minLength", 1))


@pytest.mark.parametrize("era", ERAS)
async def test_with_an_endpoint_the_plan_is_its_and_the_host_is_not_asked(make_mia: MakeMia, era: Era) -> None:
    endpoint, host = ScriptedChat([orjson.dumps(PLAN).decode()]), Model()
    shown = await ask(make_mia(models={"planner": endpoint}), era, "plan", {"question": QUESTION}, host)
    assert (shown["status"], shown["steps"], shown["written_by"]) == ("plan", PLAN["steps"], "endpoint")
    assert host.seen == []


@pytest.mark.parametrize("era", ERAS)
async def test_without_an_endpoint_the_plan_is_the_hosts_models(make_mia: MakeMia, era: Era) -> None:
    host = Model(PLAN)
    shown = await ask(make_mia(), era, "plan", {"question": QUESTION}, host)
    assert (shown["status"], shown["steps"], shown["written_by"]) == ("plan", PLAN["steps"], "host")
    assert QUESTION in host.prompt
    assert len(host.seen) == 1


@pytest.mark.parametrize("era", ERAS)
async def test_with_neither_the_host_agent_gets_a_brief_and_hands_the_form_back(make_mia: MakeMia, era: Era) -> None:
    mia = make_mia()
    handed = await ask(mia, era, "plan", {"question": QUESTION})
    assert handed["status"] == "brief"
    assert "steps" in handed["brief"]["form"]["properties"]
    assert handed["brief"]["submit_with"].startswith("plan(")
    shown = await ask(mia, era, "plan", {"question": QUESTION, "form": PLAN})
    assert (shown["status"], shown["steps"], shown["written_by"]) == ("plan", PLAN["steps"], "host")


@pytest.mark.parametrize("era", ERAS)
async def test_all_three_brains_give_the_same_plan_in_the_same_words(make_mia: MakeMia, era: Era) -> None:
    endpoint = make_mia(models={"planner": ScriptedChat([orjson.dumps(PLAN).decode()])})
    by_endpoint = await ask(endpoint, era, "plan", {"question": QUESTION})
    by_host = await ask(make_mia(), era, "plan", {"question": QUESTION}, Model(PLAN))
    by_form = await ask(make_mia(), era, "plan", {"question": QUESTION, "form": PLAN})
    assert by_endpoint | {"written_by": "host"} == by_host == by_form


@pytest.mark.parametrize("era", ERAS)
async def test_replanning_climbs_the_same_ladder(make_mia: MakeMia, era: Era) -> None:
    given = RUN | {"plan": "1. look"}
    endpoint = make_mia(models={"planner": ScriptedChat([orjson.dumps(REPLAN).decode()])})
    by_endpoint = await ask(endpoint, era, "replan", given, Model())
    host = Model(REPLAN)
    by_host = await ask(make_mia(), era, "replan", given, host)
    brief = await ask(make_mia(), era, "replan", given)
    by_form = await ask(make_mia(), era, "replan", given | {"form": REPLAN})
    assert by_endpoint == by_host == by_form
    assert by_host["need_replan"] is True
    assert by_host["steps"] == REPLAN["steps"]
    assert "The river Lethra" in host.prompt
    assert brief["status"] == "brief"
    assert "need_replan" not in brief


@pytest.mark.parametrize("era", ERAS)
async def test_a_decision_against_a_new_plan_is_told_as_false_and_not_left_out(make_mia: MakeMia, era: Era) -> None:
    shown = await ask(make_mia(), era, "replan", RUN | {"plan": "p", "form": {"need_replan": False, "reason": "found"}})
    assert shown["need_replan"] is False


@pytest.mark.parametrize("era", ERAS)
async def test_judging_asks_the_hosts_model_once_for_all_reviews(make_mia: MakeMia, era: Era) -> None:
    host = Model(filled())
    by_host = await ask(make_mia(), era, "judge", RUN, host)
    by_form = await ask(make_mia(), era, "judge", RUN | {"form": filled()})
    assert len(host.seen) == 1
    assert "The river Lethra" in host.prompt
    assert by_host.pop("receipt") != by_form.pop("receipt")
    assert by_host == by_form
    assert "brief" not in by_host


@pytest.mark.parametrize("era", ERAS)
async def test_judging_without_any_model_answers_with_the_evidence_and_a_brief(make_mia: MakeMia, era: Era) -> None:
    shown = await ask(make_mia(), era, "judge", RUN)
    assert shown["judged_by"] == "evidence"
    assert set(shown["brief"]["form"]["properties"]) == set(JudgeForm.model_fields)


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(
    ("tool", "given"), [("plan", {"question": QUESTION}), ("replan", RUN | {"plan": "p"}), ("judge", RUN)]
)
async def test_prose_from_the_hosts_model_is_no_sample_and_the_error_says_the_way_on(
    make_mia: MakeMia, era: Era, tool: str, given: dict[str, Any]
) -> None:
    text = await refusal(make_mia(), era, tool, given, Model("Sure! First you should look at the map."))
    assert "`form`" in text


async def test_a_picture_from_the_hosts_model_is_no_sample(make_mia: MakeMia) -> None:
    async def paints(_context: ClientRequestContext, _params: CreateMessageRequestParams) -> CreateMessageResult:
        picture = ImageContent(type="image", data="", mime_type="image/png")
        return CreateMessageResult(role="assistant", content=picture, model="m")

    assert "without text" in await refusal(make_mia(), "auto", "plan", {"question": QUESTION}, paints)


@pytest.mark.parametrize("era", ERAS)
async def test_an_endpoint_that_fails_is_told_and_never_becomes_an_empty_plan(make_mia: MakeMia, era: Era) -> None:
    dead = ScriptedChat([ModelUnreachableError("the planner at http://127.0.0.1:9/v1 is unreachable: start it")])
    text = await refusal(make_mia(models={"planner": dead}), era, "plan", {"question": QUESTION}, Model(PLAN))
    assert text == "the planner at http://127.0.0.1:9/v1 is unreachable: start it"


@pytest.mark.parametrize("era", ERAS)
async def test_recalled_memories_reach_the_hosts_model_as_fenced_data(make_mia: MakeMia, era: Era) -> None:
    mia, host = make_mia(), Model(PLAN)
    async with Client(build_server(mia.config, mia=mia), mode=era, sampling_callback=host) as client:
        await client.call_tool("memory_store", RUN | {"outcome": "correct"})
        await client.call_tool("plan", {"question": QUESTION})
    start = host.prompt.index("<<memories ")
    end = host.prompt.index("<</memories ")
    assert start < host.prompt.index("[correct] id=mem_") < end
    assert host.seen[-1].system_prompt is None


async def test_a_request_renders_alike_for_the_same_arguments(make_mia: MakeMia) -> None:
    mia = make_mia()
    first, second = Model(filled()), Model(filled())
    await ask(mia, "auto", "judge", RUN, first)
    await ask(mia, "legacy", "judge", RUN, second)
    assert first.prompt == second.prompt


def test_the_mark_depends_on_the_arguments_alone() -> None:
    assert mark("plan", "q", "") == mark("plan", "q", "")
    assert mark("plan", "q", "") != mark("plan", "r", "")
    assert len(mark("x")) == 12
