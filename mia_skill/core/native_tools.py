"""Tool calls of the server's own: our one text form goes in and comes out, the wire carries what the server speaks."""

import json
import re
from collections.abc import Callable, Iterator, Sequence

from pydantic import BaseModel, JsonValue

from mia_skill.core.chat import Message, ToolSpec
from mia_skill.core.errors import ToolCallError
from mia_skill.core.toolformat import ToolCall, Turn, parse_turn, render_turn

__all__ = ["NativeCall", "in_text", "native_turns", "tools_field"]

RESULT = re.compile(r"<tool_response>\n(.*?)\n</tool_response>\s*", re.DOTALL)


class _Function(BaseModel):
    name: str = ""
    arguments: str | dict[str, JsonValue] | None = None


class NativeCall(BaseModel):
    """A call as a server writes it."""

    function: _Function = _Function()


def tools_field(tools: Sequence[ToolSpec]) -> list[dict[str, object]]:
    """The request field that tells the server of the tools."""
    return [
        {
            "type": "function",
            "function": {"name": tool.name, "description": tool.purpose, "parameters": tool.parameters},
        }
        for tool in tools
    ]


def native_turns(
    messages: Sequence[Message], plain: Callable[[Message], dict[str, object]]
) -> Iterator[dict[str, object]]:
    """The conversation with its calls and results in the server's own form. A turn whose calls and results do not
    pair up stays `plain`."""
    place = 0
    while place < len(messages):
        said = messages[place]
        told = messages[place + 1] if place + 1 < len(messages) else None
        calls, results = calls_of(said), results_of(told) if told else ()
        if not calls or len(calls.calls) != len(results):
            yield plain(said)
            place += 1
            continue
        ids = [f"{place:05}{number:04}" for number in range(len(results))]  # nine digits: all that some servers take
        yield {
            "role": "assistant",
            "content": calls.thought,
            "tool_calls": [wired(id_, call) for id_, call in zip(ids, calls.calls, strict=True)],
        }
        for id_, text in zip(ids, results, strict=True):
            yield {"role": "tool", "tool_call_id": id_, "content": text}
        place += 2


def wired(id_: str, call: ToolCall) -> dict[str, object]:
    """A call in the server's form."""
    arguments = json.dumps(call.arguments, ensure_ascii=False)
    return {"id": id_, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def calls_of(message: Message) -> Turn | None:
    """The turn, if the assistant made calls in it."""
    if message.role != "assistant":
        return None
    try:
        made = parse_turn(message.content)
    except ToolCallError:
        return None
    return made if made.calls else None


def results_of(message: Message) -> tuple[str, ...]:
    """The results that a user turn consists of; nothing if there is anything else in it."""
    if message.role != "user" or message.images or RESULT.sub("", message.content):
        return ()
    return tuple(found.group(1) for found in RESULT.finditer(message.content))


def in_text(thought: str, calls: Sequence[NativeCall]) -> str:
    """A server's calls in our text form. Arguments that are no JSON object stay visible, so that the reader of the
    turn refuses them as it would refuse them in a text."""
    made = []
    for call in calls:
        given = call.function.arguments or {}
        try:
            arguments = json.loads(given) if isinstance(given, str) else given
            made.append(ToolCall(name=call.function.name, arguments=arguments))
        except ValueError:  # pydantic's errors are ValueErrors too
            broken = json.dumps({"name": call.function.name, "arguments": given}, ensure_ascii=False)
            return f"<tool_call>{broken.replace('<', chr(92) + 'u003c')}</tool_call>"
    return render_turn(Turn(thought=thought, calls=tuple(made)))
