"""Executor: ReAct over search and other tools, within a budget (paper 3.1). It sees the plan, never the memories."""

from dataclasses import dataclass
from functools import partial
from typing import Protocol

import anyio

from mia_skill.agents.cites import cited
from mia_skill.agents.planner import ask
from mia_skill.agents.talk import Talk, shown
from mia_skill.agents.tools import AgentTool, spec_of, usage
from mia_skill.core.budget import Meter, stop_reason
from mia_skill.core.chat import ChatModel, ToolSpec, act
from mia_skill.core.errors import (
    BudgetExceeded,
    ContextOverflow,
    CorpusError,
    MiaError,
    SearchError,
    ToolCallError,
    ToolOutage,
)
from mia_skill.core.events import Event, Listener, silent
from mia_skill.core.prompts import load_prompt
from mia_skill.core.toolformat import ToolCall, Turn, parse_turn, render_result
from mia_skill.core.types import Passage, Plan, Question, Step, StopReason, Trajectory, Usage, clean_text

__all__ = ["Executor", "Finder"]

PARALLEL = 5
"""Calls made at once for one turn."""
SEARCH = ToolSpec(
    name="search",
    purpose="find passages about a query, or about several queries at once",
    parameters={
        "type": "object",
        "properties": {
            "query": {"type": "string"},
            "queries": {"type": "array", "items": {"type": "string"}, "maxItems": PARALLEL},
        },
    },
)
MALFORMED_TURNS = 2
"""How often in a row a reply may hold neither a call nor an answer before the run is given up."""


class Finder(Protocol):
    """What the Executor searches with: a `SearchEngine`."""

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]: ...


@dataclass(frozen=True)
class Executor:
    """Carries out one plan with one model, one search tool and what else there is."""

    model: ChatModel
    finder: Finder
    k: int = 5
    tools: tuple[AgentTool, ...] = ()
    """Besides `search`, for this episode."""
    notes: str = ""
    """Memories for the Executor itself, already quoted: for baselines. MIA's Executor never sees any."""
    room: int | None = None
    """Tokens that its conversation may have; None: until the model refuses it."""

    async def run(
        self,
        question: Question,
        plan: Plan,
        meter: Meter,
        *,
        before: tuple[Step, ...] = (),
        plan_index: int = 0,
        listener: Listener = silent,
    ) -> Trajectory:
        """Work until there is an answer or a limit is reached. `before` is what an earlier plan found.

        Raises:
            ModelError: the endpoint failed; there is no trajectory.
            ToolOutage: a tool is down; there is no trajectory either.
        """
        talk = Talk(partial(self.prompt, question, plan, before), self.room)
        steps: list[Step] = []
        malformed = 0
        while True:
            try:
                meter.step()
                with meter.within():
                    text = await self.say(talk, meter)
                    turn = read(text) or Turn()
                    found = await self.work(turn, plan_index, meter) if turn.calls else ()
            except BudgetExceeded as limit:
                return Trajectory(steps=tuple(steps), stop=stop_reason(limit))
            if turn.answer is not None:
                answer, cites = cited(turn.answer, (*before, *steps))
                return Trajectory(steps=tuple(steps), answer=answer, stop=StopReason.ANSWERED, cites=cites)
            malformed = 0 if turn.calls else malformed + 1
            if malformed >= MALFORMED_TURNS:
                return Trajectory(steps=tuple(steps), stop=StopReason.GAVE_UP)
            for step in (one for call in found for one in call):
                steps.append(step)
                await listener(Event(stage=step.tool, message=step.query, done=len(steps)))
            talk.add(text, found)

    async def say(self, talk: Talk, meter: Meter) -> str:
        """The model's next turn. A conversation that it cannot hold is told shorter.

        Raises:
            ContextOverflow: also its shortest form is too long.
            ModelError: the endpoint failed.
        """
        while True:
            messages = talk.messages()
            try:
                reply = await act(self.model, messages, self.specs, stop=("</tool_call>", "</answer>"))
            except ContextOverflow:
                if not talk.shorten():
                    raise
                continue
            talk.measure(messages, reply.usage)
            meter.charge(reply.usage)
            return closed(reply.text)

    async def work(self, turn: Turn, plan_index: int, meter: Meter) -> tuple[tuple[Step, ...], ...]:
        """All calls of a turn at once: the steps of each, in their order. What the budget has no room for is not done.

        Raises:
            ToolOutage: a tool is down.
        """
        asked = [(place, one) for place, call in enumerate(turn.calls) for one in apart(call)][: meter.searches_left]
        made: list[Step | ToolOutage] = [Step()] * len(asked)

        async def one(number: int, call: ToolCall) -> None:
            thought = "" if number else turn.thought
            try:
                made[number] = await self.call(call, thought, plan_index, refused=number >= PARALLEL)
            except ToolOutage as failure:
                made[number] = failure

        began = meter.clock()
        async with anyio.create_task_group() as group:
            for number, (_, call) in enumerate(asked):
                group.start_soon(one, number, call)
        meter.charge(Usage(searches=len(asked)))
        meter.tool_seconds += meter.clock() - began
        if down := next((step for step in made if isinstance(step, ToolOutage)), None):
            raise down
        steps = [(place, step) for (place, _), step in zip(asked, made, strict=True) if isinstance(step, Step)]
        return tuple(tuple(step for at, step in steps if at == place) for place in dict(steps))

    @property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as a server is told of them."""
        return (SEARCH, *map(spec_of, self.tools))

    def prompt(self, question: Question, plan: Plan, before: tuple[Step, ...], chars: int | None = None) -> str:
        """The first turn; of what an earlier plan found, `chars` characters a passage."""
        text = load_prompt("executor").render(question=ask(question), plan=plan.text, tools=usage(self.tools))
        text = f"{text}\n{self.notes}" if self.notes else text
        if not before:
            return text
        found = "\n\n".join(shown(step, chars) for step in before)
        return f"{text}\nAn earlier plan found this:\n{render_result(found)}"

    async def call(self, call: ToolCall, thought: str, plan_index: int, *, refused: bool = False) -> Step:
        """One tool call as a step. A call that cannot be made as asked (no such tool, a page that is not there, a
        second image search) is a step with an error, never an empty result.

        Raises:
            ToolOutage: the tool itself is down, which says nothing about the plan or the model.
        """
        tool = next((one for one in self.tools if one.name == call.name), None)
        query = tool.query(call.arguments) if tool else str(call.arguments.get("query", ""))
        made = Step(thought=thought, tool=call.name, query=query, plan_index=plan_index)
        if refused:
            return made.model_copy(update={"error": f"at most {PARALLEL} calls are made at once: ask again"})
        if tool is None and (call.name != "search" or not query.strip()):
            error = f'there is no tool {call.name!r}; call "search" with a "query"'
            return made.model_copy(update={"error": clean_text(error)})
        try:
            found = await (tool.call(call.arguments) if tool else self.finder.search(query, self.k))
        except MiaError as failure:
            if outage(failure):
                raise ToolOutage(f"{call.name} is down: {failure}") from failure
            return made.model_copy(update={"error": clean_text(str(failure))})
        return made.model_copy(update={"passages": found})


def apart(call: ToolCall) -> tuple[ToolCall, ...]:
    """A search of several queries as several searches."""
    queries = call.arguments.get("queries")
    if call.name != "search" or not isinstance(queries, list) or not queries:
        return (call,)
    return tuple(ToolCall(name="search", arguments={"query": query}) for query in queries)


def outage(failure: MiaError) -> bool:
    """Is it the tool that failed, and not the call? A query that the engine refuses is the model's doing."""
    return isinstance(failure, CorpusError) or (isinstance(failure, SearchError) and failure.kind != "bad_request")


def read(text: str) -> Turn | None:
    """The turn in a reply; None when its tool call is malformed."""
    try:
        return parse_turn(text)
    except ToolCallError:
        return None


def closed(text: str) -> str:
    """The reply with the closing tag that the stop sequence took away."""
    for tag in ("tool_call", "answer"):
        if text.count(f"<{tag}>") == text.count(f"</{tag}>") + 1:
            return f"{text}</{tag}>"
    return text
