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
from mia_skill.core.config import MemoryConfig
from mia_skill.core.errors import ConfigError, InputError, ModelError
from mia_skill.core.events import Event, Listener, silent
from mia_skill.core.picture import Picture
from mia_skill.core.prompts import fence, load_prompt
from mia_skill.core.redact import without_secrets
from mia_skill.core.types import (
    Credit,
    MemoryUnit,
    Origin,
    Outcome,
    PlanPair,
    Provenance,
    Question,
    Step,
    Text,
    Trajectory,
    Usage,
    Value,
)
from mia_skill.core.verdict import Case
from retrieval.bank import Bank, Consolidation, MemoryQuery, Recall, Stored
from retrieval.gate import Draw, Trial
from retrieval.generalise import covered, generalised, shapes
from trust.guard import scan

__all__ = ["Manager", "Run", "claimed", "compress_messages", "query_of", "screened", "select"]

TRAIL = 30
"""Tool calls of a run that its unit lists."""
GENERAL = 8
"""Workflows that a generalising model is shown."""
PAGE = 500
LIMITS = ("k_success", "k_failure", "min_similarity", "min_relevance", "max_tokens")
"""Settings of `memory` that are fields of a `MemoryQuery` under the same name."""
CLAIM = "claim"
"""In `judged_by`: nobody judged; a host said so."""


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
    seen: tuple[str, ...] = ()
    """Units that came into its sight, credited or not: the lineage counts them all."""
    draw: Draw | None = None
    """What the gate did for it."""
    judged_by: str = "none"
    namespace: str = "default"
    origins: tuple[Origin, ...] = (Origin.OWN_RUN,)

    @property
    def case(self) -> Case:
        """What there is to judge in it."""
        question = self.question
        return Case(
            question=question.text,
            answer=self.trajectory.answer,
            steps=self.trajectory.steps,
            caption=question.caption,
        )

    @property
    def claim(self) -> bool:
        """Its outcome is what somebody says, not what a judgment found."""
        return self.judged_by == CLAIM


@dataclass(frozen=True)
class Manager:
    """The only writer of the bank. `model` compresses runs; without one it is done by rule."""

    bank: Bank
    model: ChatModel | None = None
    watched: frozenset[str] = frozenset()
    """Judges on probation: what their verdicts teach waits in the bank for their canaries."""

    async def recall(self, query: MemoryQuery) -> Recall:
        """Units for a question, off the event loop."""
        return await anyio.to_thread.run_sync(self.bank.recall, query)

    async def compress(self, run: Run) -> tuple[str, Usage]:
        """The run's workflow, numbered and free of its facts.

        A model that fails or answers with no workflow does not lose the run: the rule takes its place.
        """
        # What memory itself returned is no finding of this run.
        found = tuple(step for step in run.trajectory.steps if not step.tool.startswith("memory"))
        run = run.model_copy(update={"trajectory": run.trajectory.model_copy(update={"steps": found})})
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
        runs = [without_secrets(run) for run in runs]
        kept = select(runs, rng or random.Random(0))
        await listener(Event(stage="store", message="compressing", done=0, total=len(kept)))
        units = []
        for run in kept:
            workflow, _ = await self.compress(run)
            if workflow:
                units.append(screened(unit_of(run, workflow)))
        if not units and not any(run.memory_ids or run.draw for run in runs):
            raise InputError("there is nothing to remember: no step of this run brought anything back")
        change = Consolidation(
            units=tuple(units),
            pairs=pairs_of(kept),
            credits=credits_of(runs),
            trials=trials_of(runs),
            judge=min({run.judged_by for run in runs if run.outcome is not None} & self.watched, default=""),
        )
        await listener(Event(stage="store", message="writing", done=len(kept), total=len(kept)))
        return await anyio.to_thread.run_sync(partial(self.bank.consolidate, change))

    async def generalise(self, namespace: str, *, dry_run: bool = False) -> tuple[MemoryUnit, ...]:
        """One workflow for every group of successes of one shape that has none yet; the members stay.

        Raises:
            BankError: nothing was written.
        """
        units = await anyio.to_thread.run_sync(partial(successes, self.bank, namespace))
        groups = [group for group in shapes(units) if not covered(group, units)]
        made = tuple([generalised(group, workflow=await self._general(group)) for group in groups])
        if made and not dry_run:
            change = Consolidation(units=made, merge=False)
            await anyio.to_thread.run_sync(partial(self.bank.consolidate, change))
        return made

    async def _general(self, group: Sequence[MemoryUnit]) -> str | None:
        """The model's workflow for a group; None without a model, or where it gave none: the rule takes its place."""
        if self.model is None:
            return None
        try:
            (reply,) = await self.model.complete(generalise_messages(group), schema=asked_schema(WorkflowForm))
            return workflow_text(parse_form(reply.text, WorkflowForm).steps)
        except ModelError:
            return None


def generalise_messages(group: Sequence[MemoryUnit]) -> tuple[Message, ...]:
    """What a generalising model reads: the workflows as quoted data."""
    shown = "\n\n".join(f"question: {unit.question}\nworkflow:\n{unit.workflow}" for unit in group[:GENERAL])
    text = load_prompt("generalise").render(workflows=fence("workflows", shown))
    return (Message(role="user", content=text),)


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


def query_of(question: Question, memory: MemoryConfig, **more: object) -> MemoryQuery:
    """What to ask a bank for a question, with the configured limits; `more` are fields of `MemoryQuery`."""
    asked = {name: getattr(memory, name) for name in LIMITS}
    asked |= {"text": question.text, "caption": question.caption, "modality": question.modality}
    return MemoryQuery.model_validate(asked | more)


def claimed(run: Run) -> Run:
    """A run that comes without a receipt: an outcome it brings is a claim of another agent, which the bank
    quarantines."""
    if run.outcome is None:
        return run.model_copy(update={"judged_by": "none"})
    origins = tuple(dict.fromkeys((*run.origins, Origin.OTHER_AGENT)))
    return run.model_copy(update={"judged_by": CLAIM, "origins": origins})


def credits_of(runs: Sequence[Run]) -> tuple[Credit, ...]:
    """One credit per judged run and unit shown. An unjudged run credits nobody."""
    judged = [run for run in runs if run.outcome is not None]
    return tuple(
        Credit(unit_id=one, won=run.outcome is Outcome.CORRECT)
        for run in judged
        for one in dict.fromkeys(run.memory_ids)
    )


def trials_of(runs: Sequence[Run]) -> tuple[Trial, ...]:
    """The outcome of each judged run whose arm was drawn."""
    return tuple(
        Trial(draw=run.draw, won=run.outcome is Outcome.CORRECT, judged_by=run.judged_by)
        for run in runs
        if run.draw is not None and run.outcome is not None
    )


def screened(unit: MemoryUnit) -> MemoryUnit:
    """The unit, or one whose origins say that somebody else speaks in it: its text tries to steer its reader, which
    no workflow of ours does. The bank quarantines it."""
    found = [one for text in (unit.question, unit.workflow) for one in scan(text, unit.id)]
    if not any(one.severity == "high" for one in found):  # a workflow may well say what its answer should look like
        return unit
    origins = tuple(dict.fromkeys((*unit.provenance.origins, Origin.OTHER_AGENT)))
    return unit.model_copy(update={"provenance": unit.provenance.model_copy(update={"origins": origins})})


def trail_of(steps: Sequence[Step]) -> tuple[str, ...]:
    """What a run did, a line a tool call, for whoever traces its unit."""
    return tuple(
        f"{step.tool}: {step.query[:200]} -> {', '.join(passage.id for passage in step.passages) or 'nothing kept'}"
        for step in steps[:TRAIL]
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
            origins=run.origins,
            parents=tuple(dict.fromkeys((*run.memory_ids, *run.seen))),
            sources=tuple(sources)[:50],
            judged_by=run.judged_by,
            trail=trail_of(run.trajectory.steps),
        ),
    )


def successes(bank: Bank, namespace: str) -> list[MemoryUnit]:
    """All units of a namespace that went well, oldest first."""
    found: list[MemoryUnit] = []
    cursor: str | None = None
    while True:
        page = bank.list(namespace=namespace, outcome=Outcome.CORRECT, limit=PAGE, cursor=cursor)
        found += page.units
        cursor = page.next_cursor
        if cursor is None:
            return found[::-1]


def compress_messages(run: Run) -> tuple[Message, ...]:
    """What a compressing model reads: the run as quoted data."""
    text = load_prompt("compress").render(
        question=run.question.text, trajectory=quote_run(run.trajectory.steps, run.trajectory.answer)
    )
    return (Message(role="user", content=text),)
