"""Our progress events as MCP progress notifications, and a beat while nothing happens: hosts give up on silence."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from mcp.server.mcpserver import Context

from mcp_server.backend import Backend
from mia_skill.core.events import Event, Listener

__all__ = ["pulse"]


@asynccontextmanager
async def pulse(ctx: Context[Backend], first: str = "") -> AsyncIterator[Listener]:
    """A listener that reports every event to the caller; between events it is told, every few seconds, that the work
    goes on. A no-op for a caller that did not ask for progress."""
    seen, stage = 0, first
    period = ctx.request_context.lifespan_context.config.server.heartbeat_s

    async def tell(message: str) -> None:
        nonlocal seen
        seen += 1
        await ctx.report_progress(seen, message=message or None)

    async def report(event: Event, /) -> None:
        nonlocal stage
        stage = event.stage
        await tell(f"{event.stage}: {event.message}".rstrip(": "))

    async def beat() -> None:
        while True:
            await anyio.sleep(period)
            await tell(f"{stage}: still at work".lstrip(": "))

    if first:
        await tell(first)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(beat)
            yield report
            group.cancel_scope.cancel()
    except BaseExceptionGroup as failed:
        if len(failed.exceptions) != 1:
            raise
        raise failed.exceptions[0] from None
