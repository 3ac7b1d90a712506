"""The one `Mia` of a server, built after the handshake: a listing must not wait for indexes and models."""

import logging
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from mcp_server.jobs import Jobs
from mcp_server.turnstile import Turnstile
from mia_skill.core.config import MiaConfig
from mia_skill.core.errors import MiaError

if TYPE_CHECKING:
    from mia_skill.app import Mia

__all__ = ["Backend", "backend"]

log = logging.getLogger(__name__)


@dataclass
class Attempt:
    """One try at building."""

    done: anyio.Event = field(default_factory=anyio.Event)
    error: MiaError | None = None


@dataclass
class Backend:
    """Holds `Mia`, or builds it when first needed. A failed build is told, and tried again by the next call."""

    config: MiaConfig
    group: TaskGroup
    ready: "Mia | None" = None
    attempt: Attempt | None = None
    jobs: Jobs = field(init=False)
    turnstile: Turnstile = field(init=False)

    def __post_init__(self) -> None:
        server = self.config.server
        self.jobs = Jobs(self.group, places=server.max_research, keep_s=server.keep_research_s)
        self.turnstile = Turnstile(server.max_calls)

    def warm(self) -> None:
        """Start building, if nobody has."""
        if self.ready is None and self.attempt is None:
            self.attempt = Attempt()
            self.group.start_soon(self._hold, self.attempt)

    async def mia(self) -> "Mia":
        """The running instance.

        Raises:
            MiaError: it cannot be built; the message holds the fix.
        """
        while self.ready is None:
            self.warm()
            attempt = self.attempt
            if attempt is None:
                raise RuntimeError("no attempt was started")
            await attempt.done.wait()
            if attempt.error is not None:
                raise attempt.error
        return self.ready

    async def _hold(self, attempt: Attempt) -> None:
        """Build, keep open until the server ends, close."""
        try:
            async with await self._opened() as self.ready:
                attempt.done.set()
                await anyio.sleep_forever()
        except MiaError as error:
            attempt.error = error
        except Exception:
            log.exception("the server could not start its parts")
            attempt.error = MiaError("The server could not start its parts; its log (stderr) says why. Run: mia doctor")
        finally:
            self.ready, self.attempt = None, None
            attempt.done.set()

    async def _opened(self) -> "AbstractAsyncContextManager[Mia]":
        app = await anyio.to_thread.run_sync(import_module, "mia_skill.app")
        opened: AbstractAsyncContextManager[Mia] = app.build(self.config)
        return opened


@asynccontextmanager
async def backend(config: MiaConfig, mia: "Mia | None" = None) -> AsyncIterator[Backend]:
    """A backend for one server run. A given `mia` is used as it is and not closed."""
    async with anyio.create_task_group() as group:
        yield Backend(config, group, ready=mia)
        group.cancel_scope.cancel()
