"""Memory Manager: recall, compress a run into a workflow, consolidate, credit by id (spec sections 1, 2, 4)."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import anyio.to_thread

from mia_skill.agents.forms import WorkflowForm
from mia_skill.agents.quote import quote_run
from mia_skill.agents.workflow import compress, workflow_text
from mia_skill.core.chat import ChatModel, Message, asked_schema, parse_form
from mia_skill.core.errors import ConfigError, InputError, ModelError
from mia_skill.core.events import Event, Listener, silent
from mia_skill.core.picture import Picture
from mia_skill.core.prompts import load_prompt
from mia_skill.core.types import (
    Credit,
    MemoryUnit,
    Origin,
    Outcome,
    PlanPair,
    Provenance,
    Question,
    Text,
    Trajectory,
    Usage,
    Value,
)
from retrieval.bank import Bank, Consolidation, MemoryQuery, Recall, Stored

__all__ = ["Manager", "Run", "compress_messages", "select"]


CAPTION_WORDS = 50


class Run(Value):
    """One finished run of one question."""

    question: Question
    trajectory: Trajectory
    plan: Text = ""
    outcome: Outcome | None = None
    """None when nobody could judge it: kept as pending, shown to nobody, credits nobody."""
    memory_ids: tuple[str, ...] = ()
    """Units shown to its Planner."""
    judged_by: str = "none"
    namespace: str = "default"
    origins: tuple[Origin, ...] = (Origin.OWN_RUN,)


@dataclass(frozen=True)
class Manager:
    """The only writer of the bank. `model` compresses runs; without one it is done by rule."""

    bank: Bank
    model: ChatModel | None = None

    async def recall(self, query: MemoryQuery) -> Recall:
        """Units for a question, off the event loop."""
        return await anyio.to_thread.run_sync(self.bank.recall, query)

    async def compress(self, run: Run) -> tuple[str, Usage]:
        """The run's workflow, numbered and free of its facts.

        A model that fails or answers with no workflow does not lose the run: the rule takes its place.
        """
        ruled = workflow_text(compress(run.question.text, run.trajectory))
        if self.model is None:
            return ruled, Usage()
        try:
            schema = asked_schema(WorkflowForm)
            (reply,) = await self.model.complete(compress_messages(run), schema=schema)
            return workflow_text(parse_form(reply.text, WorkflowForm).steps), reply.usage
        except ModelError:
            return ruled, Usage(calls=1)

    async def caption(self, picture: Picture) -> tuple[str, Usage]:
        """What an image shows, in at most 50 words (paper 3.1).

        Raises:
            ConfigError: no model is configured.
            ModelError: the model failed, or takes no images; there is no caption.
        """
        if self.model is None:
            raise ConfigError("a caption needs a model that takes images: set models.manager, or give the caption")
        text = load_prompt("caption").text
        (reply,) = await self.model.complete((Message(role="user", content=text, images=(picture,)),))
        words = reply.text.split()
        return " ".join(words[:CAPTION_WORDS]), reply.usage

    async def consolidate(
        self, runs: Sequence[Run], *, listener: Listener = silent, rng: random.Random | None = None
    ) -> Stored:
        """Keep what can be learnt from the runs of ONE question: the shortest success, one failure, their plan pair,
        and credit for every unit shown; one transaction.

        Raises:
            InputError: no run, or runs of several questions, or nothing in them to remember.
            BankError: nothing was written.
        """
        if not runs or len({run.question.text for run in runs}) != 1:
            raise InputError("consolidate takes the runs of one question")
        kept = select(runs, rng or random.Random(0))
        await listener(Event(stage="store", message="compressing", done=0, total=len(kept)))
        units = []
        for run in kept:
            workflow, _ = await self.compress(run)
            if workflow:
                units.append(unit_of(run, workflow))
        if not units and not any(run.memory_ids for run in runs):
            raise InputError("there is nothing to remember: no step of this run brought anything back")
        change = Consolidation(units=tuple(units), pairs=pairs_of(kept), credits=credits_of(runs))
        await listener(Event(stage="store", message="writing", done=len(kept), total=len(kept)))
        return await anyio.to_thread.run_sync(partial(self.bank.consolidate, change))


def select(runs: Sequence[Run], rng: random.Random) -> tuple[Run, ...]:
    """The shortest success and one random failure (paper 3.4); pending runs when nothing else is there."""
    good = [run for run in runs if run.outcome is Outcome.CORRECT]
    bad = [run for run in runs if run.outcome is Outcome.INCORRECT]
    kept = [min(good, key=lambda run: len(run.trajectory.steps))] if good else []
    kept += [rng.choice(bad)] if bad else []
    return tuple(kept or runs[:1])


def pairs_of(kept: Sequence[Run]) -> tuple[PlanPair, ...]:
    """The Router's lesson, when there is both a plan that worked and one that failed."""
    plans = {run.outcome: run for run in kept if run.plan}
    good, bad = plans.get(Outcome.CORRECT), plans.get(Outcome.INCORRECT)
    if good is None or bad is None:
        return ()
    question = good.question
    return (
        PlanPair(
            question=question.text,
            good_plan=good.plan,
            bad_plan=bad.plan,
            caption=question.caption,
            modality=question.modality,
            category=question.category,
            namespace=good.namespace,
        ),
    )


def credits_of(runs: Sequence[Run]) -> tuple[Credit, ...]:
    """One credit per judged run and unit shown. An unjudged run credits nobody."""
    judged = [run for run in runs if run.outcome is not None]
    return tuple(
        Credit(unit_id=one, won=run.outcome is Outcome.CORRECT)
        for run in judged
        for one in dict.fromkeys(run.memory_ids)
    )


def unit_of(run: Run, workflow: str) -> MemoryUnit:
    """The memory unit of a run."""
    question = run.question
    sources = dict.fromkeys(p.url or p.id for step in run.trajectory.steps for p in step.passages)
    return MemoryUnit(
        question=question.text,
        caption=question.caption,
        modality=question.modality,
        category=question.category,
        workflow=workflow,
        plan=run.plan,
        outcome=run.outcome,
        namespace=run.namespace,
        steps=len(run.trajectory.steps),
        provenance=Provenance(
            origins=run.origins, parents=run.memory_ids, sources=tuple(sources)[:50], judged_by=run.judged_by
        ),
    )


def compress_messages(run: Run) -> tuple[Message, ...]:
    """What a compressing model reads: the run as quoted data."""
    text = load_prompt("compress").render(
        question=run.question.text, trajectory=quote_run(run.trajectory.steps, run.trajectory.answer)
    )
    return (Message(role="user", content=text),)
