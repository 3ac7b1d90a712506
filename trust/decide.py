"""From what was found to a verdict: fixed rules, stated reasons, abstain in doubt."""

from collections.abc import Sequence

from mia_skill.core.types import Outcome
from mia_skill.core.verdict import (
    CheckState,
    Claim,
    Conflict,
    Label,
    MemoryAdvice,
    Quote,
    Support,
    Verdict,
    VerifyNext,
)  # fmt: skip
from trust.age import outdated
from trust.calibrate import accept_from, calibrated, fits, stamp
from trust.claims import Statement
from trust.estimate import comparison, estimate
from trust.facts import Facts, Finding
from trust.items import visible
from trust.misfit import WHO_ASKED, misfit
from trust.modality import MODALITY
from trust.question import Kind
from trust.shown import shown_otherwise, whereabouts
from trust.support import PRESENT

__all__ = ["decide", "doubt"]

UNDECIDED = 0.5
PARTLY = 0.4
OLD = "it stands only in sources that are too old for what is asked"
READ_ABOUT = 0.4
"""Share of the question's words that must stand somewhere in the evidence."""
LINKED_TO = 0.15
"""Share of the question that must be spoken about where the answer stands."""


def decide(facts: Facts, precision: float | None = None) -> Verdict:
    """The verdict; "correct" with the wanted `precision`, as far as that was measured."""
    claims = tuple(_claim(facts, number, one) for number, one in enumerate(facts.findings, 1))
    label, p, reasons = _label(facts, claims, precision)
    return Verdict(
        label=label,
        p_correct=p,
        reasons=reasons,
        claims=claims,
        checks=facts.checks,
        citations=facts.citations,
        conflicts=_conflicts(facts),
        sources=facts.sources,
        injections=facts.injections,
        calibration=stamp("evidence") if p is not None else None,
        verify_next=_next(facts, claims, label),
        memory_advice=_advice(label, p, facts),
        backend="evidence",
    )


def _label(
    facts: Facts, claims: Sequence[Claim], precision: float | None
) -> tuple[Label, float | None, tuple[str, ...]]:
    if facts.declined:
        return Label.NOT_ATTEMPTED, None, ("the answer declines to answer",)
    if not facts.gathered.items:
        why = "every tool call failed or came back empty" if facts.case.steps else "no evidence was given"
        return Label.ABSTAIN, None, (f"{why}: nothing to check the answer against",)
    if not facts.clean:
        return Label.ABSTAIN, None, ("every source tries to steer its reader; none of them counts",)
    if not claims:
        return Label.ABSTAIN, None, ("the answer holds no claim that could be checked",)
    raw = _estimate(facts)
    p = 0.5 if raw == UNDECIDED else calibrated("evidence", raw)
    reasons = _reasons(facts, claims)
    if raw >= accept_from("evidence", precision):
        against = doubt(facts) or next((OLD for one in claims if outdated(one)), "")
        return (Label.ABSTAIN, min(p, 0.5), (against, *reasons)) if against else (Label.CORRECT, p, reasons)
    if raw <= fits()["evidence"].reject and _all_old(facts):
        return Label.ABSTAIN, round((p + 0.5) / 2, 4), ("what was read is too old to speak against it", *reasons)
    if raw <= fits()["evidence"].reject:
        return Label.INCORRECT, p, reasons
    return Label.ABSTAIN, p, ("the evidence does not decide it", *reasons)


def _estimate(facts: Facts) -> float:
    undecided = facts.asked.kind in (Kind.YES_NO, Kind.CHOICE) and not comparison(facts)
    return UNDECIDED if undecided else estimate(facts)


def doubt(facts: Facts) -> str:
    """Why a well supported answer is still not called correct; empty when nothing speaks against it."""
    if facts.answer_steers:
        return "the answer talks to its judge; it is not accepted on that"
    if facts.asked.terms and facts.ground.addressed < READ_ABOUT:
        return "most of what the question asks about was never read"
    if bad := next((one for one in facts.checks if one.name == "citations" and one.state is CheckState.FAIL), None):
        return f"it names sources that do not bear it out: {bad.detail}"
    if odd := _another_kind(facts):
        return odd
    imitations = {one.id for one in facts.sources if "lookalike_domain" in one.flags}
    for found in facts.findings:
        holding = _ids(facts, found.standing.places)
        if holding and imitations.issuperset(holding):
            return "it stands only in sources whose address imitates another site's"
        if found.standing.presence >= PRESENT and found.standing.context < LINKED_TO and facts.asked.terms:
            return "it was read, but nowhere near what the question is about"
        if any(one.name == MODALITY and one.state is CheckState.UNSURE for one in found.checks):
            return "the evidence says it only with a reserve that the answer leaves out"
        if found.altered:
            return "another source holds the same sentence with another value"
        if found.rivals:
            return f"{found.rivals} other source(s) are about the same thing and do not state it"
        if found.silent >= max(1, found.voices):
            return f"{found.silent} other source(s) speak about the question and do not state it"
    return shown_otherwise(facts.asked, facts.case.answer, [visible(one.text) for one in facts.clean])


def _another_kind(facts: Facts) -> str:
    """Why it answers another question than the one that was asked; empty when it may answer this one."""
    if _nobody(facts):
        return "it asks for a person, and the answer names nobody"
    return misfit(facts.asked, facts.case.answer)


def _nobody(facts: Facts) -> bool:
    """Whole sentences for an answer to "who", and no name in them that the question does not hold already, or that does
    more than say where."""
    claims = [one.claim for one in facts.findings]
    if facts.asked.kind is not Kind.PERSON or any(one.short for one in claims):
        return False
    known = facts.asked.names | frozenset(facts.asked.terms)
    only_who = WHO_ASKED.search(facts.asked.text) is not None
    names = {
        stem for one in claims for name in one.names for stem in name if not (only_who and name[0] in _places(one))
    }
    return all(one.text.isascii() for one in claims) and not names - known


def _places(claim: Statement) -> frozenset[str]:
    """Stems that stand in the claim only to say where."""
    told = [(word.stem, whereabouts(claim.text, word.start - claim.start)) for word in claim.words if word.capital]
    return frozenset(stem for stem, place in told if place) - {stem for stem, place in told if not place}


def _claim(facts: Facts, number: int, found: Finding) -> Claim:
    failed = [one for one in found.checks if one.state is CheckState.FAIL]
    here = found.standing
    if failed:
        absent = all(one.name == "names" for one in failed)
        support, p = (Support.NOT_FOUND if absent else Support.CONTRADICTED), 0.1
    elif here.presence >= PRESENT and found.altered:
        support, p = Support.CONFLICTING, 0.5
    elif here.presence >= PRESENT:
        support, p = Support.SUPPORTED, round(0.5 + 0.4 * here.context, 4)
    elif here.presence >= PARTLY:
        support, p = Support.PARTIAL, 0.4
    else:
        support, p = Support.NOT_FOUND, 0.2
    claim = found.claim
    text = f"{claim.text} (asked: {facts.asked.text})" if claim.short else claim.text
    made = Claim(
        id=f"c{number}", text=text, start=claim.start, end=claim.end, kind=claim.kind, support=support, p=p,
        quotes=_quotes(facts, found), checks=found.checks,
    )  # fmt: skip
    return made.model_copy(update={"p": min(p, 0.5)}) if outdated(made) else made


def _quotes(facts: Facts, found: Finding) -> tuple[Quote, ...]:
    if found.standing.place < 0:
        return ()
    line = facts.scene.lines[found.standing.place]
    item = facts.scene.items[line.item]
    return (Quote(source_id=item.id, start=line.start, end=line.end, text=item.text[line.start : line.end]),)


def _ids(facts: Facts, places: Sequence[int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(facts.scene.items[facts.scene.lines[place].item].id for place in places))


def _conflicts(facts: Facts) -> tuple[Conflict, ...]:
    """Claims that independent sources state with another value."""
    group = {item.id: facts.groups[number] for number, item in enumerate(facts.clean)}
    made = []
    for number, found in enumerate(facts.findings, 1):
        here, there = _ids(facts, found.standing.places), _ids(facts, found.altered)
        there = tuple(one for one in there if one not in here)
        if here and there:
            kind = {"number": "value", "date": "date"}.get(found.claim.kind, "statement")
            voices = (len({group[one] for one in here}), len({group[one] for one in there}))
            made.append(Conflict(claim_id=f"c{number}", kind=kind, sources=(here, there), independent=voices))
    return tuple(made)


def _reasons(facts: Facts, claims: Sequence[Claim]) -> tuple[str, ...]:
    found = [f"{one.id} is {one.support.value.replace('_', ' ')}" for one in claims[:5]]
    failed = [f"{one.name}: {one.detail}" for claim in claims for one in claim.checks if one.state is CheckState.FAIL]
    return (
        *found,
        *dict.fromkeys(failed),
        *(
            f"{one.name}: {one.detail}"
            for one in facts.checks
            if one.state is not CheckState.OK or one.name == "comparison"
        ),
    )


def _all_old(facts: Facts) -> bool:
    old = {one.id for one in facts.sources if "stale" in one.flags}
    return bool(old) and all(item.id in old for item in facts.clean)


def _next(facts: Facts, claims: Sequence[Claim], label: Label) -> tuple[VerifyNext, ...]:
    if label is Label.CORRECT:
        return ()
    if not claims or not facts.gathered.items:
        return (VerifyNext(query=facts.asked.text[:200], why="nothing was found to check the answer against"),)
    weakest = sorted(claims, key=lambda one: one.p)[:3]
    return tuple(
        VerifyNext(
            query=one.text[:200],
            why=_why(one),
            claim_id=one.id,
            expected_gain=round((1 - abs(2 * one.p - 1)) / len(claims), 2),
        )
        for one in weakest
    )


def _why(claim: Claim) -> str:
    old = outdated(claim)
    found = f"it is {claim.support.value.replace('_', ' ')}"
    return f"{found}, and old: {old.detail}" if old else found


def _advice(label: Label, p: float | None, facts: Facts) -> MemoryAdvice:
    outcome = {Label.CORRECT: Outcome.CORRECT, Label.INCORRECT: Outcome.INCORRECT}.get(label)
    if outcome is None:
        return MemoryAdvice()
    trust = round(abs((p or 0.5) - 0.5) * 2, 4)
    return MemoryAdvice(store="quarantine" if facts.injections else "yes", outcome=outcome, trust=trust)
