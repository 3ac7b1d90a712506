"""`Mia`: memory, planning, search and judgment behind a handful of verbs. Every caller uses this one object."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from mia_skill.agents.canaries import CanaryWatch
from mia_skill.agents.draws import Draws
from mia_skill.agents.episode import Crew, Episode, run_episode
from mia_skill.agents.explore import Exploration
from mia_skill.agents.forms import PlanForm, ReplanForm
from mia_skill.agents.ledger import Ledger
from mia_skill.agents.manager import Manager, Run, claimed, query_of, screened
from mia_skill.agents.outfit import captioned, executor_for, need, stream_for
from mia_skill.agents.planner import (
    Planner,
    plan_brief,
    plan_from_form,
    plan_messages,
    read_plan,
    read_replan,
    replan_brief,
    replan_from_form,
    replan_messages,
)
from mia_skill.agents.repeats import warned
from mia_skill.agents.results import Found, Judged, Planned, QueryResult, Replanned
from mia_skill.agents.sources import Source, Sources
from mia_skill.agents.stream import Record, Stream, unrecorded
from mia_skill.core.chat import ChatModel, Message
from mia_skill.core.config import MiaConfig, Role
from mia_skill.core.errors import InputError, MiaError, PlanError
from mia_skill.core.events import Event, Listener, silent
from mia_skill.core.redact import redact, without_secrets
from mia_skill.core.types import Credit, Feedback, MemoryUnit, Outcome, Passage, Plan, Question, Step, Usage
from mia_skill.core.verdict import Case, Verdict
from retrieval.bank import Bank, Consolidation, MemoryQuery, Recall, Stored, UnitPage
from retrieval.gate import Trial
from trust.canary import RateAlarm
from trust.evidence import examine
from trust.panel import JudgeForm, Panel, from_form, judge_brief
from trust.process import signals
from trust.receipt import Notary

if TYPE_CHECKING:
    from retrieval.images import ImageQuery
    from retrieval.visit import Page

__all__ = ["Mia", "Source", "Sources"]


@dataclass(frozen=True)
class Mia:
    """One running instance: memory, planning, search and judgment behind a handful of verbs."""

    config: MiaConfig
    bank: Bank
    manager: Manager
    sources: Sources = field(default_factory=Sources)
    models: dict[Role, ChatModel] = field(default_factory=dict)
    ledger: Ledger = field(default_factory=Ledger)
    notary: Notary = field(default_factory=Notary)
    alarm: RateAlarm = field(default_factory=RateAlarm)
    watch: CanaryWatch | None = None
    """Of the judge, where canaries are configured."""

    @property
    def draws(self) -> Draws:
        """What the gate drew, over restarts too."""
        return Draws(self.bank, self.ledger)

    # -- memory -----------------------------------------------------------------------------------------------

    async def recall(self, question: Question, *, namespace: str | None = None, **limits: object) -> Recall:
        """Successes and failures on similar questions, or "nothing relevant". `limits` are fields of `MemoryQuery`."""
        query = self.query(question, namespace=namespace, **limits)
        recall = await self.manager.recall(query)
        self.ledger.show(question.text, (hit.unit.id for hit in recall.hits), namespace=query.namespace)
        if recall.draw is not None:
            await self.draws.keep(question.text, recall.draw, namespace=query.namespace)
        return recall

    def query(self, question: Question, *, namespace: str | None = None, **limits: object) -> MemoryQuery:
        """What to ask the bank for a question: the configured limits, then `limits` that are not None."""
        memory = self.config.memory
        chance: dict[str, object] = {
            "namespace": namespace or memory.namespace,
            "task": question.id,
            "about": question.category,
            "withhold": memory.withhold,
            "seed": memory.withhold_seed,
        }
        return query_of(question, memory, **chance | {name: one for name, one in limits.items() if one is not None})

    async def store(self, run: Run, *, receipt: str = "", listener: Listener = silent) -> Stored:
        """Keep one finished run: compress, consolidate and credit the units shown, in one transaction.

        Its outcome is the one of the `receipt`, which is used up. An outcome without a receipt is somebody's claim:
        the run is kept in quarantine, and credits nobody.

        Raises:
            ReceiptError: the receipt is no good for this run; nothing was written.
        """
        if not receipt:
            return await self._store(claimed(run), listener)
        with self.notary.honoured(receipt, run.case) as known:
            run = run.model_copy(update={"outcome": known.outcome, "judged_by": known.backend})
            return await self._store(run, listener)

    async def _store(self, run: Run, listener: Listener) -> Stored:
        seen = self.ledger.shown(run.question.text, namespace=run.namespace)
        draw = run.draw or await self.draws.take(run.question.text, namespace=run.namespace)
        told = {
            "memory_ids": () if run.claim else run.memory_ids or seen or (draw.shown if draw else ()),
            # Whoever leaves out what was shown cannot hide that the run was made in its sight.
            "seen": tuple(dict.fromkeys((*run.memory_ids, *run.seen, *seen))),
            "draw": None if run.claim else draw,
        }
        unsettled = run.outcome is None or run.claim
        run = run.model_copy(update=told)
        stored = await self.manager.consolidate((run,), listener=listener)
        if unsettled and draw is not None:
            await self.draws.wait(stored.unit_ids, draw)
        return stored

    async def add(self, unit: MemoryUnit) -> Stored:
        """Keep a unit as it is: an import, or one written by hand."""
        return await anyio.to_thread.run_sync(
            self.bank.consolidate, Consolidation(units=(screened(without_secrets(unit)),))
        )

    async def feedback(self, unit_id: str, good: bool, note: str = "") -> MemoryUnit:
        """A user's word about a unit: sets its outcome. A run that waited for it credits now what it was shown."""
        outcome = Outcome.CORRECT if good else Outcome.INCORRECT
        spoken = Feedback(good=good, note=redact(note))
        unit = await anyio.to_thread.run_sync(partial(self.bank.feedback, unit_id, spoken, outcome))
        draw = await self.draws.take_waiting(unit_id)
        if draw is not None:
            change = Consolidation(
                credits=tuple(Credit(unit_id=one, won=good) for one in draw.shown),
                trials=(Trial(draw=draw, won=good, judged_by="user"),),
            )
            await anyio.to_thread.run_sync(self.bank.consolidate, change)
        return unit

    async def units(self, **filters: object) -> UnitPage:
        """A page of units; filters are those of `Bank.list`."""
        return await anyio.to_thread.run_sync(partial(self.bank.list, **filters))  # type: ignore[arg-type]

    async def unit(self, unit_id: str) -> MemoryUnit:
        """One unit.

        Raises:
            UnknownIdError: there is none with this id.
        """
        return await anyio.to_thread.run_sync(self.bank.get, unit_id)

    async def meant(self, given: str) -> str:
        """The whole id of the unit that `given` is, or abbreviates.

        Raises:
            UnknownIdError, AmbiguousIdError: it is none, or may be several.
        """
        return await anyio.to_thread.run_sync(self.bank.meant, given)

    async def forget(self, unit_ids: Sequence[str]) -> int:
        """Delete units for good; all of them or, when one is unknown, none."""
        return await anyio.to_thread.run_sync(self.bank.forget, tuple(unit_ids))

    # -- planning ---------------------------------------------------------------------------------------------

    async def plan_request(self, question: Question, *, mark: str, namespace: str | None = None) -> tuple[Message, ...]:
        """What a borrowed planning model is to read. Renders alike for the same bank and mark."""
        return plan_messages(question, await self.recall(question, namespace=namespace), mark=mark)

    async def plan(
        self, question: Question, *, form: PlanForm | None = None, draft: str | None = None, **recall: object
    ) -> Planned:
        """A plan from whoever can write one: the filled-in `form`, a borrowed model's `draft`, the endpoint, or,
        with none of these, a brief for the host agent.

        Raises:
            ModelError, PlanError: the model failed; there is no plan.
        """
        recalled = await self.recall(question, **recall)  # type: ignore[arg-type]
        usage = Usage()
        if form is not None:
            plan = plan_from_form(form, recalled, brain="host")
        elif draft is not None:
            plan = read_plan(draft, recalled, brain="host")
        elif "planner" in self.models:
            plan, usage = await Planner(self.models["planner"]).plan(question, recalled)
        else:
            return Planned(status="brief", recall=recalled, brief=plan_brief(question, recalled))
        return Planned(
            status="plan", recall=recalled, plan=plan, warnings=warned(question.text, plan, recalled), usage=usage
        )

    def replan_request(
        self, question: Question, plan: str, steps: Sequence[Step], answer: str, *, mark: str
    ) -> tuple[Message, ...]:
        """What a borrowed reflecting model is to read."""
        return replan_messages(question, plan, steps, answer, signals(question.text, steps, answer), mark=mark)

    async def replan(
        self,
        question: Question,
        plan: str,
        steps: Sequence[Step],
        answer: str = "",
        *,
        form: ReplanForm | None = None,
        draft: str | None = None,
        namespace: str | None = None,
    ) -> Replanned:
        """Whether a run needs a new plan, and the new plan; signals found without a model come along always.

        Raises:
            ModelError, PlanError: the model failed; nothing was decided.
        """
        found = signals(question.text, steps, answer)
        shown = self.ledger.shown(question.text, namespace=namespace or self.config.memory.namespace)
        usage = Usage()
        if form is not None:
            decision = replan_from_form(form, shown, brain="host")
        elif draft is not None:
            decision = read_replan(draft, shown, brain="host")
        elif "planner" in self.models:
            before = Plan(steps=tuple(plan.splitlines()) or ("(no plan)",), memory_ids=shown)
            decision, usage = await Planner(self.models["planner"]).replan(question, before, steps, answer, found)
        else:
            return Replanned(status="brief", signals=found, brief=replan_brief(question, plan, found))
        return Replanned(status="decided", signals=found, replan=decision, usage=usage)

    # -- search and judgment ----------------------------------------------------------------------------------

    async def search(
        self,
        queries: Sequence[str],
        *,
        k: int | None = None,
        source: Source = "auto",
        listener: Listener = silent,
    ) -> Found:
        """Several queries at once. A query that fails carries its error; the others keep their results.

        Raises:
            InputError: no such source is configured, or there is no query.
        """
        if not queries:
            raise InputError("search needs at least one query")
        engine = self.sources.pick(source)
        results: list[QueryResult] = [QueryResult(query=query) for query in queries]

        async def one(position: int, query: str) -> None:
            try:
                passages = await engine.search(query, k or self.config.search.k)
                self.ledger.keep(passages)
                results[position] = QueryResult(query=query, passages=passages)
            except MiaError as error:
                results[position] = QueryResult(query=query, error=str(error))
            await listener(Event(stage="search", message=query))

        async with anyio.create_task_group() as group:
            for position, query in enumerate(queries):
                group.start_soon(one, position, query)
        return Found(source=engine.name, results=tuple(results))

    async def visit(self, what: str, *, question: str = "", start: int = 0, max_chars: int | None = None) -> "Page":
        """A page by its address, or a passage of the corpus in full by its id; what is shown can be judged later.

        Raises:
            InputError, VisitError: it cannot be had; the message says why.
        """
        room = max_chars or self.config.visit.max_chars
        page = await self.sources.open(what, question=question, start=start, max_chars=room)
        self.ledger.keep(page.passages)
        return page

    async def image_search(
        self, query: "ImageQuery", *, question: str = "", caller: str = "local"
    ) -> tuple[Passage, ...]:
        """What similar images are about; once per caller and question where `images.once` says so.

        Raises:
            UsedUpError: it was searched for this question before.
            InputError, SearchError: it cannot be searched.
        """
        asked = f"{caller}: {question or query.digest}"
        with self.ledger.once("image_search", asked) if self.config.images.once else nullcontext():
            found = await self.sources.similar(query, self.config.images.k)
        self.ledger.keep(found)
        return found

    async def judge(self, case: Case, *, form: JudgeForm | None = None, listener: Listener = silent) -> Judged:
        """Is the answer supported? Evidence checks always; the panel where a judge model is configured; else a
        brief with which the host's model can review, its citations checked by us.

        Raises:
            JudgeError, ModelError: the panel gave no verdict. Never means "wrong".
        """
        await listener(Event(stage="judge", message="checking the evidence"))
        examined = await anyio.to_thread.run_sync(examine, case, self.config.trust.precision)
        brief = None
        if form is not None:
            verdict = from_form(case, examined, form, self.config.trust)
        elif "judge" in self.models:
            verdict = await Panel(self.models["judge"], self.config.trust).judge(case, listener)
        else:
            verdict, brief = examined, judge_brief(case, examined)
        if odd := self.alarm.saw(verdict.label):
            await listener(Event(stage="judge", message=odd))
        if self.watch is not None and form is None:
            await self.watch.judged()
        return Judged(verdict=verdict, brief=brief, receipt=self.notary.issue(case, verdict))

    # -- the whole agent --------------------------------------------------------------------------------------

    async def ask(
        self,
        question: Question,
        *,
        image: "ImageQuery | None" = None,
        store: bool = True,
        namespace: str | None = None,
        listener: Listener = silent,
    ) -> Episode:
        """One whole episode with the configured models; then, unless told otherwise, what it taught is stored.

        An `image` without a caption gets one from the manager's model; the caption is recalled by (0.8 / 0.2), and
        the Executor may search for the image once.

        Raises:
            ConfigError: no model endpoint is configured.
            MiaError: a part failed; nothing is stored and nothing counts as wrong.
        """
        need(self, "`ask`", "planner", "executor")
        question, spent = await captioned(self.manager, question, image)
        crew = Crew(
            manager=self.manager,
            planner=Planner(self.models["planner"]),
            executor=executor_for(self, question, image),
            judge=self.verdict,
        )
        query = self.query(question, namespace=namespace)
        episode = await run_episode(question, crew, query, self.config.budget, listener=listener)
        episode = episode.model_copy(update={"usage": episode.usage + spent})
        if store and episode.trajectory.steps:
            run = episode.run.model_copy(update={"namespace": query.namespace})
            receipt = self.notary.issue(run.case, episode.verdict) if episode.verdict else ""
            await self.store(run, receipt=receipt, listener=listener)
        return episode

    async def explore(self, question: Question, *, width: int = 4, namespace: str | None = None) -> Exploration:
        """`width` plans for one question: the Router picks one, its answer counts; then all others are carried out
        too and judged, and what they taught is stored.

        Raises:
            ConfigError: a model is missing.
            PlanError: a part failed; nothing is stored.
        """
        told = await self.stream(width=width, namespace=namespace).batch((question,))
        if not told:
            raise PlanError("the question has no sample: a model or a tool failed", raw="")
        return told[0]

    def stream(
        self, record: Record = unrecorded, *, width: int = 4, namespace: str | None = None, parallel: int = 16
    ) -> Stream:
        """A stream of questions: each is answered with what was learnt before it, recorded, and then learnt from.

        Raises:
            ConfigError: a model is missing.
        """
        return stream_for(self, record, width, namespace, parallel)

    async def verdict(self, case: Case, /) -> Verdict:
        """`judge`, for an episode."""
        return (await self.judge(case)).verdict

    async def aclose(self) -> None:
        """Give back connections and files."""
        for one in {id(one): one for one in self.models.values()}.values():
            close = getattr(one, "aclose", None)
            if close is not None:
                await close()
        await self.sources.aclose()
        await anyio.to_thread.run_sync(self.bank.close)
