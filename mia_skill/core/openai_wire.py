"""What goes over the wire to an OpenAI-compatible endpoint and what comes back: pure functions of values."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from mia_skill.core.chat import Message, Reply
from mia_skill.core.errors import ModelReplyError
from mia_skill.core.native_tools import NativeCall, in_text
from mia_skill.core.prompts import load_prompt
from mia_skill.core.types import Usage, clean_text

__all__ = ["encode", "in_words", "read_models", "read_replies", "response_format", "server_message", "turn"]
__all__ += ["without_thinking"]

Form = TypeVar("Form", bound=BaseModel)

MESSAGE_CHARS = 500
"""Of a server's error message."""
RAW_CHARS = 2000
"""Of a reply kept in an error."""
THINKING = re.compile(r"\s*<think>.*?(?:</think>|\Z)", re.DOTALL)


class _Part(BaseModel):
    text: str = ""


class _Message(BaseModel):
    content: str | list[_Part] | None = None
    tool_calls: list[NativeCall] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Completion(BaseModel):
    choices: list[_Choice]
    usage: _Usage | None = None
    model: str | None = None


class _Model(BaseModel):
    id: str


class _Models(BaseModel):
    data: list[_Model]


def encode(payload: Mapping[str, object]) -> bytes:
    """The request body. Strings that no server could decode are cleaned."""
    return orjson.dumps(_clean(payload))


def turn(message: Message) -> dict[str, object]:
    """One turn of the request. Without images its content is a plain text, as every server takes it."""
    if not message.images:
        return {"role": message.role, "content": message.content}
    shown = [{"type": "image_url", "image_url": {"url": image.data_url}} for image in message.images]
    return {"role": message.role, "content": [{"type": "text", "text": message.content}, *shown]}


def response_format(schema: Mapping[str, object]) -> dict[str, object]:
    """The request field that has the server hold its reply to `schema`."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title") or "form"))[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema)}}


def in_words(messages: Sequence[Message], schema: Mapping[str, object]) -> tuple[Message, ...]:
    """The conversation with `schema` asked for in its last user turn: for servers that cannot hold a reply to one."""
    asked = load_prompt("json_form").render(schema=encode(schema).decode())
    if not messages or messages[-1].role != "user":
        return (*messages, Message(role="user", content=asked))
    last = messages[-1]
    return (*messages[:-1], last.model_copy(update={"content": f"{last.content}\n\n{asked}"}))


def read_replies(body: bytes, *, seconds: float) -> tuple[Reply, ...]:
    """All replies in a completion. The first carries the usage of the whole call, so that sums are right.

    Raises:
        ModelReplyError: it is no completion, or a reply is empty.
    """
    answer = _read(body, _Completion, "a chat completion")
    if not answer.choices:
        raise ModelReplyError("the endpoint's completion holds no choices", raw=_raw(body))
    used = answer.usage or _Usage()
    whole = Usage(
        calls=1,
        prompt_tokens=max(0, used.prompt_tokens or 0),
        completion_tokens=max(0, used.completion_tokens or 0),
        seconds=max(0.0, seconds),
    )
    return tuple(
        Reply(
            text=_said(choice, body),
            usage=whole if index == 0 else Usage(),
            model=clean_text(answer.model or ""),
            finish=choice.finish_reason or "stop",
        )
        for index, choice in enumerate(answer.choices)
    )


def read_models(body: bytes) -> tuple[str, ...]:
    """The model names that an endpoint lists.

    Raises:
        ModelReplyError: it is no such list.
    """
    return tuple(clean_text(model.id) for model in _read(body, _Models, "a list of models").data)


def without_thinking(text: str) -> str:
    """`text` without the reasoning some models open with; also where the chat template ate the opening tag."""
    if cut := THINKING.match(text):
        return text[cut.end() :].strip()
    before, closing, after = text.partition("</think>")
    return after.strip() if closing and "<think>" not in before else text


def server_message(body: bytes) -> str:
    """What a server says is wrong, in at most `MESSAGE_CHARS` characters."""
    try:
        tree = _tree(body)
    except ValueError:
        return _short(body.decode("utf-8", "replace"))
    for key in ("error", "message", "detail"):
        if isinstance(tree, dict) and tree.get(key):
            tree = tree[key]
    return _short(tree if isinstance(tree, str) else json.dumps(tree))


def _said(choice: _Choice, body: bytes) -> str:
    content = choice.message.content or ""
    whole = content if isinstance(content, str) else "".join(part.text for part in content)
    text = clean_text(without_thinking(whole))
    if choice.message.tool_calls:
        return clean_text(in_text(text, choice.message.tool_calls))
    if not text.strip():
        thinking = " after its reasoning" if whole.strip() else ""
        hint = "; raise max_tokens" if choice.finish_reason == "length" else ""
        raise ModelReplyError(
            f"the reply is empty{thinking} (finish reason {choice.finish_reason!r}{hint})", raw=_raw(body)
        )
    return text


def _read(body: bytes, form: type[Form], what: str) -> Form:
    try:
        return form.model_validate(_tree(body))
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the reply"
        problem = f"{where}: {first['msg']}"
    except ValueError as cause:
        problem = f"it is no JSON ({cause})" if body.strip() else "it is empty"
    raise ModelReplyError(f"the endpoint's reply is not {what}: {problem}", raw=_raw(body))


def _tree(body: bytes) -> object:
    """The JSON in `body`. orjson refuses lone surrogates and NaN, which servers do send: the slow reader takes them."""
    try:
        tree: object = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            tree = json.loads(body)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        return _clean(tree)
    return tree


def _clean(value: object) -> object:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        return {clean_text(str(key)): _clean(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    return value


def _short(text: str) -> str:
    line = " ".join(clean_text(text).split())
    return line if len(line) <= MESSAGE_CHARS else f"{line[:MESSAGE_CHARS]}..."


def _raw(body: bytes) -> str:
    return clean_text(body[: RAW_CHARS * 4].decode("utf-8", "replace"))[:RAW_CHARS]
