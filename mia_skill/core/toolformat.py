"""The one text form of tool calls, tool results and answers: serving and training use it byte for byte.

Source: spec section 8.1 (the published code feeds some of its callers a result that is never closed).
"""

import json
import math
import re
from collections.abc import Mapping
from typing import NoReturn

from pydantic import Field, JsonValue, ValidationError, field_validator

from mia_skill.core.errors import ToolCallError
from mia_skill.core.types import Text, Value, clean_text

__all__ = ["ToolCall", "Turn", "parse_turn", "render_answer", "render_call", "render_result", "render_turn"]

TAG = re.compile(r"<(/?)(tool_call|tool_response|answer)>")
MARKUP = re.compile(
    r"<(?=/?(?:tool_call|tool_response|answer|think|start_of_turn|end_of_turn|s|bos|eos|pad|unk)>|[|｜])", re.IGNORECASE
)
"""What our own parser, or a chat template's tokenizer (`<|im_end|>`), would take for structure."""
THOUGHT = re.compile(r"\s*<think>(.*?)(?:</think>|\Z)", re.DOTALL)


class ToolCall(Value):
    """One call of one tool."""

    name: Text = Field(min_length=1)
    arguments: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("arguments")
    @classmethod
    def _sendable(cls, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        return {clean_text(key): _clean(value) for key, value in arguments.items()}


class Turn(Value):
    """What a model said in one turn: either calls, or an answer, or neither."""

    thought: Text = ""
    """Its own words around them; never evidence."""
    calls: tuple[ToolCall, ...] = ()
    answer: Text | None = None


def render_call(call: ToolCall) -> str:
    """The call on one line. `<` inside its strings is escaped, so no argument can close the tag."""
    form = json.dumps({"name": call.name, "arguments": call.arguments}, ensure_ascii=False, allow_nan=False)
    return f"<tool_call>{form.replace('<', chr(92) + 'u003c')}</tool_call>"


def render_result(text: str) -> str:
    """What a tool gave, as the model reads it. Markup inside is broken up: it can neither end the quote nor act."""
    return f"<tool_response>\n{_inert(text)}\n</tool_response>"


def render_answer(text: str) -> str:
    """A final answer."""
    return f"<answer>{_inert(text.strip())}</answer>"


def render_turn(turn: Turn) -> str:
    """A whole turn, as a model that was trained on this form writes it."""
    parts = [_inert(turn.thought.strip()), *(render_call(call) for call in turn.calls)]
    if turn.answer is not None:
        parts.append(render_answer(turn.answer))
    return "\n".join(part for part in parts if part)


def parse_turn(text: str) -> Turn:
    """The calls or the answer in a model's turn. A `<think>` block at its start is thought, whatever is in it.

    Raises:
        ToolCallError: a tag is open, stray or nested, a call is no JSON call, or a call and an answer stand
            side by side. Nothing is guessed.
    """
    thoughts: list[str] = []
    calls: list[ToolCall] = []
    answers: list[str] = []
    at = 0
    if opening := THOUGHT.match(text):
        thoughts.append(opening.group(1))
        at = opening.end()
    while (tag := TAG.search(text, at)) is not None:
        thoughts.append(text[at : tag.start()])
        end = _closing(text, tag)
        body = text[tag.end() : end.start()]
        if tag.group(2) == "tool_call":
            calls.append(_call(body, text))
        else:
            answers.append(body.strip())
        at = end.end()
    thoughts.append(text[at:])
    if len(answers) > 1 or (answers and calls) or "" in answers:
        _refuse("a turn holds tool calls or one answer that is not empty", text)
    thought = "\n".join(part.strip() for part in thoughts if part.strip())
    return Turn(thought=thought, calls=tuple(calls), answer=answers[0] if answers else None)


def _closing(text: str, tag: re.Match[str]) -> re.Match[str]:
    kind = tag.group(2)
    if tag.group(1):
        _refuse(f"</{kind}> closes nothing", text)
    if kind == "tool_response":
        _refuse("a model must not write tool results itself", text)
    end = TAG.search(text, tag.end())
    if end is None or end.group() != f"</{kind}>":
        _refuse(f"<{kind}> is not closed", text)
    return end


def _call(body: str, raw: str) -> ToolCall:
    try:
        tree = json.loads(body, object_pairs_hook=_unique, parse_constant=_no_constant)
        return ToolCall.model_validate(tree)
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the call"
        _refuse(f"no tool call: {where}: {first['msg']}", raw)
    except (ValueError, RecursionError) as cause:
        _refuse(f"a tool call must be one JSON object with name and arguments: {cause}", raw)


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a key appears twice")
    return tree


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _clean(value: JsonValue) -> JsonValue:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, Mapping):
        return {clean_text(key): _clean(item) for key, item in value.items()}
    return value


def _inert(text: str) -> str:
    return MARKUP.sub("< ", clean_text(text))


def _refuse(problem: str, raw: str) -> NoReturn:
    raise ToolCallError(problem[:300], raw=raw)
