"""Canaries for a judge: between its judgments, cases whose verdict is known are put before it like any other case.

What they show goes to whoever keeps the judge's standing: the bank, which holds what the judge's verdicts teach until
the canaries prove it (`retrieval.probation`), or a streaming trainer.
"""

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import anyio
import anyio.to_thread

from mia_skill.agents.explore import Judging
from mia_skill.core.errors import JudgeError, ModelError
from mia_skill.core.types import Question
from mia_skill.core.verdict import Case, Verdict
from retrieval.gate import chance
from retrieval.standing import Standing
from trust.canary import Canary

__all__ = ["ALARM_SHARE", "CanaryWatch", "believed", "watched"]

ALARM_SHARE = 0.5
"""Under an alarm verdicts teach nothing, so more of the judge's time goes into finding out when it is over."""


@dataclass
class CanaryWatch:
    """Flies canaries past one judge."""

    ask: Callable[[Case], Awaitable[Verdict]]
    """The judge, as it judges everything."""
    tell: Callable[[str, bool], Standing]
    """(backend of the verdict, was it right) to the judge's standing: `Bank.canary`."""
    cases: Sequence[Canary]
    share: float = 0.1
    """Canaries a judgment, by chance: at fixed places a judge could tell them from the rest."""
    patience_s: float = math.inf
    """After as long without a canary the next judgment gets one: where few judgments are made, little waits long."""
    seed: int = 0
    clock: Callable[[], float] = time.monotonic
    standing: Standing = field(default_factory=Standing)
    flown: int = 0
    _judged: int = 0
    _vouched: int = 0
    _last: float = field(init=False)
    _alone: anyio.Lock = field(default_factory=anyio.Lock, repr=False)

    def __post_init__(self) -> None:
        self._last = self.clock()

    async def judged(self) -> None:
        """One more judgment was made: maybe a canary follows it."""
        self._judged += 1
        share = ALARM_SHARE if self.standing.alarm else self.share
        drawn = chance(self.seed, "canary", str(self._judged)) < share
        if drawn or self.clock() - self._last > self.patience_s:
            await self.fly()

    async def fly(self) -> bool:
        """One canary; False when the judge was out, which says nothing about its verdicts."""
        async with self._alone:
            number = self.flown + 1
            canary = self.cases[int(chance(self.seed, "case", str(number)) * len(self.cases))]
            try:
                verdict = await self.ask(canary.case)
            except (JudgeError, ModelError):
                return False
            self.flown, self._last = number, self.clock()
            right = verdict.label in canary.allowed
            self.standing = await anyio.to_thread.run_sync(self.tell, verdict.backend, right)
            return True

    async def vouch(self) -> bool:
        """May what was judged since the last call move weights? Not without a canary since then, nor while anything
        speaks against the judge."""
        if self.flown == self._vouched and not await self.fly():
            return False
        self._vouched = self.flown
        return self.standing.clear


def watched(judge: Judging, watch: CanaryWatch) -> Judging:
    """The judge, with canaries after some of its judgments."""

    async def judged(question: Question, case: Case, /) -> Verdict:
        verdict = await judge(question, case)
        await watch.judged()
        return verdict

    return judged


async def believed() -> bool:
    """For a judge that nobody watches."""
    return True
