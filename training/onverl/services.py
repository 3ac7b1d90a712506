"""Services outside the trainer: many rollouts share one connection pool, wait their turn, and wait out an outage.

A service that is down is not the policy's doing. The rollouts that need it stand still until it answers, so the run
pauses and says why; nothing is written into a trajectory. After `patience_s` they end without a sample.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import anyio

from mia_skill.agents.executor import Finder
from mia_skill.core.chat import ChatModel, Message, Reply
from mia_skill.core.errors import JudgeError, MiaError, ModelStatusError, ModelUnreachableError, SearchError
from mia_skill.core.types import Passage
from mia_skill.core.verdict import Case, Verdict
from training.onverl.settings import ServiceLimits
from trust.reference import Grader

__all__ = ["Patience", "PatientChat", "PatientFinder", "ReferenceJudge", "ServiceDown"]

T = TypeVar("T")
LOG = logging.getLogger("mia.training")
PASSING = frozenset({408, 429, 500, 502, 503, 504})


class ServiceDown(SearchError, ModelUnreachableError):
    """A service stayed down for longer than the run was ready to wait. No sample."""


@dataclass
class Patience:
    """The way to one service from one process. `say`, `sleep` and `clock` are seams for tests."""

    name: str
    limits: ServiceLimits
    say: Callable[[str], None] = LOG.warning
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep
    clock: Callable[[], float] = time.monotonic
    waited_s: float = 0.0
    """How long the run has stood still for this service."""
    _slots: anyio.Semaphore = field(init=False, repr=False)
    _door: anyio.Lock = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._slots = anyio.Semaphore(self.limits.calls)
        self._door = anyio.Lock()

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` brings. While the service is down one caller tries it; the others stand behind.

        Raises:
            ServiceDown: it did not come back within `patience_s`.
            MiaError: it answered, and refused this call.
        """
        async with self._slots:
            try:
                return await self._once(work)
            except MiaError as error:
                if not down(error):
                    raise
                failure = error
            async with self._door:
                return await self._insist(work, failure)

    async def _once(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            with anyio.fail_after(self.limits.call_s):
                return await work()
        except TimeoutError:
            message = f"{self.name} did not answer within {self.limits.call_s:g} s"
            raise SearchError(message, engine=self.name, kind="timeout") from None

    async def _insist(self, work: Callable[[], Awaitable[T]], failure: MiaError) -> T:
        began = self.clock()
        told = False
        while True:
            try:
                got = await self._once(work)
            except MiaError as error:
                if not down(error):
                    raise
                failure = error
            else:
                if told:
                    self.say(f"{self.name} answers again after {self.clock() - began:.0f} s: the run goes on")
                self.waited_s += self.clock() - began
                return got
            gone = self.clock() - began
            if gone >= self.limits.patience_s:
                raise ServiceDown(
                    f"{self.name} has been down for {gone:.0f} s: bring it back and resume the run. The last failure: "
                    f"{failure}",
                    engine=self.name,
                )
            if not told:
                self.say(
                    f"{self.name} is down, so the run pauses and tries it every {self.limits.pause_s:g} s for up to "
                    f"{self.limits.patience_s:g} s: {failure}"
                )
                told = True
            await self.sleep(max(self.limits.pause_s, getattr(failure, "retry_after_s", None) or 0.0))


def down(error: MiaError) -> bool:
    """Did the service fail, and not the call?"""
    if isinstance(error, ServiceDown):
        return False
    if isinstance(error, SearchError):
        return error.kind != "bad_request"
    return isinstance(error, ModelUnreachableError) or (isinstance(error, ModelStatusError) and error.status in PASSING)


@dataclass(frozen=True)
class PatientFinder:
    """A search service that is waited for."""

    finder: Finder
    patience: Patience

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """Raises: SearchError: the query is refused, or the service stayed down."""
        return await self.patience.call(lambda: self.finder.search(query, k))


@dataclass(frozen=True)
class PatientChat:
    """A chat endpoint that is waited for: the frozen agent, or the judge."""

    model: ChatModel
    patience: Patience

    @property
    def name(self) -> str:
        return self.model.name

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        n: int = 1,
    ) -> tuple[Reply, ...]:
        """Raises: ModelError: the endpoint refused the call, or stayed down."""
        return await self.patience.call(
            lambda: self.model.complete(
                messages, schema=schema, temperature=temperature, max_tokens=max_tokens, stop=stop, n=n
            )
        )


@dataclass(frozen=True)
class ReferenceJudge:
    """Compares with the gold answer; a model is asked where the words differ."""

    grader: Grader
    gold: tuple[str, ...]

    async def __call__(self, case: Case, /) -> Verdict:
        """Raises: JudgeError: no verdict. Never means "wrong"."""
        if not case.question:
            raise JudgeError("there is no question to judge", raw="")
        return await self.grader.grade(case.question, case.answer, self.gold)
