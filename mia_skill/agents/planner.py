"""Planner: plans with memory, and changes the plan at most once (paper 3.1, spec section 1)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mia_skill.agents.forms import PlanForm, ReplanForm
from mia_skill.agents.quote import quote_memories, quote_run
from mia_skill.core.brief import Brief
from mia_skill.core.chat import ChatModel, Message, asked_schema, parse_form
from mia_skill.core.errors import ModelReplyError, PlanError
from mia_skill.core.prompts import load_prompt
from mia_skill.core.types import Plan, Question, Step, Text, Usage, Value
from retrieval.bank import Recall
from trust.process import Signal

__all__ = ["Planner", "Replan", "plan_brief", "plan_from_form", "plan_messages", "read_plan", "read_replan"]
__all__ += ["replan_brief", "replan_from_form", "replan_messages"]


SAMPLED = 1.0
"""Temperature at which several plans for one question are written: at 0 they would be one."""


class Replan(Value):
    """The Planner's one reflection: keep the plan, or follow a new one."""

    need_replan: bool
    reason: Text = ""
    plan: Plan | None = None
    """The new plan; None when the old one stands."""


@dataclass(frozen=True)
class Planner:
    """Asks one chat model. A failed call raises; it never becomes an empty plan."""

    model: ChatModel
    brain: str = "endpoint"

    async def plan(self, question: Question, recall: Recall) -> tuple[Plan, Usage]:
        """A plan for `question`, written with the recalled units in view.

        Raises:
            ModelError: the endpoint failed.
            PlanError: it answered, but not with a plan.
        """
        schema = asked_schema(PlanForm)
        (reply,) = await self.model.complete(plan_messages(question, recall), schema=schema)
        return read_plan(reply.text, recall, brain=self.brain), reply.usage

    async def plans(self, question: Question, recall: Recall, n: int) -> tuple[Plan, ...]:
        """At most `n` sampled plans: a reply that is no plan is left out.

        Raises:
            ModelError: the endpoint failed.
            PlanError: no reply was a plan.
        """
        schema = asked_schema(PlanForm)
        replies = await self.model.complete(plan_messages(question, recall), schema=schema, temperature=SAMPLED, n=n)
        made, refused = [], PlanError("no plan was asked for", raw="")
        for reply in replies:
            try:
                made.append(read_plan(reply.text, recall, brain=self.brain))
            except PlanError as error:
                refused = error
        if not made:
            raise refused
        return tuple(made)

    async def replan(
        self, question: Question, plan: Plan, steps: Sequence[Step], answer: str, signals: Sequence[Signal]
    ) -> tuple[Replan, Usage]:
        """Reflect on a run, once.

        Raises:
            ModelError: the endpoint failed.
            PlanError: it answered, but not with a decision.
        """
        messages = replan_messages(question, plan.text, steps, answer, signals)
        (reply,) = await self.model.complete(messages, schema=asked_schema(ReplanForm))
        return read_replan(reply.text, plan.memory_ids, brain=self.brain), reply.usage


def plan_messages(question: Question, recall: Recall, *, mark: str | None = None) -> tuple[Message, ...]:
    """What a planning model reads. Memories are quoted data in the user turn. `mark` fixes the fence (spec of
    the host ladder: a request must render alike on every round)."""
    text = load_prompt("plan").render(question=ask(question), memories=quote_memories(recall, mark=mark))
    return (Message(role="user", content=text),)


def read_plan(text: str, recall: Recall, *, brain: str) -> Plan:
    """The plan in a model's reply.

    Raises:
        PlanError: there is none; nothing is guessed from prose.
    """
    try:
        return plan_from_form(parse_form(text, PlanForm), recall, brain=brain)
    except ModelReplyError as cause:
        raise PlanError(str(cause), raw=cause.raw) from None


def plan_from_form(form: PlanForm, recall: Recall, *, brain: str) -> Plan:
    """A filled-in form as a plan. Credit goes to every unit that was shown: the plan was written in their sight."""
    shown = tuple(hit.unit.id for hit in recall.hits)
    return Plan(steps=tuple(form.steps), memory_ids=shown, brain=brain, prompt_digest=load_prompt("plan").digest)


def plan_brief(question: Question, recall: Recall) -> Brief:
    """The planning step, handed to the host agent itself."""
    return Brief(
        task="plan",
        instructions=load_prompt("plan_brief").text,
        data=quote_memories(recall),
        checks=(recall.note,) if recall.note else (),
        form_schema=PlanForm.model_json_schema(),
        submit_with='plan(question=<same>, form={"steps": [...], "memory_ids": [...]})',
    )


def replan_messages(
    question: Question,
    plan: str,
    steps: Sequence[Step],
    answer: str,
    signals: Sequence[Signal],
    *,
    mark: str | None = None,
) -> tuple[Message, ...]:
    """What a reflecting model reads: the run as quoted data, our own signals outside the quote."""
    text = load_prompt("replan").render(
        question=ask(question),
        plan=plan,
        signals="\n".join(f"- {signal.name}: {signal.detail}" for signal in signals) or "- nothing unusual",
        trajectory=quote_run(steps, answer, mark=mark),
    )
    return (Message(role="user", content=text),)


def read_replan(text: str, memory_ids: tuple[str, ...], *, brain: str) -> Replan:
    """The decision in a model's reply.

    Raises:
        PlanError: there is none.
    """
    try:
        return replan_from_form(parse_form(text, ReplanForm), memory_ids, brain=brain)
    except ModelReplyError as cause:
        raise PlanError(str(cause), raw=cause.raw) from None


def replan_from_form(form: ReplanForm, memory_ids: tuple[str, ...], *, brain: str) -> Replan:
    """A filled-in form as a decision; steps beside a "no" are dropped."""
    if not form.need_replan:
        return Replan(need_replan=False, reason=form.reason)
    digest = load_prompt("replan").digest
    plan = Plan(steps=tuple(form.steps), memory_ids=memory_ids, brain=brain, prompt_digest=digest)
    return Replan(need_replan=True, reason=form.reason, plan=plan)


def replan_brief(question: Question, plan: str, signals: Sequence[Signal]) -> Brief:
    """The reflection, handed to the host agent itself: it knows its run, we add what we found in it."""
    return Brief(
        task="replan",
        instructions=load_prompt("replan_brief").text,
        data=f"question: {ask(question)}\nplan:\n{plan or '(none)'}",
        checks=tuple(f"{signal.name}: {signal.detail}" for signal in signals) or ("nothing unusual found",),
        form_schema=ReplanForm.model_json_schema(),
        submit_with='replan(<same arguments>, form={"need_replan": ..., "reason": "...", "steps": [...]})',
    )


def ask(question: Question) -> str:
    """The question as a model reads it, with what its image shows."""
    return f"{question.text}\n(The image shows: {question.caption})" if question.caption else question.text
