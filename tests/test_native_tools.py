"""Tool calls of a server's own: on the wire as the server speaks, in and out in our one text form."""

import json
from dataclasses import dataclass, field

import httpx
import pytest

from mia_skill.core.chat import Message, ToolSpec
from mia_skill.core.config import EndpointConfig
from mia_skill.core.errors import ContextOverflow, ModelStatusError, ToolCallError
from mia_skill.core.openai_chat import OpenAIChat
from mia_skill.core.toolformat import ToolCall, Turn, parse_turn, render_result, render_turn

TOOLS = (ToolSpec(name="search", purpose="find passages", parameters={"type": "object"}),)
ASK = Message(role="user", content="Who wrote Dune?")
CALLS = Turn(
    thought="I look it up",
    calls=(ToolCall(name="search", arguments={"query": "Dune"}), ToolCall(name="search", arguments={"query": "<b>"})),
)


@dataclass
class Server:
    """Answers with given statuses and messages, and keeps what it was sent."""

    answers: list[tuple[int, dict[str, object]]]
    seen: list[dict[str, object]] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(json.loads(request.content))
        status, said = self.answers.pop(0)
        body = {"choices": [{"message": said}]} if status == 200 else said
        return httpx.Response(status, json=body)


def chat_on(server: Server, **settings: object) -> OpenAIChat:
    config = {"base_url": "http://127.0.0.1:9/v1", "model": "m", "max_retries": 0, **settings}
    return OpenAIChat(EndpointConfig.model_validate(config), transport=httpx.MockTransport(server))


def called(*arguments: object, content: str | None = None) -> dict[str, object]:
    calls = [{"id": "x", "type": "function", "function": {"name": "search", "arguments": one}} for one in arguments]
    return {"role": "assistant", "content": content, "tool_calls": calls}


async def test_a_servers_own_calls_are_read_as_the_text_form_whatever_their_arguments_are_written_in() -> None:
    server = Server([(200, called('{"query": "Dune"}', {"query": "<b>"}, content="I look it up"))])
    reply = await chat_on(server).act((ASK,), TOOLS)
    assert parse_turn(reply.text) == CALLS
    assert server.seen[0]["tools"] == [
        {
            "type": "function",
            "function": {"name": "search", "description": "find passages", "parameters": {"type": "object"}},
        }
    ]


async def test_earlier_calls_and_results_go_back_to_the_server_in_its_own_form() -> None:
    told = "\n".join(render_result(text) for text in ("by Herbert", "nothing"))
    talk = (ASK, Message(role="assistant", content=render_turn(CALLS)), Message(role="user", content=told))
    server = Server([(200, {"content": "<answer>Herbert</answer>"})])
    await chat_on(server).act(talk, TOOLS)
    sent = server.seen[0]["messages"]
    assert isinstance(sent, list)
    assert [one["role"] for one in sent] == ["user", "assistant", "tool", "tool"]
    assert [json.loads(one["function"]["arguments"])["query"] for one in sent[1]["tool_calls"]] == ["Dune", "<b>"]
    assert [one["id"] for one in sent[1]["tool_calls"]] == [one["tool_call_id"] for one in sent[2:]]
    assert [one["content"] for one in sent[2:]] == ["by Herbert", "nothing"]


async def test_calls_and_results_that_do_not_pair_up_stay_as_they_are() -> None:
    talk = (ASK, Message(role="assistant", content=render_turn(CALLS)), Message(role="user", content="go on"))
    server = Server([(200, {"content": "<answer>x</answer>"})])
    await chat_on(server).act(talk, TOOLS)
    assert server.seen[0]["messages"] == [{"role": one.role, "content": one.content} for one in talk]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'),
        (500, "tools param requires --jinja flag"),
        (400, "registry/library/model does not support tools"),
    ],
)
async def test_a_server_without_tool_calls_is_asked_in_the_text_form_from_then_on(status: int, said: str) -> None:
    text: tuple[int, dict[str, object]] = (200, {"content": "<answer>x</answer>"})
    server = Server([(status, {"error": {"message": said}}), text, text])
    chat = chat_on(server)
    for _ in range(2):
        reply = await chat.act((ASK,), TOOLS, stop=("</answer>",))
        assert reply.text == "<answer>x</answer>"
    assert ["tools" in one for one in server.seen] == [True, False, False]


async def test_tools_are_never_offered_where_the_settings_say_text() -> None:
    server = Server([(200, {"content": "<answer>x</answer>"})])
    await chat_on(server, tool_calls="text").act((ASK,), TOOLS)
    assert "tools" not in server.seen[0]


async def test_another_refusal_is_not_taken_for_that() -> None:
    with pytest.raises(ModelStatusError, match="no such model"):
        await chat_on(Server([(404, {"error": "no such model"})])).act((ASK,), TOOLS)


async def test_a_conversation_that_does_not_fit_has_an_error_of_its_own() -> None:
    said = "This model's maximum context length is 4096 tokens. However, your tools and messages have 5000 tokens."
    with pytest.raises(ContextOverflow, match="4096"):
        await chat_on(Server([(400, {"error": {"message": said}})])).act((ASK,), TOOLS)


@pytest.mark.parametrize("broken", ["not json", "[1]", '{"query": NaN}'])
async def test_arguments_that_are_no_object_are_refused_as_in_a_text(broken: str) -> None:
    reply = await chat_on(Server([(200, called(broken))])).act((ASK,), TOOLS)
    with pytest.raises(ToolCallError):
        parse_turn(reply.text)
