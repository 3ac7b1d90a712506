"""The chat client through httpx's own seam: what is sent, what is read, what is tried again."""

import json
from dataclasses import dataclass, field
from random import Random

import anyio
import httpx
import pytest
from pydantic import SecretStr

from mia_skill.core.chat import Message, Reply
from mia_skill.core.config import EndpointConfig
from mia_skill.core.errors import ConfigError, ModelReplyError, ModelStatusError, ModelUnreachableError
from mia_skill.core.openai_chat import OpenAIChat

ASK = (Message(role="user", content="Who wrote Dune?"),)
SCHEMA = {"title": "Plan Form", "type": "object", "properties": {"steps": {"type": "array"}}}
KEY = "sk-very-secret"


def completion(*texts: object, finish: str = "stop", **more: object) -> dict[str, object]:
    choices = [{"index": i, "message": {"role": "assistant", "content": t}} for i, t in enumerate(texts)]
    for choice in choices:
        choice["finish_reason"] = finish
    return {"model": "served", "choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 3}, **more}


@dataclass
class Naps:
    """Sleeps for no time and keeps what was asked for."""

    taken: list[float] = field(default_factory=list)

    async def __call__(self, seconds: float) -> None:
        self.taken.append(seconds)


class Longest(Random):
    """Jitter that always draws the upper end."""

    def uniform(self, a: float, b: float) -> float:
        return b


def endpoint(url: str = "http://127.0.0.1:9/v1", **settings: object) -> EndpointConfig:
    return EndpointConfig.model_validate({"base_url": url, "model": "m", "api_key": SecretStr(KEY), **settings})


@dataclass
class Scripted:
    """Answers requests in order through httpx's own seam, and keeps them."""

    answers: list[httpx.Response | Exception]
    seen: list[httpx.Request] = field(default_factory=list)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def body(self, number: int = -1) -> dict[str, object]:
        parsed: dict[str, object] = json.loads(self.seen[number].content)
        return parsed


def chat_on(script: Scripted, naps: Naps | None = None, **settings: object) -> OpenAIChat:
    transport = httpx.MockTransport(script)
    return OpenAIChat(endpoint(**settings), transport=transport, sleep=naps or Naps(), rng=Longest())


def answers(*given: dict[str, object] | Exception | tuple[int, object]) -> Scripted:
    made: list[httpx.Response | Exception] = []
    for one in given:
        if isinstance(one, Exception):
            made.append(one)
        elif isinstance(one, tuple):
            made.append(httpx.Response(one[0], json=one[1]))
        else:
            made.append(httpx.Response(200, json=one))
    return Scripted(made)


# --- what is sent


async def test_a_reply_carries_the_text_the_usage_and_the_served_model() -> None:
    ticks = iter([10.0, 12.5])
    script = answers(completion("Frank Herbert"))
    chat = OpenAIChat(endpoint(), transport=httpx.MockTransport(script), clock=lambda: next(ticks))
    (reply,) = await chat.complete(ASK)
    await chat.aclose()
    assert reply == Reply.model_validate(
        {
            "text": "Frank Herbert",
            "usage": {"calls": 1, "prompt_tokens": 7, "completion_tokens": 3, "seconds": 2.5},
            "model": "served",
        }
    )


async def test_settings_come_from_the_configuration_unless_the_call_has_its_own() -> None:
    script = answers(completion("a"), completion("b"))
    chat = chat_on(script, temperature=0.3, max_tokens=50)
    await chat.complete(ASK)
    await chat.complete(ASK, temperature=1.0, max_tokens=9, stop=("</answer>",))
    await chat.aclose()
    assert script.body(0) == {
        "model": "m",
        "temperature": 0.3,
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "Who wrote Dune?"}],
    }
    assert (script.body(1)["temperature"], script.body(1)["max_tokens"]) == (1.0, 9)
    assert script.body(1)["stop"] == ["</answer>"]
    assert script.seen[0].headers["Authorization"] == f"Bearer {KEY}"


async def test_penalties_are_sent_only_when_they_are_set() -> None:
    plain, set_ = answers(completion("ok")), answers(completion("ok"))
    await chat_on(plain).complete(ASK)
    await chat_on(set_, frequency_penalty=1.5, presence_penalty=1.1).complete(ASK)
    assert not {"frequency_penalty", "presence_penalty"} & set(plain.body())
    assert (set_.body()["frequency_penalty"], set_.body()["presence_penalty"]) == (1.5, 1.1)


async def test_without_a_key_no_authorization_is_sent() -> None:
    script = answers(completion("a"))
    chat = chat_on(script, api_key=None)
    await chat.complete(ASK)
    await chat.aclose()
    assert "Authorization" not in script.seen[0].headers


async def test_lone_surrogates_and_nuls_never_reach_the_wire() -> None:
    script = answers(completion("a"))
    chat = chat_on(script)
    bad = Message.model_construct(role="user", content="x\ud800y\x00")
    await chat.complete([bad], stop=("\udfff",))
    await chat.aclose()
    assert script.body()["messages"] == [{"role": "user", "content": "x\ufffdy"}]
    assert script.body()["stop"] == ["\ufffd"]


async def test_a_schema_is_asked_for_as_response_format() -> None:
    script = answers(completion("{}"))
    chat = chat_on(script)
    await chat.complete(ASK, schema=SCHEMA)
    await chat.aclose()
    assert script.body()["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "Plan_Form", "schema": SCHEMA},
    }


async def test_a_schema_is_asked_for_in_words_where_the_configuration_says_so() -> None:
    script = answers(completion("{}"), completion("{}"))
    chat = chat_on(script, json_schema=False)
    await chat.complete(ASK, schema=SCHEMA)
    await chat.complete((*ASK, Message(role="assistant", content="Hm.")), schema=SCHEMA)
    await chat.aclose()
    assert "response_format" not in script.body(0)
    (turn,) = script.body(0)["messages"]
    assert turn["content"].startswith("Who wrote Dune?\n\n")
    assert json.dumps(SCHEMA, separators=(",", ":")) in turn["content"]
    assert [one["role"] for one in script.body(1)["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, {"error": {"message": "Unrecognized request argument supplied: response_format"}}),
        (422, {"detail": [{"loc": ["body", "response_format"], "msg": "extra fields not permitted"}]}),
    ],
)
async def test_a_server_that_does_not_know_schemas_is_asked_in_words_from_then_on(status: int, said: object) -> None:
    script = answers((status, said), completion("{}"), completion("{}"))
    chat = chat_on(script)
    await chat.complete(ASK, schema=SCHEMA)
    await chat.complete(ASK, schema=SCHEMA)
    await chat.aclose()
    assert ["response_format" in script.body(i) for i in range(3)] == [True, False, False]


async def test_a_server_that_calls_the_limit_by_another_name_is_asked_in_its_words_from_then_on() -> None:
    said = {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}
    script = answers((400, said), completion("a"), completion("b"))
    chat = chat_on(script)
    await chat.complete(ASK, max_tokens=9)
    await chat.complete(ASK, max_tokens=9)
    await chat.aclose()
    assert [script.body(i).get("max_tokens") for i in range(3)] == [9, None, None]
    assert [script.body(i).get("max_completion_tokens") for i in range(3)] == [None, 9, 9]


async def test_calls_under_way_together_all_survive_learning_that_a_server_knows_no_schemas() -> None:
    refused = (400, {"error": "unknown field response_format"})
    script = answers(refused, refused, refused, *[completion("{}")] * 3)
    chat = chat_on(script)
    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(lambda: chat.complete(ASK, schema=SCHEMA))
    await chat.aclose()
    assert script.answers == []


async def test_another_refusal_of_a_call_with_a_schema_is_not_taken_for_that() -> None:
    script = answers((400, {"error": {"message": "this model's maximum context length is 2048 tokens"}}))
    chat = chat_on(script)
    with pytest.raises(ModelStatusError, match="maximum context length") as caught:
        await chat.complete(ASK, schema=SCHEMA)
    await chat.aclose()
    assert caught.value.status == 400


# --- what comes back


async def test_several_replies_share_one_usage() -> None:
    script = answers(completion("a", "b", "c"))
    chat = chat_on(script)
    replies = await chat.complete(ASK, n=3, temperature=1.0)
    await chat.aclose()
    assert script.body()["n"] == 3
    assert [reply.text for reply in replies] == ["a", "b", "c"]
    assert sum(reply.usage.calls for reply in replies) == 1
    assert sum(reply.usage.completion_tokens for reply in replies) == 3


async def test_a_server_that_ignores_n_is_asked_again_until_there_are_enough() -> None:
    script = answers(completion("a"), completion("b"), completion("c"))
    chat = chat_on(script)
    replies = await chat.complete(ASK, n=3)
    await chat.aclose()
    assert [reply.text for reply in replies] == ["a", "b", "c"]
    assert [script.body(i).get("n") for i in range(3)] == [3, 2, None]
    assert sum(reply.usage.calls for reply in replies) == 3


async def test_more_replies_than_asked_for_are_dropped() -> None:
    chat = chat_on(answers(completion("a", "b")))
    assert [reply.text for reply in await chat.complete(ASK)] == ["a"]
    await chat.aclose()


async def test_one_empty_reply_among_several_is_an_error() -> None:
    chat = chat_on(answers(completion("a", "")))
    with pytest.raises(ModelReplyError, match="empty"):
        await chat.complete(ASK, n=2)
    await chat.aclose()


async def test_the_models_of_an_endpoint_are_listed_by_name() -> None:
    script = answers({"object": "list", "data": [{"id": "smol"}, {"id": "big"}]})
    chat = chat_on(script)
    assert await chat.models() == ("smol", "big")
    await chat.aclose()
    assert (script.seen[0].method, script.seen[0].url.path) == ("GET", "/v1/models")


async def test_a_model_list_that_is_none_is_an_error() -> None:
    chat = chat_on(answers({"data": "smol"}))
    with pytest.raises(ModelReplyError, match="not a list of models"):
        await chat.models()
    await chat.aclose()


async def test_garbage_is_an_error_at_once() -> None:
    naps = Naps()
    chat = chat_on(Scripted([httpx.Response(200, content=b"<html>gateway</html>")]), naps)
    with pytest.raises(ModelReplyError, match="no JSON"):
        await chat.complete(ASK)
    await chat.aclose()
    assert naps.taken == []


# --- retries


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_a_passing_failure_is_tried_again(status: int) -> None:
    naps = Naps()
    chat = chat_on(answers((status, {}), (status, {}), completion("a")), naps)
    assert (await chat.complete(ASK))[0].text == "a"
    await chat.aclose()
    assert naps.taken == [0.5, 1.0]


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 413, 501])
async def test_a_lasting_failure_is_not_tried_again(status: int) -> None:
    naps = Naps()
    script = answers((status, {"error": {"message": "no, because"}}))
    chat = chat_on(script, naps)
    with pytest.raises(ModelStatusError, match="no, because") as caught:
        await chat.complete(ASK)
    await chat.aclose()
    assert caught.value.status == status
    assert (len(script.seen), naps.taken) == (1, [])


async def test_the_pauses_double_up_to_a_limit_and_the_tries_are_counted() -> None:
    naps = Naps()
    chat = chat_on(answers(*[(503, {"message": "loading"})] * 8), naps, max_retries=7)
    with pytest.raises(ModelStatusError, match="answered 503 after 8 tries: loading"):
        await chat.complete(ASK)
    await chat.aclose()
    assert naps.taken == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


async def test_jitter_draws_from_the_whole_pause() -> None:
    naps = Naps()
    transport = httpx.MockTransport(answers(*[(503, {})] * 4))
    chat = OpenAIChat(endpoint(max_retries=3), transport=transport, sleep=naps, rng=Random(1))
    with pytest.raises(ModelStatusError):
        await chat.complete(ASK)
    await chat.aclose()
    drawn = Random(1)
    assert naps.taken == [drawn.uniform(0, most) for most in (0.5, 1.0, 2.0)]


@pytest.mark.parametrize(
    ("wish", "pause"),
    [
        ("3", 3.0),
        ("0", 0.5),
        ("86400", 30.0),
        ("Wed, 01 Jan 3000 00:00:00 GMT", 30.0),
        ("Wed, 01 Jan 2020 00:00:00 GMT", 0.5),
        ("soon", 0.5),
        ("-4", 0.5),
    ],
)
async def test_retry_after_is_the_least_pause_up_to_a_limit(wish: str, pause: float) -> None:
    naps = Naps()
    script = Scripted([httpx.Response(429, headers={"Retry-After": wish}), httpx.Response(200, json=completion("a"))])
    chat = chat_on(script, naps)
    await chat.complete(ASK)
    await chat.aclose()
    assert naps.taken == [pause]


@pytest.mark.parametrize(
    "broken",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout(""),
        httpx.ReadTimeout(""),
        httpx.ReadError(""),
        httpx.RemoteProtocolError("peer closed connection"),
    ],
)
async def test_a_broken_connection_is_tried_again_and_then_named(broken: Exception) -> None:
    naps = Naps()
    chat = chat_on(answers(broken, completion("a"), broken, broken), naps, max_retries=1)
    assert (await chat.complete(ASK))[0].text == "a"
    with pytest.raises(ModelUnreachableError, match=r"http://127.0.0.1:9/v1.* after 2 tries") as caught:
        await chat.complete(ASK)
    await chat.aclose()
    assert caught.value.__cause__ is broken
    assert len(naps.taken) == 2


# --- secrets and messages


async def test_a_key_that_the_server_repeats_is_not_shown() -> None:
    said = {"error": {"message": f"Incorrect API key provided: {KEY}"}}
    chat = chat_on(answers((401, said), {"choices": [], "echo": KEY}))
    with pytest.raises(ModelStatusError, match=r"provided: \*\*\*; check api_key") as refused:
        await chat.complete(ASK)
    with pytest.raises(ModelReplyError) as garbled:
        await chat.complete(ASK)
    await chat.aclose()
    assert KEY not in str(refused.value)
    assert KEY not in str(garbled.value) + garbled.value.raw
    assert KEY not in repr(chat)


async def test_a_password_in_the_address_is_not_shown() -> None:
    url = "http://me:pass@127.0.0.1:9/v1"
    chat = OpenAIChat(endpoint(url, max_retries=0), transport=httpx.MockTransport(answers(httpx.ConnectError("no"))))
    with pytest.raises(ModelUnreachableError) as caught:
        await chat.complete(ASK)
    await chat.aclose()
    assert "pass" not in str(caught.value) + repr(chat)


async def test_a_key_with_a_line_break_is_a_configuration_error_that_does_not_show_it() -> None:
    with pytest.raises(ConfigError, match="api_key") as caught:
        OpenAIChat(endpoint(api_key="sk-one\nsk-two"))
    assert "sk-" not in str(caught.value)


async def test_a_very_long_server_message_is_cut() -> None:
    chat = chat_on(answers((400, {"error": "x" * 10_000})))
    with pytest.raises(ModelStatusError) as caught:
        await chat.complete(ASK)
    await chat.aclose()
    assert len(str(caught.value)) < 700


def test_an_address_that_httpx_cannot_use_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="base_url"):
        OpenAIChat(endpoint("http://xn--\u00fc.example/v1"))
