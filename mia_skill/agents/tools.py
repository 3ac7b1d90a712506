"""What the Executor can call besides `search`: each tool with the words that tell a model how."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

from mia_skill.core.chat import ToolSpec
from mia_skill.core.errors import InputError
from mia_skill.core.toolformat import ToolCall, render_call
from mia_skill.core.types import Passage

__all__ = ["AgentTool", "ImageTool", "VisitTool", "spec_of", "usage"]

Look = Callable[[], Awaitable[tuple[Passage, ...]]]
Open = Callable[[str, int], Awaitable[tuple[Passage, ...]]]


class AgentTool(Protocol):
    """One tool of one episode."""

    @property
    def name(self) -> str: ...

    @property
    def purpose(self) -> str:
        """When to call it, for the prompt."""
        ...

    @property
    def example(self) -> ToolCall:
        """A call, for the prompt."""
        ...

    def query(self, arguments: Mapping[str, JsonValue]) -> str:
        """What is asked, for the trajectory."""
        ...

    async def call(self, arguments: Mapping[str, JsonValue]) -> tuple[Passage, ...]:
        """What it brought.

        Raises:
            MiaError: the call failed; nothing was found out.
        """
        ...


@dataclass(frozen=True)
class VisitTool:
    """Opens a page by its address, or a passage in full by its id."""

    open: Open
    """For an address or id, and where to start."""
    name: str = "visit"
    purpose: str = "to read more of a passage or page that a search found: visit its id or address"
    example: ToolCall = field(default_factory=lambda: ToolCall(name="visit", arguments={"source": "..."}))

    def query(self, arguments: Mapping[str, JsonValue]) -> str:
        return next((str(arguments[key]).strip() for key in ("source", "url", "id", "query") if key in arguments), "")

    async def call(self, arguments: Mapping[str, JsonValue]) -> tuple[Passage, ...]:
        """The passages shown of it.

        Raises:
            InputError: no source is named, or `start` is no number.
            VisitError: it cannot be had.
        """
        source, start = self.query(arguments), arguments.get("start", 0)
        if not source:
            raise InputError('visit needs a "source": the address or id of what to read')
        if not isinstance(start, int) or isinstance(start, bool):
            raise InputError('"start" must be a whole number')
        return await self.open(source, start)


@dataclass(frozen=True)
class ImageTool:
    """Looks for images similar to the one in the question; refuses a second time."""

    look: Look
    name: str = "image_search"
    purpose: str = "once only, to learn what similar images are called"
    example: ToolCall = field(default_factory=lambda: ToolCall(name="image_search"))

    def query(self, arguments: Mapping[str, JsonValue]) -> str:
        return "the image of the question"

    async def call(self, arguments: Mapping[str, JsonValue]) -> tuple[Passage, ...]:
        """What similar images are about.

        Raises:
            UsedUpError: it was called before in this episode.
            SearchError: the engine failed.
        """
        return await self.look()


def spec_of(tool: AgentTool) -> ToolSpec:
    """A tool as a server is told of it: its example shows the arguments."""
    properties: dict[str, JsonValue] = {name: {"type": "string"} for name in tool.example.arguments}
    needed: list[JsonValue] = list(properties)
    return ToolSpec(
        name=tool.name,
        purpose=tool.purpose,
        parameters={"type": "object", "properties": properties, "required": needed},
    )


def usage(tools: tuple[AgentTool, ...]) -> str:
    """The lines of the prompt about them; nothing without tools, so that the text of `search` alone stays as it is."""
    return "".join(f"- a tool call {tool.purpose}:\n{render_call(tool.example)}\n" for tool in tools)
