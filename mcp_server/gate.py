"""The gate around every tool: arguments in, results and errors out. Nothing leaves a tool except through here."""

import re
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from pydantic import ValidationError

from mcp_server import audit
from mcp_server.arguments import mend, problems
from mcp_server.caller import caller_of
from mcp_server.listing import slim
from mcp_server.result import View, present
from mia_skill.core.config import Scope
from mia_skill.core.errors import MiaError
from mia_skill.core.types import clean_text

__all__ = ["Entry", "GuardedTool", "hints", "own", "sentence"]

LONGEST_ERROR = 1000
PATH = re.compile(r"(?<![\w:/.])~?(?:/[\w.@+-]+)+/([\w.@+-]+)")
"""An absolute path; its last part is kept."""


@dataclass(frozen=True)
class Entry:
    """A function to serve as a tool. A slow one waits for others' work and takes no place among the calls at work."""

    function: Callable[..., Awaitable[View]]
    title: str
    annotations: ToolAnnotations
    scope: Scope
    slow: bool = False
    page: str = ""
    """The `ui://` page on which a host may show the result."""


def hints(*, read: bool, destroys: bool = False, repeatable: bool = True, open_world: bool = False) -> ToolAnnotations:
    """All four annotations, said aloud."""
    return ToolAnnotations(
        read_only_hint=read, destructive_hint=destroys, idempotent_hint=repeatable, open_world_hint=open_world
    )


class GuardedTool(Tool):
    """A tool that refuses unknown arguments, answers our errors in words, and bounds what it returns."""

    limit: int = 32_000
    """Characters of a result."""
    scope: Scope = "read"
    """What a caller needs to use it."""
    slow: bool = False

    @classmethod
    def guard(cls, entry: Entry, *, limit: int, pages: bool = True) -> "GuardedTool":
        """The entry as a tool that refuses unknown arguments, with slim schemas."""
        meta = {"ui": {"resourceUri": entry.page}} if entry.page and pages else None
        made = cls.from_function(entry.function, title=entry.title, annotations=entry.annotations, meta=meta)
        if not isinstance(made, cls):
            raise TypeError("the SDK made a tool of another class")
        model = made.fn_metadata.arg_model
        model.model_config["extra"] = "forbid"
        model.model_rebuild(force=True)
        made.parameters = slim(model.model_json_schema(by_alias=True))
        made.fn_metadata.output_schema = slim(made.fn_metadata.output_schema or {}, result=True)
        made.description = " ".join(made.description.split())
        made.limit, made.scope, made.slow = limit, entry.scope, entry.slow
        return made

    async def run(
        self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False
    ) -> CallToolResult | InputRequiredResult | View:
        """Run the tool.

        Raises:
            ToolError: the caller can mend it, and the message says how.
            UnexpectedToolError: a bug; its text stays in the log.
        """
        caller = caller_of(context)
        began, ending, sent = time.monotonic(), "failed", 0
        try:
            caller.require(self.scope, self.name)
            mended = mend(arguments, list(self.fn_metadata.arg_model.model_fields))
            turnstile = context.request_context.lifespan_context.turnstile
            async with nullcontext() if self.slow else turnstile.enter():
                result = await super().run(mended, context)
            shown, sent = self._shown(result, convert_result)
            ending = "answered"
        except ToolError as failure:
            raise self._told(failure) from failure.__cause__
        except SystemExit:
            raise ToolError("A part of this tool tried to end the server. The server keeps running.") from None
        finally:
            audit.note(self.name, caller.name, ending, (time.monotonic() - began) * 1000, arguments, sent)
        return shown

    def _shown(self, result: object, convert: bool) -> tuple[CallToolResult | InputRequiredResult | View, int]:
        """The result as asked for, and its characters."""
        if isinstance(result, View) and convert:
            made = present(result, self.limit)
            return made, sum(len(block.text) for block in made.content if isinstance(block, TextContent))
        if isinstance(result, View | InputRequiredResult):
            return result, 0
        raise UnexpectedToolError(f"{self.name} returned no result of ours")

    def _told(self, failure: ToolError) -> ToolError:
        cause = failure.__cause__
        if not isinstance(failure, UnexpectedToolError):
            if isinstance(cause, ValidationError):
                return ToolError(problems(cause))
            return ToolError(sentence(cause or failure))
        ours = next(own(cause), None)
        return failure if ours is None else ToolError(sentence(ours))


def own(error: BaseException | None) -> Iterator[MiaError]:
    """Errors of ours in `error`, which may be a group; none when a foreign one is among them."""
    if isinstance(error, MiaError):
        yield error
    elif isinstance(error, BaseExceptionGroup):
        found = [next(own(one), None) for one in error.exceptions]
        if all(found):
            yield from (one for one in found if one)


def sentence(error: BaseException) -> str:
    """An error for a model: its message, without folders of this machine, at most 1,000 characters."""
    text = PATH.sub(r"\1", clean_text(str(error)))
    return text[:LONGEST_ERROR] or type(error).__name__
