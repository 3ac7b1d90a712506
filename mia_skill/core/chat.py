"""`ChatModel`: the one seam through which this project talks to a language model."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, Protocol, TypeVar, runtime_checkable

from pydantic import BaseModel, Field, JsonValue, ValidationError

from mia_skill.core.errors import ModelReplyError
from mia_skill.core.picture import Picture
from mia_skill.core.types import Text, Usage, Value

__all__ = ["ChatModel", "Message", "Reply", "ScriptedChat", "ToolChat", "ToolSpec", "act", "asked_schema", "parse_form"]

Form = TypeVar("Form", bound=BaseModel)

ASKED_CHARS = 200
ASKED_ITEMS = 6
UNFINISHED = "Invalid JSON: EOF while parsing"
BROKEN_OFF = "it breaks off before its end. Give the model more room (models.default.max_tokens), or use a larger one"


class Message(Value):
    """One turn. Memories and tool texts are quoted in user turns, never in a system turn."""

    role: Literal["system", "user", "assistant"]
    content: Text
    images: tuple[Picture, ...] = ()
    """Shown after the text, to models that take images."""


class Reply(Value):
    """What a model said, and what it cost."""

    text: str
    usage: Usage = Usage()
    model: str = ""
    finish: str = "stop"
    """"stop", "length" (cut off), ..."""


class ChatModel(Protocol):
    """Completes a conversation."""

    @property
    def name(self) -> str:
        """For traces."""
        ...

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        n: int = 1,
    ) -> tuple[Reply, ...]:
        """`n` replies. With `schema`, each is asked to be JSON of that schema, which the caller must still check.

        Raises:
            ModelError: nothing usable came back. Never an empty reply in place of an error.
        """
        ...


class ToolSpec(Value):
    """A tool as a model is told of it."""

    name: str
    purpose: str
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """JSON schema of its arguments."""


@runtime_checkable
class ToolChat(ChatModel, Protocol):
    """A chat model whose server may have tool calls of its own."""

    async def act(self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, stop: Sequence[str] = ()) -> Reply:
        """One turn of an agent. Whatever the server speaks, messages and reply are in the form of `toolformat`.

        Raises:
            ModelError: as `complete`.
        """
        ...


async def act(
    model: ChatModel, messages: Sequence[Message], tools: Sequence[ToolSpec], *, stop: Sequence[str] = ()
) -> Reply:
    """One turn of an agent, in the form of `toolformat`, by any model.

    Raises:
        ModelError: nothing usable came back.
    """
    if isinstance(model, ToolChat):
        return await model.act(messages, tools, stop=stop)
    (reply,) = await model.complete(messages, stop=stop)
    return reply


@dataclass
class ScriptedChat:
    """A model that says what it was told to: for tests and rehearsals. An `Exception` in the script is raised.

    `seen` keeps every conversation it was given.
    """

    script: Iterable[str | Exception]
    name: str = "scripted"
    seen: list[tuple[Message, ...]] = field(default_factory=list)
    schemas: list[Mapping[str, object] | None] = field(default_factory=list)
    _left: deque[str | Exception] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._left = deque(self.script)

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        n: int = 1,
    ) -> tuple[Reply, ...]:
        """The next `n` lines of the script."""
        self.seen.append(tuple(messages))
        self.schemas.append(schema)
        replies = []
        for _ in range(n):
            if not self._left:
                raise AssertionError(f"the script of {self.name!r} is used up")
            line = self._left.popleft()
            if isinstance(line, Exception):
                raise line
            replies.append(Reply(text=line, usage=Usage(calls=1), model=self.name))
        return tuple(replies)


def parse_form(text: str, form: type[Form]) -> Form:
    """The JSON form a model was asked for. The whole reply must be that JSON, bare or in one code fence.

    Raises:
        ModelReplyError: it is not; the message says what is wrong with it. Nothing is guessed from prose.
    """
    body = text.strip()
    if body.startswith("```") and body.endswith("```") and body.count("```") == 2:
        body = body.removeprefix("```").removesuffix("```").removeprefix("json").strip()
    try:
        return form.model_validate_json(body)
    except ValidationError as cause:
        problem = cause.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in problem["loc"]) or "reply"
        wrong = BROKEN_OFF if problem["msg"].startswith(UNFINISHED) else f"{where}: {problem['msg']}"
        told = f"the reply is not the JSON that was asked for ({form.__name__}): {wrong}"
        raise ModelReplyError(told, raw=text) from None


@cache
def asked_schema(form: type[BaseModel]) -> dict[str, object]:
    """The schema a model is asked to fill in: shorter texts and lists than we accept, since a small model writes on
    until a limit stops it and its form would be cut off. Made once for each form (1.6 ms): nobody changes it."""
    schema: dict[str, object] = form.model_json_schema()
    bound(schema)
    return schema


def bound(node: object) -> None:
    """Put the tighter limits on every text and list of a schema, in place."""
    if isinstance(node, dict):
        if node.get("type") == "string" and "enum" not in node:
            node["maxLength"] = min(node.get("maxLength", ASKED_CHARS), ASKED_CHARS)
        if node.get("type") == "array":
            node["maxItems"] = min(node.get("maxItems", ASKED_ITEMS), ASKED_ITEMS)
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        bound(inner)
