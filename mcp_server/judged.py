"""What `judge` returns over MCP: the report that every caller gets, with the receipt and the brief of this call."""

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import WithJsonSchema

from mcp_server.result import View
from mcp_server.views import Handed, brief_view
from trust.report import report

if TYPE_CHECKING:
    from mia_skill.agents.results import Judged

__all__ = ["JudgedView", "judged_view"]

Listed = Annotated[tuple[Any, ...], WithJsonSchema({"type": "array"})]
Told = Annotated[dict[str, Any] | None, WithJsonSchema({"type": "object"})]


class JudgedView(View):
    """A verdict. Names and order are those of `trust.report`."""

    more: ClassVar[str] = "send shorter steps, or passage_ids in place of texts"
    label: Literal["correct", "incorrect", "abstain", "not_attempted"]
    p_correct: float | None = None
    reasons: tuple[str, ...] = ()
    claims: Listed = ()
    failed_checks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    verify_next: Listed = ()
    memory_advice: Told = None
    judged_by: str
    audit: str = ""
    details: Told = None
    receipt: str = ""
    brief: Handed = None


def judged_view(judged: "Judged") -> JudgedView:
    """A judgment as a model reads it."""
    return JudgedView.model_validate(
        {**report(judged.verdict), "receipt": judged.receipt, "brief": brief_view(judged.brief)}
    )
