"""Router: picks one of several plans before any is carried out (paper 3.4)."""

from collections.abc import Sequence
from dataclasses import dataclass

from mia_skill.agents.forms import RouterForm
from mia_skill.agents.planner import ask
from mia_skill.agents.quote import quote_pairs
from mia_skill.core.chat import ChatModel, Message, asked_schema, parse_form
from mia_skill.core.errors import InputError, ModelReplyError, PlanError
from mia_skill.core.prompts import fence, load_prompt
from mia_skill.core.types import Plan, Question, Usage
from retrieval.bank import PairHit

__all__ = ["Router", "router_messages"]


@dataclass(frozen=True)
class Router:
    """Asks one chat model, showing it the plan pairs of the most similar questions, most similar first."""

    model: ChatModel

    async def choose(self, question: Question, plans: Sequence[Plan], pairs: Sequence[PairHit]) -> tuple[int, Usage]:
        """The index, from 0, of the plan to follow.

        Raises:
            InputError: there is no plan to choose from.
            PlanError: the model's reply is no choice among them.
        """
        if not plans:
            raise InputError("there is no plan to choose from")
        schema = asked_schema(RouterForm)
        (reply,) = await self.model.complete(router_messages(question, plans, pairs), schema=schema)
        try:
            form = parse_form(reply.text, RouterForm)
        except ModelReplyError as cause:
            raise PlanError(str(cause), raw=cause.raw) from None
        if form.choice > len(plans):
            raise PlanError(f"the Router chose plan {form.choice} of {len(plans)}", raw=reply.text)
        return form.choice - 1, reply.usage


def router_messages(question: Question, plans: Sequence[Plan], pairs: Sequence[PairHit]) -> tuple[Message, ...]:
    """What the Router reads."""
    numbered = "\n\n".join(f"plan {number}\n{plan.text}" for number, plan in enumerate(plans, 1))
    text = load_prompt("router").render(
        question=ask(question), pairs=quote_pairs(pairs), plans=fence("plans", numbered)
    )
    return (Message(role="user", content=text),)
