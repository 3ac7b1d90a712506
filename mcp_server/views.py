"""What the tools return: small, typed, and the same for all three brains."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, WithJsonSchema

from mcp_server.listing import slim
from mcp_server.result import View
from mia_skill.core.brief import Brief
from mia_skill.core.types import MemoryUnit, Status

if TYPE_CHECKING:
    from mcp_server.jobs import Job
    from mia_skill.agents.episode import Episode
    from retrieval.bank import Hit

__all__ = [
    "BriefView",
    "ForgotView",
    "FoundView",
    "Handed",
    "HandleView",
    "JobView",
    "MemoryView",
    "PageView",
    "PlannedView",
    "RatedView",
    "RecalledView",
    "ReplannedView",
    "ResearchView",
    "SeenView",
    "StoredView",
    "VisitedView",
    "brief_view",
    "job_view",
    "listed_memory",
    "memory_view",
    "recalled_memory",
    "research_view",
    "state",
]

State = Literal["correct", "incorrect", "pending"]
ASK_LESS = "lower k, or read one memory whole with memory_show"


class BriefView(View):
    """A step for the reader's own model."""

    instructions: str
    data: str = ""
    checks: tuple[str, ...] = ()
    form: dict[str, Any] = Field(default_factory=dict)
    submit_with: str


Handed = Annotated[BriefView | None, WithJsonSchema({"type": "object"})]
"""A brief; its fields are told by the brief itself, not by three schemas in the listing."""


class RecalledMemory(View):
    """A memory that fits a question."""

    id: str
    outcome: State
    question: str
    workflow: str
    score: float
    similarity: float
    why: str = ""
    quarantined: bool = False


class RecalledView(View):
    """Memories for a question."""

    more: ClassVar[str] = ASK_LESS
    memories: tuple[RecalledMemory, ...]
    note: str = ""


class ListedMemory(View):
    """A memory in one line."""

    id: str
    outcome: State
    question: str


class MemoryView(ListedMemory):
    """One remembered run, whole."""

    workflow: str
    plan: str = ""
    uses: int = 0
    wins: int = 0
    origins: tuple[str, ...] = ()
    judged_by: str = ""
    status: str = ""
    created: str = ""
    feedback: tuple[str, ...] = ()


class RatedView(View):
    """A memory after a user's word on it."""

    id: str
    outcome: State
    uses: int
    wins: int


class PlannedView(View):
    """A plan, or a brief."""

    status: Literal["plan", "brief"]
    steps: tuple[str, ...] = ()
    memory_ids: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    written_by: str = ""
    brief: Handed = None


class SignalView(View):
    """Something found in a run without any model."""

    name: str
    detail: str = ""


class ReplannedView(View):
    """A decision, or a brief."""

    status: Literal["decided", "brief"]
    need_replan: bool | None = None
    reason: str = ""
    steps: tuple[str, ...] = ()
    signals: tuple[SignalView, ...] = ()
    brief: Handed = None


class PassageView(View):
    """One text that was found."""

    id: str
    title: str = ""
    text: str
    url: str = ""
    published: str = ""


Passages = Annotated[tuple[PassageView, ...], WithJsonSchema({"type": "array"})]
"""Passages are described once, by what `search` returns."""


class QueryView(View):
    """What one query found."""

    query: str
    passages: tuple[PassageView, ...]
    error: str = ""


class FoundView(View):
    """Search results."""

    more: ClassVar[str] = "lower k, or send fewer queries"
    source: str
    results: tuple[QueryView, ...]


class VisitedView(View):
    """A page, or parts of it."""

    more: ClassVar[str] = "read on with start"
    url: str = ""
    title: str = ""
    total: int
    passages: Passages
    next_start: int | None = None
    note: str = ""


class SeenView(View):
    """What similar images are about."""

    passages: Passages
    note: str = ""


class StoredView(View):
    """What was kept."""

    ids: tuple[str, ...]
    merged: tuple[str, ...] = ()
    credited: int = 0
    outcome: State
    note: str = ""


class PageView(View):
    """A page of memories."""

    more: ClassVar[str] = "lower limit"
    memories: tuple[ListedMemory, ...]
    total: int
    next_cursor: str = ""


class ForgotView(View):
    """How many are gone."""

    forgotten: int


class ResearchView(View):
    """What a whole run found."""

    more: ClassVar[str] = "read the memory of this run with memory_list and memory_show"
    answer: str
    label: Literal["correct", "incorrect", "abstain", "not_attempted", "not_judged"]
    p_correct: float | None = None
    reasons: tuple[str, ...] = ()
    plan: tuple[str, ...] = ()
    replanned: bool = False
    searches: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    stop: str
    memory_ids: tuple[str, ...] = ()
    tokens: int = 0


class HandleView(View):
    """A research job, by its name."""

    handle: str
    state: Literal["running", "done", "failed", "cancelled"]


class JobView(HandleView):
    """How far a research job is."""

    stage: str = ""
    events: int = 0
    error: str = ""
    result: Annotated[ResearchView | None, WithJsonSchema({"type": "object"})] = None


def research_view(episode: "Episode") -> ResearchView:
    """An episode as a model reads it: the answer first, then how much it is worth, then how it came about."""
    verdict, steps = episode.verdict, episode.trajectory.steps
    written = episode.replan.plan if episode.replan and episode.replan.plan else episode.plan
    titles = [passage.title or passage.id for step in steps for passage in step.passages]
    return ResearchView(
        answer=episode.trajectory.answer,
        label=verdict.label.value if verdict else "not_judged",
        p_correct=verdict.p_correct if verdict else None,
        reasons=verdict.reasons if verdict else (),
        plan=written.steps,
        replanned=written is not episode.plan,
        searches=tuple(step.query for step in steps),
        sources=tuple(dict.fromkeys(titles)),
        stop=episode.trajectory.stop.value,
        memory_ids=episode.memory_ids,
        tokens=episode.usage.prompt_tokens + episode.usage.completion_tokens,
    )


def job_view(job: "Job") -> JobView:
    """A job as a model reads it."""
    result = job.result if isinstance(job.result, ResearchView) else None
    return JobView(
        handle=job.handle, state=job.state, stage=job.stage, events=len(job.events), error=job.error, result=result
    )


def state(unit: MemoryUnit) -> State:
    """How it ended; "pending" while nobody has judged it."""
    return unit.outcome.value if unit.outcome else "pending"


def recalled_memory(hit: "Hit") -> RecalledMemory:
    """A hit as a model reads it."""
    unit = hit.unit
    return RecalledMemory(
        id=unit.id,
        outcome=state(unit),
        question=unit.question,
        workflow=unit.workflow,
        score=hit.score,
        similarity=hit.similarity,
        why=hit.why,
        quarantined=unit.status is Status.QUARANTINED,
    )


def listed_memory(unit: MemoryUnit) -> ListedMemory:
    """A unit in one line."""
    return ListedMemory(id=unit.id, outcome=state(unit), question=unit.question)


def memory_view(unit: MemoryUnit) -> MemoryView:
    """A unit, with where it came from and what was said about it."""
    return MemoryView(
        id=unit.id,
        outcome=state(unit),
        question=unit.question,
        workflow=unit.workflow,
        plan=unit.plan,
        uses=unit.uses,
        wins=unit.wins,
        origins=tuple(origin.value for origin in unit.provenance.origins),
        judged_by=unit.provenance.judged_by,
        status=unit.status.value,
        created=f"{unit.created_at:%Y-%m-%d}",
        feedback=tuple(f"{'good' if one.good else 'bad'}: {one.note}".rstrip(": ") for one in unit.feedback),
    )


def brief_view(brief: Brief | None) -> BriefView | None:
    """A brief with its form's schema slimmed."""
    if brief is None:
        return None
    return BriefView(
        instructions=brief.instructions,
        data=brief.data,
        checks=brief.checks,
        form=slim(brief.form_schema),
        submit_with=brief.submit_with,
    )
