"""Asking the user before memories are deleted, in hosts that can ask."""

from collections.abc import Sequence

from mcp.server.elicitation import AcceptedElicitation, ElicitationResult
from mcp.server.mcpserver import Context, Elicit
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field

from mcp_server.backend import Backend
from mcp_server.caller import caller_of, own_unit
from mcp_server.inputs import Ids

__all__ = ["Sure", "ask_to_forget", "require_consent"]

SHOWN = 10
"""Memories named in the question."""
LONGEST = 120


class Sure(BaseModel):
    """The user's word."""

    delete: bool = Field(description="Delete them for good")


async def ask_to_forget(ids: Ids, ctx: Context[Backend]) -> Elicit[Sure] | None:
    """The question for the user; None where the host cannot ask. Renders alike on every round of a call.

    Raises:
        UnknownIdError: one of `ids` is none of the caller's.
    """
    offered = ctx.client_capabilities
    if offered is None or offered.elicitation is None:
        return None
    asked = offered.elicitation
    if asked.form is None and asked.url is not None:
        return None
    mia = await ctx.request_context.lifespan_context.mia()
    caller = caller_of(ctx)
    questions = [(await own_unit(mia, caller, one)).question for one in ids]
    return Elicit(question_for(questions), Sure)


def question_for(questions: Sequence[str]) -> str:
    """What the user reads: which memories would be gone."""
    lines = [f"- {' '.join(one.split())[:LONGEST]}" for one in questions[:SHOWN]]
    if len(questions) > SHOWN:
        lines.append(f"- and {len(questions) - SHOWN} more")
    return "\n".join([f"Delete {len(questions)} memories of MIA for good?", *lines])


def require_consent(answer: ElicitationResult[Sure]) -> None:
    """Raise unless the user agreed, or could not be asked.

    Raises:
        ToolError: the user did not agree; nothing was deleted.
    """
    if isinstance(answer, AcceptedElicitation):
        said: Sure | None = answer.data
        if said is None or said.delete:
            return
    raise ToolError("The user did not agree: nothing was deleted. Do not ask again unless the user wishes it.")
