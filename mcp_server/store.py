"""Keeping a finished run: its label comes by a receipt of its judgment, and by nothing else."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import anyio.to_thread

from mcp_server.caller import Caller, own_ids
from mcp_server.views import StoredView
from mia_skill.core.errors import JudgeError, ModelError
from mia_skill.core.events import Listener
from mia_skill.core.types import Outcome, Question, Trajectory
from mia_skill.core.verdict import Case
from trust.evidence import examine

if TYPE_CHECKING:
    from mia_skill.agents.mia import Mia
    from retrieval.bank import Stored

__all__ = ["store_run"]


async def store_run(
    mia: "Mia",
    case: Case,
    caller: Caller,
    *,
    plan: str,
    outcome: Outcome | None,
    receipt: str,
    memory_ids: Sequence[str],
    listener: Listener,
) -> StoredView:
    """Keep the run with the label of its receipt; without one it is judged first. What the host itself says of the
    outcome is a claim: kept as it is where the evidence agrees, else in quarantine or as pending.

    Raises:
        ReceiptError, JudgeError, ModelError: no label can be had; nothing was written.
        InputError: there is nothing to remember in it.
        BankError: nothing was written.
    """
    from mia_skill.agents.manager import Run

    note = ""
    if not receipt:
        receipt, outcome, note = await judged(mia, case, outcome, listener)
    credited, foreign = await own_ids(mia, caller, memory_ids)
    run = Run(
        question=Question(text=case.question),
        trajectory=Trajectory(steps=case.steps, answer=case.answer),
        plan=plan,
        outcome=outcome,
        memory_ids=credited,
        namespace=caller.namespace("", mia.config.memory.namespace),
    )
    known = mia.notary.read(receipt, run.case).outcome if receipt else outcome
    kept = await mia.store(run, receipt=receipt, listener=listener)
    return told(kept, known, note, foreign)


def told(kept: "Stored", known: Outcome | None, note: str, foreign: Sequence[str]) -> StoredView:
    """What the host is told of what was kept, what was not, and why."""
    notes = [note] if note else []
    notes += [f"unknown memory {one}: no credit given" for one in (*kept.unknown_credits, *foreign)]
    notes += ["on probation: it can be recalled when the judge's canaries are good"] if kept.held else []
    return StoredView(
        ids=kept.unit_ids,
        merged=tuple(one for one, was in zip(kept.unit_ids, kept.merged, strict=True) if was),
        credited=kept.credited,
        outcome=known.value if known else "pending",
        note="; ".join(notes),
    )


async def judged(mia: "Mia", case: Case, claim: Outcome | None, listener: Listener) -> tuple[str, Outcome | None, str]:
    """A receipt, or none where only the claim is left; the claim if it may be kept; and a word on it."""
    if claim is None:
        try:
            found = await mia.judge(case, listener=listener)
        except (JudgeError, ModelError) as failure:
            raise outage(failure, f"{failure}; nothing was stored: call again when the judge is back") from failure
        verdict, receipt = found.verdict, found.receipt
    else:  # no model is asked about a claim: the evidence bears it out by itself, or it stays a claim
        verdict = await anyio.to_thread.run_sync(examine, case)
        receipt = mia.notary.issue(case, verdict)
    why = verdict.reasons[0] if verdict.reasons else ""
    note = f"judged {verdict.label.value} by {verdict.backend}" + (f": {why}" if why else "")
    if claim is None or claim is verdict.remembered:
        pending = "; kept as pending until memory_feedback says more" if verdict.remembered is None else ""
        return receipt, None, note + pending
    if verdict.remembered is None:
        return "", claim, f"{note}; your outcome is kept in quarantine, as a claim without a receipt"
    return "", None, f"{note}; your outcome says otherwise: kept as pending until memory_feedback says more"


def outage(failure: JudgeError | ModelError, message: str) -> JudgeError:
    """The failure as one of the judge, whatever failed below it."""
    return JudgeError(message, raw=failure.raw if isinstance(failure, JudgeError) else "")
