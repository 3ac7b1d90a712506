"""The Memory-Planner service (spec section 11) over `Mia`: same routes, same JSON. `indices` are ids of units here."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Any

import anyio.to_thread
from pydantic import Field, JsonValue

from mcp_server.rest_forms import Asking, Batch, Chat, Named, Reflecting, Saving, Taken
from mcp_server.rest_memory import MemoryDesk
from mia_skill.agents.forms import PlanForm, ReplanForm
from mia_skill.agents.mia import Mia
from mia_skill.agents.planner import plan_messages, read_plan
from mia_skill.agents.quote import RUN_CHARS, quote_memories
from mia_skill.agents.router import Router
from mia_skill.core.chat import ChatModel, Message, asked_schema, parse_form
from mia_skill.core.errors import ConfigError, ModelReplyError, PlanError
from mia_skill.core.json_service import JsonService, Route
from mia_skill.core.prompts import fence, load_prompt
from mia_skill.core.types import Plan, Text
from retrieval.bank import Recall

__all__ = ["planner_service"]

PLANS = 4
Items = Annotated[list[Asking], Field(max_length=Batch)]


class Tracing(Taken):
    """What `/replan_train` takes."""

    question: Text
    plan: Text
    trace: Text
    mem_context1: Text = ""
    mem_context2: Text = ""


@dataclass(frozen=True)
class Desk:
    """Answers the routes. A model that fails is an error, never an empty plan."""

    mia: Mia

    def model(self) -> ChatModel:
        """The Planner's.

        Raises:
            ConfigError: none is configured.
        """
        if "planner" not in self.mia.models:
            raise ConfigError("planning needs a model: set models.default.base_url and models.default.model")
        return self.mia.models["planner"]

    async def recall(self, item: Asking) -> Recall:
        """The memories of a question: `mem_top_k` of each kind."""
        return await self.mia.recall(item.asked, k_success=item.mem_top_k, k_failure=item.mem_top_k)

    async def memory(self, items: list[Asking]) -> list[dict[str, object]]:
        """What the Planner would be shown."""
        found = [await self.recall(item) for item in items]
        return [{"context": quote_memories(one), **indices(one)} for one in found]

    async def plan(self, items: list[Asking]) -> list[dict[str, object]]:
        """A plan each."""
        return [await self._plan(item, 1) for item in items]

    async def best_plan(self, items: list[Asking]) -> list[dict[str, object]]:
        """Four plans each at temperature 1, of which the Router picks one."""
        return [await self._plan(item, PLANS) for item in items]

    async def _plan(self, item: Asking, n: int) -> dict[str, object]:
        recall = await self.recall(item)
        asked = plan_messages(item.asked, recall)
        heat = 1.0 if n > 1 else None
        replies = await self.model().complete(asked, schema=asked_schema(PlanForm), n=n, temperature=heat)
        plans = [read_plan(reply.text, recall, brain="endpoint") for reply in replies]
        chosen = await self._pick(item, plans) if n > 1 else 0
        told: dict[str, object] = {
            "plan": plans[chosen].text,
            "messages": [*spoken(asked), {"role": "assistant", "content": plans[chosen].text}],
            **indices(recall),
        }
        if n > 1:
            told |= {"selected_plan_number": chosen + 1, "all_plans": [plan.text for plan in plans]}
        return told

    async def _pick(self, item: Asking, plans: list[Plan]) -> int:
        question = item.asked

        def similar() -> Any:
            space = self.mia.config.memory.namespace
            return self.mia.bank.similar_pairs(question.text, caption=question.caption, namespace=space)

        pairs = await anyio.to_thread.run_sync(similar)
        router = Router(self.mia.models.get("router") or self.model())
        return (await router.choose(question, plans, pairs))[0]

    async def judge_replan(self, items: list[Reflecting]) -> list[dict[str, object]]:
        """Yes or no, as a form and never by looking for the letters in prose."""
        told: list[dict[str, object]] = []
        for item in items:
            messages = [*taken(item.past_messages), reflection(item.workflow)]
            form, text = await self._reflect(messages)
            need = "yes" if form.need_replan else "no"
            told.append({"need_replan": need, "messages": [*spoken(messages), {"role": "assistant", "content": text}]})
        return told

    async def _reflect(self, messages: list[Message]) -> tuple[ReplanForm, str]:
        (reply,) = await self.model().complete(messages, schema=asked_schema(ReplanForm))
        try:
            return parse_form(reply.text, ReplanForm), reply.text
        except ModelReplyError as cause:
            raise PlanError(str(cause), raw=cause.raw) from None

    async def replan(self, items: list[Asking]) -> list[dict[str, object]]:
        """The new plan: the one the reflection already wrote, else a fresh one over the whole conversation."""
        told: list[dict[str, object]] = []
        for item in items:
            recall = await self.recall(item)
            past = spoken(taken(item.past_messages))
            steps = written(item.past_messages)
            if not steps:
                messages = [*taken(item.past_messages), *plan_messages(item.asked, recall)]
                (reply,) = await self.model().complete(messages, schema=asked_schema(PlanForm))
                steps = read_plan(reply.text, recall, brain="endpoint").steps
            text = Plan(steps=steps).text
            said = [*past, {"role": "assistant", "content": text}]
            told.append({"replan": text, "messages": said, **indices(recall)})
        return told

    async def replan_train(self, given: Tracing) -> dict[str, object]:
        """A new plan whatever the run was like: training asks for both branches."""
        memories = "\n".join(filter(None, (given.mem_context1, given.mem_context2)))
        question = f"{given.question}\n\n{fence('memories', memories)}" if memories else given.question
        form, text = await self._reflect([reflection(given.trace, question=question, plan=given.plan)])
        return {"replan": True, "content": Plan(steps=tuple(form.steps)).text if form.steps else text}


def reflection(trace: str, *, question: str = "(asked above)", plan: str = "(given above)") -> Message:
    """The reflection on a run that came as text: quoted, the middle left out when it is too long."""
    if len(trace) > RUN_CHARS:
        trace = f"{trace[: RUN_CHARS // 2]}\n[...]\n{trace[-RUN_CHARS // 2 :]}"
    text = load_prompt("replan").render(
        question=question, plan=plan, signals="- nothing was looked for", trajectory=fence("run", trace)
    )
    return Message(role="user", content=text)


def written(past: list[Chat]) -> tuple[str, ...]:
    """The steps of a reflection that ended a conversation with yes."""
    if not past or past[-1].role != "assistant":
        return ()
    try:
        return tuple(parse_form(past[-1].content, ReplanForm).steps)
    except ModelReplyError:
        return ()


def indices(recall: Recall) -> dict[str, object]:
    """Which memories were shown."""
    good, bad = ([hit.unit.id for hit in hits] for hits in (recall.successes, recall.failures))
    return {"pos_indices": good, "neg_indices": bad}


def taken(past: list[Chat]) -> list[Message]:
    """A client's conversation. Nothing a client sends becomes a system turn."""
    return [Message(role="assistant" if one.role == "assistant" else "user", content=one.content) for one in past]


def spoken(messages: Any) -> list[dict[str, str]]:
    """Messages as JSON."""
    return [{"role": one.role, "content": one.content} for one in messages]


def planner_service(mia: Mia, hosts: Collection[str] | None = None) -> JsonService:
    """The application."""
    desk, memory = Desk(mia), MemoryDesk(mia)
    routes = (
        Route("POST", "/memory", desk.memory, Items, "memories of questions"),
        Route("POST", "/plan", desk.plan, Items, "a plan a question"),
        Route("POST", "/best_plan", desk.best_plan, Items, "the best of four plans a question"),
        Route("POST", "/judge_replan", desk.judge_replan, Annotated[list[Reflecting], Field(max_length=Batch)]),
        Route("POST", "/replan", desk.replan, Items, "a new plan a question"),
        Route("POST", "/replan_train", desk.replan_train, Tracing, "a new plan, for training"),
        Route("POST", "/batch_memory_save", memory.batch_save, Annotated[list[Saving], Field(max_length=Batch)]),
        Route("POST", "/save_memory", memory.save, Named, "write the memory to a named file"),
        Route("POST", "/load_memory", memory.load, Named, "replace the memory by a named file"),
        Route("POST", "/clear_memory", memory.clear, dict[str, JsonValue], "forget everything"),
    )
    return JsonService("MIA Memory-Planner", routes, hosts=hosts)
