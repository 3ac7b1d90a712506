"""What an endpoint may answer, and what is read from it."""

import json

import pytest

from mia_skill.core.errors import ModelReplyError
from mia_skill.core.openai_wire import read_replies, server_message


def body(content: object, *, finish: str = "stop", **more: object) -> bytes:
    choice = {"message": {"content": content, **more}, "finish_reason": finish}
    return json.dumps({"choices": [choice]}).encode()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Herbert", "Herbert"),
        ("<think>hm, Asimov? no</think>\nHerbert", "Herbert"),
        ("hm, Asimov? no</think>Herbert", "Herbert"),
        ("Herbert <think>is a tag</think>", "Herbert <think>is a tag</think>"),
        ([{"type": "text", "text": "Her"}, {"type": "text", "text": "bert"}], "Herbert"),
    ],
)
def test_reasoning_is_no_part_of_the_text(content: object, text: str) -> None:
    assert read_replies(body(content), seconds=0)[0].text == text


def test_a_separate_reasoning_field_is_left_out() -> None:
    assert read_replies(body("Herbert", reasoning_content="hm"), seconds=0)[0].text == "Herbert"


def test_an_endpoint_that_counts_no_tokens_counts_as_none() -> None:
    (reply,) = read_replies(body("a"), seconds=1.5)
    assert (reply.usage.calls, reply.usage.prompt_tokens, reply.usage.seconds) == (1, 0, 1.5)


def test_a_cut_off_reply_says_so() -> None:
    assert read_replies(body("Frank Her", finish="length"), seconds=0)[0].finish == "length"


@pytest.mark.parametrize("content", ["", "  \n", None, "<think>still thinking", []])
def test_an_empty_reply_is_an_error_and_names_the_finish_reason(content: object) -> None:
    with pytest.raises(ModelReplyError, match=r"empty.*'length'; raise max_tokens"):
        read_replies(body(content, finish="length"), seconds=0)


@pytest.mark.parametrize(
    ("garbage", "says"),
    [
        (b"", "it is empty"),
        (b"<html>gateway</html>", "no JSON"),
        (b'{"choices": [{"message": {"content": "a"', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "not a chat completion"),
        (b"null", "not a chat completion"),
        (b'{"choices": []}', "no choices"),
        (b'{"error": {"message": "overloaded"}}', "choices: Field required"),
        (b'{"choices": [{"message": {"content": 5}}]}', "choices.0.message.content"),
        (b"\xff\xfe\x00", "no JSON"),
    ],
)
def test_a_body_that_is_no_completion_is_an_error_that_keeps_its_beginning(garbage: bytes, says: str) -> None:
    with pytest.raises(ModelReplyError, match=says) as caught:
        read_replies(garbage, seconds=0)
    assert caught.value.raw == garbage[:2000].decode("utf-8", "replace").replace("\x00", "")


def test_lone_surrogates_and_nan_do_not_make_a_reply_unreadable() -> None:
    garbled = b'{"choices": [{"message": {"content": "a\\ud800b"}, "logprobs": NaN}]}'
    assert read_replies(garbled, seconds=0)[0].text == "a\ufffdb"


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (b'{"error": {"message": "no such model", "code": 404}}', "no such model"),
        (b'{"error": "no such model"}', "no such model"),
        (b'{"object": "error", "message": "no\\n such   model"}', "no such model"),
        (b'{"detail": [{"msg": "field required"}]}', '[{"msg": "field required"}]'),
        (b"plain text", "plain text"),
        (b"", ""),
    ],
)
def test_the_reason_of_a_refusal_is_found_wherever_servers_put_it(said: bytes, message: str) -> None:
    assert server_message(said) == message
