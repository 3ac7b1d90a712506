"""A student of test-time learning whose Planner is the policy that learns; the Executor is frozen."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from mia_skill.agents.episode import Crew, reflect
from mia_skill.agents.executor import Executor, Finder
from mia_skill.agents.planner import Planner
from mia_skill.core.budget import Meter
from mia_skill.core.chat import ChatModel
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import PlanError
from mia_skill.core.events import silent
from mia_skill.core.types import Question
from retrieval.bank import Recall
from training.policy import TokenPolicy
from training.replies import tokens_of
from training.rollout import Preset
from training.ttl import Attempt, Draft, gathered

__all__ = ["AgentStudent"]


@dataclass
class AgentStudent:
    """Plays the episode that serves users, one plan at a time."""

    planner: Callable[[], TokenPolicy]
    """A fresh pen of the policy that is current."""
    executor: Callable[[], ChatModel]
    finder: Finder
    limits: BudgetConfig
    k: int = 1
    searches: int = 0
    written: int = 0
    """Searches made and tokens written so far by Planner and Executor: what right answers cost."""
    _pens: dict[int, TokenPolicy] = field(default_factory=dict, init=False, repr=False)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count, init=False, repr=False)

    async def plans(self, question: Question, recall: Recall, n: int) -> tuple[Draft, ...]:
        """`n` plans at once. What is no plan is kept as a reply that earns nothing."""
        return tuple(await gathered([self._plan(question, recall) for _ in range(n)]))

    async def _plan(self, question: Question, recall: Recall) -> Draft:
        pen, number = self.planner(), next(self._numbers)
        try:
            plan, usage = await Planner(pen).plan(question, recall)
            self.written += usage.completion_tokens
        except PlanError:
            return Draft(tokens=tokens_of(pen.conversations))
        self._pens[number] = pen
        return Draft(plan=plan, number=number, tokens=tokens_of(pen.conversations))

    async def attempt(self, question: Question, draft: Draft) -> Attempt:
        """Carry one plan out and reflect once. A reflection that cannot be read changes nothing, and costs the form.

        Raises:
            ModelError: a model failed: no sample.
            PlanError: there is no plan to carry out.
        """
        if draft.plan is None:
            raise PlanError("there is no plan to carry out", raw="")
        pen, spent = self._pens.pop(draft.number), Meter(self.limits)
        executor = Executor(self.executor(), self.finder, self.k)
        first = await executor.run(question, draft.plan, spent)
        crew = Crew(manager=Preset(Recall()), planner=Planner(pen), executor=executor)
        try:
            decision, run = await reflect(question, crew, draft.plan, first, spent, silent)
            read = True
        except PlanError:
            decision, run, read = None, first, False
        new = decision.plan if decision else None
        self.searches += len(run.steps)
        self.written += spent.usage.completion_tokens
        return Attempt(
            plan=new or draft.plan,
            trajectory=run,
            first_answer=first.answer,
            replanned=new is not None,
            format_ok=read and not any(talk.cut for talk in pen.conversations),
            tokens=tokens_of(pen.conversations),
        )
