"""Our progress events as MCP progress notifications."""

from mcp.server.mcpserver import Context

from mcp_server.backend import Backend
from mia_skill.core.events import Event, Listener

__all__ = ["reporter"]


def reporter(ctx: Context[Backend]) -> Listener:
    """A listener that reports every event to the caller; a no-op for one who did not ask."""
    seen = 0

    async def report(event: Event, /) -> None:
        nonlocal seen
        seen += 1
        await ctx.report_progress(seen, message=f"{event.stage}: {event.message}".rstrip(": "))

    return report
