"""A student of test-time learning whose Planner is the policy that learns; the Executor is frozen."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from mia_skill.agents.episode import Crew, reflect
from mia_skill.agents.executor import Executor, Finder
from mia_skill.agents.explore import Attempt
from mia_skill.agents.planner import Planner
from mia_skill.core.budget import Meter
from mia_skill.core.chat import ChatModel
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import PlanError
from mia_skill.core.events import silent
from mia_skill.core.types import Plan, Question
from retrieval.bank import Recall
from training.groups import Tokens
from training.policy import TokenPolicy
from training.replies import tokens_of
from training.rollout import Preset

__all__ = ["TokenStudent", "WrittenPlan"]


class WrittenPlan(Plan):
    """A plan that knows who wrote it."""

    number: int
    """Of its pen."""


@dataclass
class TokenStudent:
    """Plays the episode that serves users, one plan at a time, and keeps what the Planner wrote (`training.ttl.Talks`)
    until it is asked for."""

    planner: Callable[[], TokenPolicy]
    """A fresh pen of the policy that is current."""
    executor: Callable[[], ChatModel]
    finder: Finder
    limits: BudgetConfig
    k: int = 1
    served: Callable[[], TokenPolicy] | None = None
    """A pen for the first plan of a question, where that is to be the likeliest one instead of a sample: it is answered
    with, judged and remembered, and moves no weight."""
    room: int | None = None
    """Tokens that a conversation of the Executor may have before it is told shorter; None: as many as it gets."""
    searches: int = 0
    written: int = 0
    """Searches made and tokens written so far by Planner and Executor: what right answers cost."""
    _pens: dict[int, TokenPolicy] = field(default_factory=dict, init=False, repr=False)
    _unread: set[int] = field(default_factory=set, init=False, repr=False)
    _likeliest: set[int] = field(default_factory=set, init=False, repr=False)
    _spoilt: dict[str, list[tuple[Tokens, ...]]] = field(default_factory=dict, init=False, repr=False)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count, init=False, repr=False)

    async def plans(self, question: Question, recall: Recall, n: int) -> tuple[Plan, ...]:
        """At most `n` plans, written at once; the first is the one to serve.

        Raises:
            ModelError: the sampler failed.
            PlanError: no reply was a plan.
        """
        pens = [self.planner() if at or self.served is None else self.served() for at in range(n)]
        sampled = [at > 0 or self.served is None for at in range(n)]
        made = await asyncio.gather(*(self._plan(question, recall, *one) for one in zip(pens, sampled, strict=True)))
        plans = tuple(plan for plan in made if plan is not None)
        if not plans:
            self._spoilt.pop(question.text, None)
            raise PlanError(f"none of {n} replies was a plan", raw="")
        return plans

    async def _plan(self, question: Question, recall: Recall, pen: TokenPolicy, sampled: bool) -> Plan | None:
        number = next(self._numbers)
        try:
            plan, usage = await Planner(pen).plan(question, recall)
        except PlanError:
            if sampled:
                self._spoilt.setdefault(question.text, []).append(tokens_of(pen.conversations))
            return None
        if not sampled:
            self._likeliest.add(number)
        self.written += usage.completion_tokens
        self._pens[number] = pen
        return WrittenPlan(**plan.model_dump(), number=number)

    async def attempt(self, question: Question, plan: Plan) -> Attempt:
        """Carry one plan out and reflect once. A reflection that cannot be read changes nothing, and costs the form.

        Raises:
            ModelError, ToolOutage: a model or a tool failed: no sample.
            PlanError: somebody else wrote the plan.
        """
        pen, spent = self._pen(plan), Meter(self.limits)
        executor = Executor(self.executor(), self.finder, self.k, room=self.room)
        first = await executor.run(question, plan, spent)
        crew = Crew(manager=Preset(Recall()), planner=Planner(pen), executor=executor)
        try:
            decision, run = await reflect(question, crew, plan, first, spent, silent)
        except PlanError:
            decision, run = None, first
            self._unread.add(number_of(plan))
        self.searches += len(run.steps)
        self.written += spent.usage.completion_tokens
        changed = decision is not None and decision.plan is not None
        return Attempt(plan=plan, trajectory=run, first_answer=first.answer, replanned=changed, usage=spent.usage)

    def _pen(self, plan: Plan) -> TokenPolicy:
        pen = self._pens.get(number_of(plan))
        if pen is None:
            raise PlanError("this plan was not written here, or was learnt from already", raw=plan.text)
        return pen

    def of(self, plan: Plan) -> tuple[Tokens, ...]:
        """The conversations behind a plan, given once."""
        pen = self._pens.pop(number_of(plan), None)
        self._unread.discard(number_of(plan))
        self._likeliest.discard(number_of(plan))
        return tokens_of(pen.conversations) if pen else ()

    def well_formed(self, plan: Plan) -> bool:
        """Was its reflection read, and nothing cut off?"""
        pen = self._pens.get(number_of(plan))
        cut = pen is not None and any(talk.cut for talk in pen.conversations)
        return number_of(plan) not in self._unread and not cut

    def sampled(self, plan: Plan) -> bool:
        """Was it drawn from the policy, so that weights may learn from it?"""
        return number_of(plan) not in self._likeliest

    def spoilt(self, question: Question) -> tuple[tuple[Tokens, ...], ...]:
        """The replies that were no plan, given once."""
        return tuple(self._spoilt.pop(question.text, ()))


def number_of(plan: Plan) -> int:
    return plan.number if isinstance(plan, WrittenPlan) else -1
