"""What is sent to the page: bounded, whatever the bank or a trace holds (pure)."""

from datetime import datetime

from mia_skill.core.types import MemoryUnit, Origin, Outcome, Status, Value
from retrieval.bank import Hit

__all__ = ["HitView", "UnitLine", "bounded", "cut", "line_of", "view_of"]

LINE_CHARS = 320
"""Of a text in a list."""
TEXT_CHARS = 12_000
"""Of a text that is read whole."""
ITEMS = 200
DEPTH = 12


class UnitLine(Value):
    """A unit in a list."""

    id: str
    namespace: str
    category: str
    outcome: Outcome | None
    status: Status
    question: str
    workflow: str
    uses: int
    wins: int
    origins: tuple[Origin, ...]
    judged_by: str
    created_at: datetime


class HitView(Value):
    """A unit that was recalled, and why."""

    unit: UnitLine
    score: float
    why: str
    parts: dict[str, float] | None
    """What spoke for it under the blended score; None under the paper's."""


def cut(text: str, most: int) -> str:
    """At most so many characters; what is left out is said."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"


def bounded(plain: object, most: int = TEXT_CHARS, depth: int = DEPTH) -> object:
    """A JSON value with every text and every list at a length that a page can show."""
    if isinstance(plain, str):
        return cut(plain, most)
    if depth == 0:
        return None
    if isinstance(plain, dict):
        return {
            cut(str(key), LINE_CHARS): bounded(value, most, depth - 1) for key, value in list(plain.items())[:ITEMS]
        }
    if isinstance(plain, list | tuple):
        return [bounded(value, most, depth - 1) for value in plain[:ITEMS]]
    return plain


def line_of(unit: MemoryUnit) -> UnitLine:
    """A unit as one entry of a list."""
    return UnitLine(
        id=unit.id,
        namespace=unit.namespace,
        category=cut(unit.category, LINE_CHARS),
        outcome=unit.outcome,
        status=unit.status,
        question=cut(unit.question, LINE_CHARS),
        workflow=cut(unit.workflow, LINE_CHARS),
        uses=unit.uses,
        wins=unit.wins,
        origins=unit.provenance.origins,
        judged_by=cut(unit.provenance.judged_by, LINE_CHARS),
        created_at=unit.created_at,
    )


def view_of(hit: Hit) -> HitView:
    """A recalled unit."""
    parts = None if hit.explanation is None else hit.explanation.model_dump()
    return HitView(unit=line_of(hit.unit), score=hit.score, why=hit.why, parts=parts)
