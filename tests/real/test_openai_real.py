"""The chat client against a real vLLM server. What a 135M model says is not asserted, only what the server promises."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from mia_skill.agents.forms import PlanForm
from mia_skill.core.chat import Message, parse_form
from mia_skill.core.config import EndpointConfig
from mia_skill.core.errors import ModelReplyError, ModelStatusError
from mia_skill.core.openai_chat import OpenAIChat

pytestmark = pytest.mark.real

FRANCE = (Message(role="user", content="What is the capital of France? Answer in one short sentence."),)
STORY = (Message(role="user", content="Write a very long story about a lighthouse keeper, with many chapters."),)
PLAN = (Message(role="user", content="Plan in two or three short steps how to find out who wrote the novel Dune."),)


async def test_a_completion_has_text_usage_and_the_served_name(chat: OpenAIChat) -> None:
    (reply,) = await chat.complete(FRANCE, max_tokens=40)
    assert "Paris" in reply.text
    assert reply.model == chat.name
    assert reply.finish in ("stop", "length")
    assert (reply.usage.calls, reply.usage.prompt_tokens > 10, reply.usage.completion_tokens > 1) == (1, True, True)
    assert reply.usage.seconds > 0


async def test_at_temperature_zero_the_same_question_gets_the_same_answer(chat: OpenAIChat) -> None:
    assert (await chat.complete(FRANCE, max_tokens=40))[0].text == (await chat.complete(FRANCE, max_tokens=40))[0].text


async def test_the_endpoint_lists_its_model(chat: OpenAIChat) -> None:
    assert chat.name in await chat.models()


async def test_a_reply_of_a_schema_fills_in_the_form(chat: OpenAIChat) -> None:
    (reply,) = await chat.complete(PLAN, schema=small_plan(), max_tokens=400)
    assert reply.finish == "stop"
    assert 1 <= len(parse_form(reply.text, PlanForm).steps) <= 3


async def test_the_planners_own_schema_is_one_the_server_accepts(chat: OpenAIChat) -> None:
    (reply,) = await chat.complete(PLAN, schema=PlanForm.model_json_schema(), max_tokens=24)
    assert reply.text.lstrip().startswith("{")


async def test_a_schema_asked_for_in_words_reaches_the_model(vllm_endpoint: EndpointConfig) -> None:
    async with client(vllm_endpoint, json_schema=False) as in_words:
        (plain,) = await in_words.complete(PLAN, max_tokens=8)
        (asked,) = await in_words.complete(PLAN, schema=PlanForm.model_json_schema(), max_tokens=8)
    assert asked.usage.prompt_tokens > plain.usage.prompt_tokens + 50


async def test_several_replies_come_from_one_call(chat: OpenAIChat) -> None:
    replies = await chat.complete(FRANCE, n=2, temperature=1.0, max_tokens=24)
    assert len(replies) == 2
    assert all(reply.text.strip() for reply in replies)
    assert sum(reply.usage.calls for reply in replies) == 1


async def test_a_stop_sequence_ends_the_reply_before_it(chat: OpenAIChat) -> None:
    (reply,) = await chat.complete(FRANCE, stop=("Paris",), max_tokens=40)
    assert "Paris" not in reply.text
    assert reply.finish == "stop"


async def test_a_reply_that_runs_into_the_limit_says_so(chat: OpenAIChat) -> None:
    (reply,) = await chat.complete(STORY, max_tokens=5)
    assert (reply.finish, reply.usage.completion_tokens) == ("length", 5)


async def test_eight_calls_at_once_all_get_their_answer(chat: OpenAIChat) -> None:
    texts: list[str] = []

    async def ask() -> None:
        texts.append((await chat.complete(FRANCE, max_tokens=24))[0].text)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(ask)
    assert len(texts) == 8


async def test_a_cancelled_call_leaves_the_client_usable(vllm_endpoint: EndpointConfig) -> None:
    async with client(vllm_endpoint, max_connections=1, max_retries=0) as single:
        with anyio.move_on_after(0.5) as patience:
            await single.complete(STORY, max_tokens=2000)
        assert patience.cancelled_caught
        with anyio.fail_after(60):
            (reply,) = await single.complete(FRANCE, max_tokens=8)
    assert reply.text.strip()


async def test_a_model_that_is_not_served_is_refused_in_the_servers_words(vllm_endpoint: EndpointConfig) -> None:
    async with client(vllm_endpoint, model="no-such-model") as lost:
        with pytest.raises(ModelStatusError, match=r"answered 404: .*no-such-model.*; check base_url") as caught:
            await lost.complete(FRANCE)
    assert caught.value.status == 404


async def test_a_prompt_beyond_the_context_is_refused_in_the_servers_words(chat: OpenAIChat) -> None:
    with pytest.raises(ModelStatusError, match="context length") as caught:
        await chat.complete([Message(role="user", content="word " * 200_000)])
    assert caught.value.status == 400


async def test_a_form_cut_off_by_the_limit_is_an_error_and_not_half_a_plan(chat: OpenAIChat) -> None:
    (reply,) = await chat.complete(PLAN, schema=small_plan(), max_tokens=6)
    with pytest.raises(ModelReplyError):
        parse_form(reply.text, PlanForm)


@asynccontextmanager
async def client(endpoint: EndpointConfig, **settings: object) -> AsyncIterator[OpenAIChat]:
    """A client of the same server with other settings."""
    made = OpenAIChat(endpoint.model_copy(update=settings))
    try:
        yield made
    finally:
        await made.aclose()


def small_plan() -> dict[str, object]:
    """The plan form, with limits that keep a 135M model from writing until it is cut off."""
    return {
        "title": "PlanForm",
        "type": "object",
        "additionalProperties": False,
        "required": ["steps"],
        "properties": {
            "steps": {
                "type": "array",
                "minItems": 1,
                "maxItems": 3,
                "items": {"type": "string", "minLength": 1, "maxLength": 80},
            }
        },
    }
