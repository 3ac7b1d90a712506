"""Keeping a finished run: with the outcome the host knows, or with the one the evidence gives, or as pending."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mcp_server.caller import Caller, own_ids
from mcp_server.views import StoredView
from mia_skill.core.errors import JudgeError, ModelError
from mia_skill.core.events import Listener
from mia_skill.core.types import Outcome, Question, Trajectory
from mia_skill.core.verdict import Case

if TYPE_CHECKING:
    from mia_skill.agents.mia import Mia

__all__ = ["store_run"]

JUDGED_BY_HOST = "host"


async def store_run(
    mia: "Mia",
    case: Case,
    caller: Caller,
    *,
    plan: str,
    outcome: Outcome | None,
    memory_ids: Sequence[str],
    listener: Listener,
) -> StoredView:
    """Judge the run when its outcome is not known, then keep it.

    A judge that fails gives no verdict: the run is kept as pending, never as a success or a failure.

    Raises:
        InputError: there is nothing to remember in it.
        BankError: nothing was written.
    """
    from mia_skill.agents.manager import Run

    judged_by, note = JUDGED_BY_HOST, ""
    if outcome is None:
        outcome, judged_by, note = await judged(mia, case, listener)
    credited, foreign = await own_ids(mia, caller, memory_ids)
    run = Run(
        question=Question(text=case.question),
        trajectory=Trajectory(steps=case.steps, answer=case.answer),
        plan=plan,
        outcome=outcome,
        memory_ids=credited,
        judged_by=judged_by,
        namespace=caller.namespace("", mia.config.memory.namespace),
    )
    kept = await mia.store(run, listener=listener)
    lost = [f"unknown memory {one}: no credit given" for one in (*kept.unknown_credits, *foreign)]
    return StoredView(
        ids=kept.unit_ids,
        merged=tuple(one for one, was in zip(kept.unit_ids, kept.merged, strict=True) if was),
        credited=kept.credited,
        outcome=outcome.value if outcome else "pending",
        note="; ".join([*([note] if note else []), *lost]),
    )


async def judged(mia: "Mia", case: Case, listener: Listener) -> tuple[Outcome | None, str, str]:
    """The outcome, who judged it, and a word on it."""
    try:
        verdict = (await mia.judge(case, listener=listener)).verdict
    except (JudgeError, ModelError) as failure:
        return None, "none", f"kept as pending, for the judge gave no verdict: {failure}"
    why = verdict.reasons[0] if verdict.reasons else ""
    note = f"judged {verdict.label.value} by {verdict.backend}" + (f": {why}" if why else "")
    if verdict.remembered is None:
        note += "; kept as pending until memory_feedback says more"
    return verdict.remembered, verdict.backend, note
