"""The gate at recall: which buckets are asked, what is left out of the answer, and the words that say so."""

from collections.abc import Hashable, Sequence

from mia_skill.core.types import Outcome, Status
from retrieval.bank import Hit, MemoryQuery, Recall
from retrieval.custody import task_of
from retrieval.gate import WARM_UP, Arm, Draw, Lift, Tally, chance, harmful, lift, lot, pick_arm, share_of
from retrieval.places import place_of, unit_bucket
from retrieval.recall import Ranking
from retrieval.tables import Tables
from retrieval.trials import attempts, judged_tasks, tally_of

__all__ = ["QUARANTINED_SHOWN", "asked_buckets", "settle", "together"]

QUARANTINED_SHOWN = 1
"""Quarantined units of one polarity shown at most, after the trusted ones and only in places those left free."""
OUTCOMES = (Outcome.CORRECT, Outcome.INCORRECT)


def asked_buckets(query: MemoryQuery) -> list[tuple[Hashable, int]]:
    """(bucket, how many): what may direct, what only informs, what is withheld; successes first in each."""
    wanted = (query.k_success, query.k_failure)
    return [
        (unit_bucket(query.namespace, query.modality, place_of(outcome, status)), min(k, most))
        for status, most in ((Status.ACTIVE, 20), (Status.QUARANTINED, QUARANTINED_SHOWN), (Status.WITHHELD, 1))
        for outcome, k in zip(OUTCOMES, wanted, strict=True)
    ]


def together(
    query: MemoryQuery, rankings: Sequence[Ranking], hits: Sequence[Sequence[Hit]]
) -> tuple[list[Ranking], list[tuple[Hit, ...]], tuple[Hit, ...]]:
    """Successes and failures with the quarantined behind the trusted where there is room; and the withheld apart."""
    both: list[Ranking] = []
    shown: list[tuple[Hit, ...]] = []
    for side, k in enumerate((query.k_success, query.k_failure)):
        trusted, doubted = rankings[side], rankings[side + 2]
        room = max(0, k - len(trusted.best))
        tops = [one.top_similarity for one in (trusted, doubted) if one.top_similarity is not None]
        best = (*trusted.best, *doubted.best[:room])
        first = trusted if trusted.top_similarity is not None else doubted
        count = trusted.considered + doubted.considered
        both.append(first._replace(best=best, considered=count, top_similarity=max(tops, default=None)))
        shown.append((*hits[side], *hits[side + 2][:room]))
    return both, shown, (*hits[4], *hits[5])


def settle(rows: Tables, query: MemoryQuery, recall: Recall, kept_back: Sequence[Hit]) -> Recall:
    """Draw the arm of this task and leave out what it says; `kept_back` are relevant units measured to do harm."""
    task = task_of(query.namespace, query.text, query.task)
    turn = f"{task}:{attempts(rows, task)}"
    measuring = query.withhold > 0 and judged_tasks(rows, query.namespace) >= WARM_UP
    tried = [
        hit for hit in kept_back if query.withhold and chance(query.seed, "try", lot(hit.unit), turn) < query.withhold
    ]
    recall = _with(recall, tried)
    hits = recall.hits
    draw = Draw(task=task, namespace=query.namespace, category=query.about, shown=tuple(hit.unit.id for hit in hits))
    held = tuple(hit.unit.id for hit in kept_back if hit not in tried)
    if held:
        why = f"withheld, for it did harm: {', '.join(held)}"
        draw = draw.model_copy(update={"withheld": held, "arm": Arm.PARTLY, "why": why})
    if kept_back:
        draw = draw.model_copy(update={"randomised": measuring})
    if measuring and hits:
        base = tally_of(rows, "namespace", query.namespace, query.namespace)
        whole = [base, tally_of(rows, "category", query.namespace, query.about)]
        each = query.withhold / 2 / len(hits)
        shares = [
            (hit.unit.id, lot(hit.unit), _share(rows, query, hit, each, base)) for hit in hits if hit not in tried
        ]
        arm, left_out = pick_arm(query.seed, turn, query.withhold, whole, shares)
        draw = _drawn(draw, arm, left_out, next((one for one in whole if harmful(one)), None))
    shown = frozenset(draw.shown)
    note = "; ".join(part for part in (_marked(recall, shown), draw.why) if part)
    return recall.model_copy(
        update={
            "successes": tuple(hit for hit in recall.successes if hit.unit.id in shown),
            "failures": tuple(hit for hit in recall.failures if hit.unit.id in shown),
            "note": f"{recall.note}; {note}" if note else recall.note,
            "draw": draw,
        }
    )


def _share(rows: Tables, query: MemoryQuery, hit: Hit, each: float, base: Tally) -> float:
    return share_of(each, tally_of(rows, "unit", query.namespace, hit.unit.id), base)


def _drawn(draw: Draw, arm: Arm, left_out: str | None, harm: Tally | None) -> Draw:
    if arm is Arm.WITHHELD:
        why = "memory is withheld for this task, by chance, to measure whether it helps: work without it"
        if harm is not None and (found := lift(harm)) is not None:
            why = f"memory is withheld: here it did not help (lift {_said(found)})"
        withheld = (*draw.shown, *draw.withheld)
        return draw.model_copy(update={"arm": arm, "shown": (), "withheld": withheld, "randomised": True, "why": why})
    if arm is Arm.PARTLY and left_out is not None:
        shown = tuple(one for one in draw.shown if one != left_out)
        why = "; ".join(part for part in (draw.why, f"{left_out} is withheld, by chance, to measure it") if part)
        withheld = (*draw.withheld, left_out)
        return draw.model_copy(
            update={"arm": arm, "shown": shown, "withheld": withheld, "randomised": True, "why": why}
        )
    return draw.model_copy(update={"randomised": True})


def _with(recall: Recall, tried: Sequence[Hit]) -> Recall:
    good = tuple(hit for hit in tried if hit.unit.outcome is Outcome.CORRECT)
    bad = tuple(hit for hit in tried if hit.unit.outcome is Outcome.INCORRECT)
    return recall.model_copy(update={"successes": recall.successes + good, "failures": recall.failures + bad})


def _marked(recall: Recall, shown: frozenset[str]) -> str:
    doubted = sum(hit.unit.status is Status.QUARANTINED for hit in recall.hits if hit.unit.id in shown)
    return f"{doubted} quarantined: hints, not steps to follow" if doubted else ""


def _said(found: Lift) -> str:
    return f"{found.value:+.2f}, 95 % interval {found.low:+.2f} to {found.high:+.2f}"
