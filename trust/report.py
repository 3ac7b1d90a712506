"""A verdict as JSON for whoever called: one shape, and the same bytes from MCP `judge`, `mia judge --json` and here."""

import json
from typing import TypeAlias

from mia_skill.core.verdict import CheckState, Label, Verdict

__all__ = ["Json", "report", "report_json", "upstream"]

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

DECIMALS = 4


def report(verdict: Verdict) -> dict[str, Json]:
    """The contract of a judgment. What there is nothing to say about is left out; `label` is always there."""
    dumped = verdict.model_dump(mode="json")
    checks = [*verdict.checks, *(one for claim in verdict.claims for one in claim.checks)]
    failed = [f"{one.name}: {one.detail}".rstrip(": ") for one in checks if one.state is CheckState.FAIL]
    usage = verdict.usage
    cost: dict[str, Json] = {"calls": usage.calls, "tokens": usage.prompt_tokens + usage.completion_tokens}
    if usage.seconds:
        cost["ms"] = round(usage.seconds * 1000)
    tree = {
        "label": dumped["label"],
        "p_correct": dumped["p_correct"],
        "reasons": dumped["reasons"],
        "claims": [_bare(one) for one in dumped["claims"]],
        "failed_checks": list(dict.fromkeys(failed)),
        "warnings": [f"{one.source_id}: {one.rule}: text that tries to steer its reader" for one in verdict.injections],
        "verify_next": dumped["verify_next"],
        "memory_advice": dumped["memory_advice"],
        "judged_by": dumped["backend"],
        "audit": dumped["audit"],
        "details": _bare(
            {
                "citations": dumped["citations"],
                "conflicts": dumped["conflicts"],
                "sources": [_bare(one) for one in dumped["sources"]],
                "injections": dumped["injections"],
                "reviews": dumped["reviews"],
                "score": dumped["score"],
                "agreement": dumped["agreement"] if verdict.reviews else {},
                "calibration": dumped["calibration"],
                "cost": cost,
                "upstream": upstream(verdict),
                "versions": dumped["versions"],
            }
        ),
    }
    tidied = _tidy(tree)
    if not isinstance(tidied, dict):
        raise TypeError("a report is an object")
    return {key: one for key, one in tidied.items() if one not in (None, "", [], {})}


def report_json(verdict: Verdict) -> str:
    """`report` as text."""
    return json.dumps(report(verdict), indent=2, ensure_ascii=False)


def upstream(verdict: Verdict) -> dict[str, Json]:
    """The published judge's fields. Where it would have guessed, `is_correct` is null and `raw_verdict` empty."""
    notes = {one.reviewer: f"Score: {one.score:g}/10. {one.reason}" for one in verdict.reviews}
    told = [notes.get(name, "") for name in ("reasoning", "sourcing", "validity")]
    letter = {Label.CORRECT: "A", Label.INCORRECT: "B"}.get(verdict.label, "")
    fields: dict[str, Json] = {"is_correct": verdict.is_correct, "raw_verdict": letter}
    return fields | {f"evaluator_{n}_feedback": one for n, one in enumerate(told, 1) if one}


def _bare(value: dict[str, Json]) -> dict[str, Json]:
    """Without empty lists and texts inside."""
    return {key: one for key, one in value.items() if one not in (None, "", [], {})}


def _tidy(value: object) -> Json:
    """Numbers as every host writes them: four decimals, whole ones without a point."""
    match value:
        case bool() | int() | str() | None:
            return value
        case float():
            rounded = round(value, DECIMALS)
            return int(rounded) if rounded.is_integer() else rounded
        case dict():
            return {str(key): _tidy(one) for key, one in value.items()}
        case list() | tuple():
            return [_tidy(one) for one in value]
        case _:
            raise TypeError(f"{type(value).__name__} is no JSON")
