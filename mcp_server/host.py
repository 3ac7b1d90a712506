"""The ladder to a model: a configured endpoint, else the host's own by sampling, else a brief for the host agent.

The tools read the same on every rung. A resolver below returns a sampling request only on the second rung; on the
first and third it returns nothing, and `Mia` takes its endpoint or writes a brief. A request must render alike on
every round of a call, so the mark that fences quoted data comes from the arguments and not from chance.
"""

from collections.abc import Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from mcp.server.mcpserver import Context, Sample
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CreateMessageResult, SamplingMessage, TextContent

from mcp_server.backend import Backend
from mcp_server.caller import caller_of
from mia_skill.agents.forms import PlanForm, ReplanForm
from mia_skill.agents.notes import StepNote, steps_of
from mia_skill.core.chat import Message
from mia_skill.core.config import Role
from mia_skill.core.prompts import load_prompt
from mia_skill.core.types import Modality, Question
from mia_skill.core.verdict import Case
from trust.evidence import examine
from trust.panel import JudgeForm, judge_brief

if TYPE_CHECKING:
    from mia_skill.app import Mia

__all__ = ["ask_judge", "ask_plan", "ask_replan", "asked", "case_of", "draft_text"]

MAX_TOKENS = 1500
"""Of a sampled reply: a form is a few hundred."""


def asked(question: str, caption: str = "") -> Question:
    """The question as a value; a caption makes it one about an image."""
    modality = Modality.IMAGE if caption else Modality.TEXT
    return Question(text=question, caption=caption or None, modality=modality)


def case_of(mia: "Mia", question: str, answer: str, steps: Sequence[StepNote], as_of: str = "") -> Case:
    """What is to be judged; ids of passages are looked up in what this server has shown."""
    return Case(question=question, answer=answer, steps=steps_of(steps, mia.ledger), as_of=as_of)


async def ask_plan(question: str, caption: str, form: PlanForm | None, ctx: Context[Backend]) -> Sample | None:
    """The planning request for the host's model."""
    mia = await borrower(ctx, "planner", form)
    if mia is None:
        return None
    space = caller_of(ctx).namespace("", mia.config.memory.namespace)
    fence = mark("plan", question, caption)
    return sample(await mia.plan_request(asked(question, caption), mark=fence, namespace=space))


async def ask_replan(
    question: str, plan: str, steps: list[StepNote], answer: str, form: ReplanForm | None, ctx: Context[Backend]
) -> Sample | None:
    """The reflection, for the host's model."""
    mia = await borrower(ctx, "planner", form)
    if mia is None:
        return None
    done = steps_of(steps, mia.ledger)
    fence = mark("replan", question, plan, answer, [step.model_dump() for step in steps])
    return sample(mia.replan_request(asked(question), plan, done, answer, mark=fence))


async def ask_judge(
    question: str, answer: str, steps: list[StepNote], form: JudgeForm | None, as_of: str, ctx: Context[Backend]
) -> Sample | None:
    """All three reviews in one request for the host's model; what it cites is checked by us."""
    mia = await borrower(ctx, "judge", form)
    if mia is None:
        return None
    fence = mark("judge", question, answer, as_of, [step.model_dump() for step in steps])
    return sample(await judge_request(case_of(mia, question, answer, steps, as_of), mark=fence))


async def judge_request(case: Case, *, mark: str) -> tuple[Message, ...]:
    """What a borrowed judge is to read: all three reviews in one turn. Renders alike for the same case and mark."""
    examined = await anyio.to_thread.run_sync(examine, case)
    brief = judge_brief(case, examined, mark=mark)
    checks = "\n".join(f"- {line}" for line in brief.checks)
    text = load_prompt("judge_sample").render(data=brief.data, checks=checks)
    return (Message(role="user", content=text),)


async def borrower(ctx: Context[Backend], role: Role, form: object) -> "Mia | None":
    """`Mia`, when this call is to borrow the host's model: no form yet, sampling offered, no endpoint of our own."""
    offered = ctx.client_capabilities
    if form is not None or offered is None or offered.sampling is None:
        return None
    mia = await ctx.request_context.lifespan_context.mia()
    return None if role in mia.models else mia


def sample(messages: Sequence[Message]) -> Sample:
    """The sampling request; system turns go where the protocol has them."""
    turns = [
        SamplingMessage(role=turn.role, content=TextContent(type="text", text=turn.content))
        for turn in messages
        if turn.role != "system"
    ]
    system = "\n\n".join(turn.content for turn in messages if turn.role == "system")
    return Sample(turns, max_tokens=MAX_TOKENS, system_prompt=system or None, temperature=0.0)


def mark(*parts: Any) -> str:
    """Twelve hexadecimal digits that depend on the arguments alone."""
    return sha256(orjson.dumps(parts)).hexdigest()[:12]


def draft_text(draft: CreateMessageResult | None) -> str | None:
    """The text the host's model wrote; None when it was not asked.

    Raises:
        ToolError: it answered with something that is no text.
    """
    if draft is None:
        return None
    blocks = draft.content if isinstance(draft.content, list) else [draft.content]
    text = "".join(block.text for block in blocks if isinstance(block, TextContent))
    if not text.strip():
        raise ToolError("The host's model answered without text. Call again with `form` filled in by yourself.")
    return text
