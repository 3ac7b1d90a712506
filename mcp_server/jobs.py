"""Long work behind handles: started by one call, asked about by others, and found again after a reconnect.

A job lives in the process and not in a connection. A handle is a random uuid, bound to the caller that started the
job, and worth nothing once the result has been kept for its time or the server has been restarted.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

import anyio
from anyio.abc import TaskGroup
from mcp.server.mcpserver.exceptions import ToolError

from mcp_server.gate import own, sentence
from mcp_server.result import View
from mia_skill.core.errors import UnknownIdError
from mia_skill.core.events import Event, Listener

__all__ = ["Job", "Jobs", "Work"]

log = logging.getLogger(__name__)

State = Literal["running", "done", "failed", "cancelled"]
Work = Callable[[Listener], Awaitable[View]]
MOST_KEPT = 100
"""Finished jobs; the oldest go first."""
RETRY_S = 30


@dataclass
class Job:
    """One piece of work and how far it is."""

    owner: str
    handle: str = field(default_factory=lambda: str(uuid4()))
    state: State = "running"
    events: list[Event] = field(default_factory=list)
    """What happened so far; an episode has a few dozen at most."""
    result: View | None = None
    error: str = ""
    ended: float | None = None
    """On the clock of its `Jobs`."""
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope, repr=False)
    over: anyio.Event = field(default_factory=anyio.Event, repr=False)
    news: anyio.Event = field(default_factory=anyio.Event, repr=False)
    """Set and replaced at every event."""

    @property
    def stage(self) -> str:
        """What it is at."""
        return self.events[-1].stage if self.events else ""

    def tell(self) -> None:
        """Wake whoever waits for news."""
        self.news.set()
        self.news = anyio.Event()


@dataclass
class Jobs:
    """The jobs of one process: at most `places` at work, results kept for `keep_s` seconds."""

    group: TaskGroup
    places: int
    keep_s: float
    clock: Callable[[], float] = time.monotonic
    _jobs: dict[str, Job] = field(default_factory=dict, repr=False)

    def start(self, owner: str, work: Work) -> Job:
        """Begin `work`.

        Raises:
            ToolError: too many are at work; the message says when to retry.
        """
        self._expire()
        running = sum(job.state == "running" for job in self._jobs.values())
        if running >= self.places:
            raise ToolError(
                f"The server is busy with {running} research jobs, its limit: retry in {RETRY_S} s, or cancel one."
            )
        job = Job(owner)
        self._jobs[job.handle] = job
        self.group.start_soon(self._run, job, work)
        return job

    def find(self, handle: str, owner: str) -> Job:
        """The job of this handle.

        Raises:
            UnknownIdError: there is none, it has expired, or it is somebody else's.
        """
        self._expire()
        job = self._jobs.get(handle)
        if job is None or job.owner != owner:
            raise UnknownIdError(
                "there is no research job with this handle: results are kept for "
                f"{self.keep_s / 60:.0f} minutes and not beyond a restart of the server. "
                "Ask again with research_start"
            )
        return job

    def cancel(self, job: Job) -> None:
        """Stop `job`; one that is over stays as it is."""
        job.scope.cancel()

    async def _run(self, job: Job, work: Work) -> None:
        async def listen(event: Event, /) -> None:
            job.events.append(event)
            job.tell()

        state: State = "cancelled"
        try:
            with job.scope:
                job.result = await work(listen)
                state = "done"
        except Exception as failure:
            ours = next(own(failure), None)
            if ours is None:
                log.exception("a research job failed")
            state = "failed"
            job.error = sentence(ours) if ours else "A part of the server failed; its log (stderr) says why."
        finally:
            job.state, job.ended = state, self.clock()
            job.over.set()
            job.tell()

    def _expire(self) -> None:
        over = sorted((job for job in self._jobs.values() if job.ended is not None), key=lambda job: job.ended or 0.0)
        old = [job for job in over if self.clock() - (job.ended or 0.0) > self.keep_s]
        for job in {job.handle: job for job in [*old, *over[: max(0, len(over) - MOST_KEPT)]]}.values():
            del self._jobs[job.handle]
