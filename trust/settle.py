"""From reviews to a verdict: numbers in code, every cited id looked up, our own checks above any review (spec 5)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from mia_skill.core.config import TrustConfig
from mia_skill.core.types import Outcome, Usage
from mia_skill.core.verdict import (
    Agreement,
    Case,
    CheckState,
    Label,
    MemoryAdvice,
    Review,
    Verdict,
    VerifyNext,
)
from trust.age import outdated
from trust.calibrate import calibrated, stamp
from trust.forms import REVIEWERS, ReviewForm
from trust.items import collect
from trust.reference import f1
from trust.seal import sealed

__all__ = ["review_of", "settle", "splits", "usable"]

OTHER_ANSWER = 0.2
"""Word overlap (F1) up to which a reviewer's own answer is another one than the answer under review."""
DOUBT = 5.0
DECISIVE = frozenset({"comparison"})
"""Checks of the whole case that no review can outvote."""
ENOUGH = 0.5
"""Share of the weight that must be left once void reviews are gone."""


@dataclass(frozen=True)
class Weighed:
    """What the usable reviews come to."""

    score: float
    weight: float
    """Share of all weight that is behind it."""


def review_of(reviewer: str, form: ReviewForm, case: Case, examined: Verdict) -> Review:
    """A filled-in form as a review: ids are looked up, the reviewer's own answer is compared."""
    known = {item.id for item in collect(case).items}
    steering = {one.source_id for one in examined.injections}
    cited = tuple(dict.fromkeys(form.cited))
    score, notes = form.score, []
    if unknown := [one for one in cited if one not in known]:
        notes.append(f"void: cites {len(unknown)} source(s) that do not exist")
    elif score > DOUBT and cited and all(one in steering for one in cited):
        notes.append("void: rests on a source that tries to steer its reader")
    elif score > DOUBT and not cited and reviewer == "sourcing":
        notes.append("void: supports the answer and names no source")
    if score > DOUBT and form.own_answer.strip() and _another(form.own_answer, case.answer):
        score = DOUBT
        notes.append("its own answer is another one")
    reason = "; ".join([*notes, form.reason.strip()]) if notes else form.reason.strip()
    return Review(reviewer=reviewer, score=score, reason=reason, cited=cited)


def usable(review: Review) -> bool:
    """Does it count?"""
    return not review.reason.startswith("void: ")


def splits(reviews: Sequence[Review], config: TrustConfig) -> bool:
    """Do some accept what others reject?"""
    scores = [one.score for one in reviews if usable(one)]
    return bool(scores) and max(scores) >= config.accept and min(scores) <= config.reject


def settle(
    case: Case,
    examined: Verdict,
    reviews: Sequence[Review],
    config: TrustConfig,
    chair: Label | None = None,
    *,
    backend: str = "endpoint",
    usage: Usage | None = None,
    prompt_digests: dict[str, str] | None = None,
) -> Verdict:
    """The verdict of the reviews, checked against what was found without a model. Pure.

    The weighted score decides (accept, reject, abstain between); where reviewers split, the chair does. "Correct"
    needs evidence and no failed check; void reviews carry no weight, and without half of it there is no label.
    """
    weighed = _weigh(reviews, config)
    split = splits(reviews, config)
    label, reasons = _label(examined, reviews, weighed, config, chair if split else None, split)
    label, reasons = _checked(label, reasons, case, examined)
    old = {one.id for one in examined.claims if outdated(one)}
    p = _probability(backend, weighed, examined, config, bool(old))
    counted = [one.score for one in reviews if usable(one)]
    spread = max(counted, default=0.0) - min(counted, default=0.0)
    settled = examined.model_copy(
        update={
            "label": label,
            "p_correct": p,
            "reasons": (*reasons, *examined.reasons),
            "reviews": tuple(reviews),
            "split": split,
            "verify_next": _next(label, case, examined, old),
            "memory_advice": _advice(label, p, examined),
            "backend": backend,
            "usage": usage or Usage(),
            "prompt_digests": prompt_digests or {},
            "score": round(weighed.score, 4) if counted else None,
            "agreement": Agreement(n=len(counted), spread=round(spread, 4), split=split),
            "calibration": stamp(backend, config.calibration) if p is not None else None,
        }
    )
    return sealed(case, settled)


def _probability(backend: str, weighed: Weighed, examined: Verdict, config: TrustConfig, old: bool) -> float | None:
    """The weighted score as a probability, on the backend's own curve; nearer to even where only old sources speak."""
    if weighed.weight <= 0 or examined.label is Label.NOT_ATTEMPTED:
        return None
    p = calibrated(backend, round(min(0.99, max(0.01, weighed.score / 10)), 4), config.calibration)
    return round((p + 0.5) / 2, 4) if old else p


def _weigh(reviews: Sequence[Review], config: TrustConfig) -> Weighed:
    weights = {name: getattr(config, name) for name in REVIEWERS}
    total = sum(weights.values())
    behind = sum(weights[one.reviewer] for one in reviews if usable(one))
    if total <= 0 or behind <= 0:
        return Weighed(DOUBT, 0.0)
    return Weighed(sum(weights[one.reviewer] * one.score for one in reviews if usable(one)) / behind, behind / total)


def _label(
    examined: Verdict,
    reviews: Sequence[Review],
    weighed: Weighed,
    config: TrustConfig,
    chair: Label | None,
    split: bool,
) -> tuple[Label, tuple[str, ...]]:
    void = tuple(f"the {one.reviewer} review is {one.reason.split(';')[0]}" for one in reviews if not usable(one))
    said = f"weighted review score {weighed.score:.1f} of 10"
    if examined.label is Label.NOT_ATTEMPTED:
        return Label.NOT_ATTEMPTED, void
    if weighed.weight < ENOUGH:
        return Label.ABSTAIN, ("too few usable reviews", *void)
    if split:
        if chair is None:
            return Label.ABSTAIN, ("the reviewers disagree and nobody settled it", said, *void)
        return chair, (f"the reviewers disagree; the area chair calls it {chair.value}", said, *void)
    if weighed.score >= config.accept:
        return Label.CORRECT, (said, *void)
    if weighed.score <= config.reject:
        return Label.INCORRECT, (said, *void)
    return Label.ABSTAIN, (f"{said}: between reject and accept", *void)


def _checked(label: Label, reasons: tuple[str, ...], case: Case, examined: Verdict) -> tuple[Label, tuple[str, ...]]:
    """Our own checks stand above the reviews: without evidence, or against it, nothing is "correct"."""
    if label is Label.NOT_ATTEMPTED:
        return label, reasons
    if not collect(case).items:
        return Label.ABSTAIN, ("there is no evidence: nothing can be judged", *reasons)
    if label is not Label.CORRECT:
        return label, reasons
    failed = [one.name for one in examined.checks if one.state is CheckState.FAIL and one.name in DECISIVE]
    failed += [check.name for claim in examined.claims for check in claim.checks if check.state is CheckState.FAIL]
    if failed:
        found = ", ".join(dict.fromkeys(failed))
        return Label.ABSTAIN, (f"the reviews support what the checks speak against ({found}); not accepted", *reasons)
    if any(one.source_id == "answer" for one in examined.injections):
        return Label.ABSTAIN, ("the answer talks to its judge; not accepted on the reviews alone", *reasons)
    return label, reasons


def _another(own: str, answer: str) -> bool:
    return f1(own, (answer,)) <= OTHER_ANSWER and own.casefold().strip(" .") not in answer.casefold()


def _next(label: Label, case: Case, examined: Verdict, old: Collection[str]) -> tuple[VerifyNext, ...]:
    """What to look up: of an accepted answer only whether its old sources still hold."""
    if label is Label.CORRECT:
        return tuple(one for one in examined.verify_next if one.claim_id in old)
    return examined.verify_next or _ask_again(case)


def _ask_again(case: Case) -> tuple[VerifyNext, ...]:
    return (VerifyNext(query=case.question[:200], why="the reviews did not accept the answer"),)


def _advice(label: Label, p: float | None, examined: Verdict) -> MemoryAdvice:
    outcome = {Label.CORRECT: Outcome.CORRECT, Label.INCORRECT: Outcome.INCORRECT}.get(label)
    if outcome is None:
        return MemoryAdvice()
    trust = round(abs((p if p is not None else 0.5) - 0.5) * 2, 4)
    return MemoryAdvice(store="quarantine" if examined.injections else "yes", outcome=outcome, trust=trust)
