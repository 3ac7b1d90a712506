"""`research`: the whole agent in one call, or behind a handle. Only where a model endpoint is configured."""

from typing import TYPE_CHECKING, Annotated

import anyio
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from mcp_server.backend import Backend
from mcp_server.caller import caller_of
from mcp_server.gate import Entry, hints
from mcp_server.host import asked
from mcp_server.inputs import Asked, Caption, Handle
from mcp_server.jobs import Job, Work
from mcp_server.progress import pulse
from mcp_server.views import HandleView, JobView, ResearchView, job_view, research_view
from mia_skill.core.config import MiaConfig
from mia_skill.core.events import Listener
from mia_skill.core.types import Question

if TYPE_CHECKING:
    from mia_skill.agents.mia import Mia

__all__ = ["RESEARCH", "can_research"]


def can_research(config: MiaConfig) -> bool:
    """Is there a model to plan and one to search with?"""
    return config.models.of("planner") is not None and config.models.of("executor") is not None


async def research(question: Asked, ctx: Context[Backend], caption: Caption = "") -> ResearchView:
    """Have this server's own agent answer a question and store the run. Call it to hand a question over; it takes
    minutes. Returns the answer, its verdict and its sources."""
    held = ctx.request_context.lifespan_context
    job = held.jobs.start(caller_of(ctx).name, await work_on(ctx, asked(question, caption)))
    try:
        async with pulse(ctx, "starting") as report:
            await follow(job, report)
    finally:
        held.jobs.cancel(job)
    if not isinstance(job.result, ResearchView):
        raise ToolError(job.error or "The research was cancelled.")
    return job.result


async def research_start(question: Asked, ctx: Context[Backend], caption: Caption = "") -> HandleView:
    """Start research and return at once. Call it where calls are cut after a minute. Returns a handle."""
    held = ctx.request_context.lifespan_context
    job = held.jobs.start(caller_of(ctx).name, await work_on(ctx, asked(question, caption)))
    return HandleView(handle=job.handle, state=job.state)


async def research_status(
    handle: Handle, ctx: Context[Backend], wait_s: Annotated[int, Field(ge=0, le=50)] = 20
) -> JobView:
    """Wait for a research job. Call it until it is not "running". Returns its state, at the end its result."""
    job = ctx.request_context.lifespan_context.jobs.find(handle, caller_of(ctx).name)
    async with pulse(ctx, job.stage):
        with anyio.move_on_after(wait_s):
            await job.over.wait()
    return job_view(job)


async def research_cancel(handle: Handle, ctx: Context[Backend]) -> HandleView:
    """Stop a research job. Call it when its answer is no longer wanted. Nothing is stored."""
    jobs = ctx.request_context.lifespan_context.jobs
    job = jobs.find(handle, caller_of(ctx).name)
    jobs.cancel(job)
    await job.over.wait()
    return HandleView(handle=job.handle, state=job.state)


async def work_on(ctx: Context[Backend], question: Question) -> Work:
    """The episode as a piece of work. What is missing is told now, not by the job."""
    mia: Mia = await ctx.request_context.lifespan_context.mia()
    namespace = caller_of(ctx).namespace("", mia.config.memory.namespace)
    mia.sources.pick("auto")

    async def work(listener: Listener) -> ResearchView:
        return research_view(await mia.ask(question, namespace=namespace, listener=listener))

    return work


async def follow(job: Job, report: Listener) -> None:
    """Report what happens until the job is over."""
    told = 0
    while True:
        news, over = job.news, job.over.is_set()
        for event in job.events[told:]:
            told += 1
            await report(event)
        if over:
            return
        if told == len(job.events) and not job.over.is_set():
            await news.wait()


RESEARCH: tuple[Entry, ...] = (
    Entry(research, "Research a question", hints(read=False, repeatable=False, open_world=True), "write", slow=True),
    Entry(research_start, "Start research", hints(read=False, repeatable=False, open_world=True), "write"),
    Entry(research_status, "Ask about research", hints(read=True), "read", slow=True),
    Entry(research_cancel, "Cancel research", hints(read=False), "write"),
)
