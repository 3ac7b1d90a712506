"""Text in a source that tries to steer whoever reads it: found on the raw text, on what the eye sees, and one layer
below base64, percent signs and rot13. Flagged with its place, never deleted (facts/trust 4.2 and 5)."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from mia_skill.core.verdict import Injection
from trust.decode import decoded
from trust.fold import fold, hidden
from trust.rule import Rule
from trust.rules import ANSWER_RULES, RAW_RULES, RULES
from trust.typos import mended

__all__ = ["scan", "scan_answer", "scan_seams", "strip_spans"]

MOST = 40
"""Findings of one source; more say nothing new."""
SEAM = 120
"""Characters on each side of where one text ends and the next begins."""
DEEP_CHARS = 200_000
"""Of one source; what lies behind is scanned for plain text only."""


def scan(text: str, source_id: str) -> tuple[Injection, ...]:
    """What in `text` tries to steer its reader, in order; spans are places in `text` itself."""
    return _report(text, source_id, RULES)


def scan_answer(text: str, source_id: str = "answer") -> tuple[Injection, ...]:
    """The same for an answer, in which words to a judge count as well."""
    return _report(text, source_id, RULES + ANSWER_RULES)


def scan_seams(texts: Sequence[tuple[str, str]]) -> tuple[Injection, ...]:
    """Orders that begin at the end of one text and end at the start of the next, as a reader of both sees them; each
    half is a finding of its own text. `texts` are ids and texts, in the order in which they are read."""
    found: list[Injection] = []
    for (one, first), (other, second) in pairwise(texts):
        head, tail = second[:SEAM], first[-SEAM:]
        folded, offset = fold(f"{tail} {head}"), len(first) - len(tail)
        for start, end, rule, severity in _matches(folded.text, RULES):
            low, high = folded.raw_span(start, end)
            if low < len(tail) and high > len(tail) + 1:
                named = {"rule": f"seam:{rule}", "severity": severity}
                found.append(Injection(source_id=one, start=offset + low, end=len(first), **named))
                found.append(Injection(source_id=other, start=0, end=high - len(tail) - 1, **named))
    return tuple(found[:MOST])


def _report(text: str, source_id: str, rules: tuple[Rule, ...]) -> tuple[Injection, ...]:
    found: dict[tuple[int, int, str], str] = {}
    for start, end, rule, severity in _findings(text, rules):
        inside = any(low <= start and end <= high for low, high, name in found if name == rule)
        if not inside and end > start:
            found[(start, end, rule)] = severity
    ordered = sorted(found.items())[:MOST]
    return tuple(
        Injection(source_id=source_id, start=start, end=end, rule=rule, severity=severity)
        for (start, end, rule), severity in ordered
    )


def _findings(text: str, rules: tuple[Rule, ...]) -> Iterator[tuple[int, int, str, str]]:
    for rule in RAW_RULES:
        for match in rule.pattern.finditer(text):
            yield match.start(), match.end(), rule.name, rule.severity
    for start, end, kind in hidden(text):
        yield start, end, kind, "high"
    folded = fold(text)
    for start, end, name, severity in _matches(folded.text, rules):
        yield *folded.raw_span(start, end), name, severity
    repaired = mended(folded.text) if len(text) <= DEEP_CHARS else None
    if repaired is not None:
        for start, end, name, severity in _matches(repaired.text, rules):
            yield *folded.raw_span(*repaired.raw_span(start, end)), name, severity
    if len(text) <= DEEP_CHARS:
        for start, end, plain, layer in decoded(text):
            for _, _, name, _ in _matches(fold(plain).text, rules):
                yield start, end, f"{layer}:{name}", "high"
                break


def _matches(text: str, rules: tuple[Rule, ...]) -> Iterator[tuple[int, int, str, str]]:
    for rule in rules:
        if rule.anchor and not any(word in text for word in rule.anchor):
            continue
        for match in rule.pattern.finditer(text):
            yield match.start(), match.end(), rule.name, rule.severity


def strip_spans(text: str, spans: tuple[Injection, ...]) -> str:
    """`text` with the flagged places blanked out, so that they support nothing; every offset stays."""
    for one in spans:
        text = text[: one.start] + re.sub(r"[^\n]", " ", text[one.start : one.end]) + text[one.end :]
    return text
