"""Between the wire and the handlers: what is switched off is not advertised, and no error is long or unreadable."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from mcp import MCPError
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.types import INVALID_PARAMS, METHOD_NOT_FOUND
from pydantic import ValidationError

from mcp_server.arguments import problems
from mcp_server.backend import Backend
from mcp_server.gate import sentence

__all__ = ["Screen"]

GREETINGS = frozenset({"initialize", "server/discover"})
ENDS_WARM = frozenset({"tools/list"})
"""After these a host is about to work: the heavy parts may start."""
SHOW_BOTH = ("openclaw",)
"""Hosts, by the start of their name, that show a model the text and the structured result."""


class Screen:
    """Middleware around every message. `hidden` names the capabilities that are off, e.g. "prompts"; `structured`
    says who gets structured results: all, nobody, or all but the hosts that would show them beside the text."""

    def __init__(
        self,
        hidden: frozenset[str],
        prompts: frozenset[str],
        structured: Literal["auto", "on", "off"] = "auto",
    ) -> None:
        self.hidden = hidden
        self.prompts = prompts
        self.structured = structured

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        """Pass a message on.

        Raises:
            MCPError: the message cannot be answered; its text is short and names no file.
        """
        if ctx.method.partition("/")[0] in self.hidden:
            raise MCPError(METHOD_NOT_FOUND, "Method not found: switched off on this server")
        self._known_prompt(ctx)
        try:
            result = await call_next(ctx)
        except MCPError as error:
            raise MCPError(error.code, sentence(error), error.error.data if small(error.error.data) else None) from None
        except ValidationError as refused:
            raise MCPError(INVALID_PARAMS, problems(refused)) from None
        if ctx.method in ENDS_WARM and isinstance(ctx.lifespan_context, Backend):
            ctx.lifespan_context.warm()
        if isinstance(result, dict):
            if ctx.method in GREETINGS:
                return {**result, "capabilities": self._advertised(result.get("capabilities"))}
            if result.get("isError"):
                return {**result, "content": [dict(shortened(block)) for block in result.get("content", [])]}
            if not self._structures(ctx):
                return unstructured(result)
        return result

    def _structures(self, ctx: ServerRequestContext[Any, Any]) -> bool:
        if self.structured != "auto" or ctx.method not in {"tools/list", "tools/call"}:
            return self.structured != "off"
        client = ctx.session.client_params
        return client is None or not client.client_info.name.lower().startswith(SHOW_BOTH)

    def _known_prompt(self, ctx: ServerRequestContext[Any, Any]) -> None:
        if ctx.method != "prompts/get":
            return
        name = (ctx.params or {}).get("name")
        if name not in self.prompts:
            raise MCPError(INVALID_PARAMS, f"Unknown prompt. There are: {', '.join(sorted(self.prompts))}")

    def _advertised(self, capabilities: Any) -> Any:
        if not isinstance(capabilities, dict):
            return capabilities
        return {name: one for name, one in capabilities.items() if name not in self.hidden}


def unstructured(result: Mapping[str, Any]) -> dict[str, Any]:
    """A listing without result schemas, or a tool's result as text alone."""
    kept = {key: one for key, one in result.items() if key != "structuredContent"}
    if isinstance(kept.get("tools"), list):
        kept["tools"] = [{key: one for key, one in tool.items() if key != "outputSchema"} for tool in kept["tools"]]
    return kept


def shortened(block: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """A content block whose text is short and clean."""
    for key, value in block.items():
        yield key, sentence(ValueError(value)) if key == "text" else value


def small(data: object) -> bool:
    """Is this worth sending back?"""
    return data is None or len(str(data)) <= 500
