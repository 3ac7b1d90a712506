"""Executor: ReAct over search and other tools, within a budget (paper 3.1). It sees the plan, never the memories."""

from dataclasses import dataclass
from typing import Protocol

from mia_skill.agents.cites import cited
from mia_skill.agents.planner import ask
from mia_skill.agents.tools import AgentTool, usage
from mia_skill.core.budget import Meter, stop_reason
from mia_skill.core.chat import ChatModel, Message
from mia_skill.core.errors import BudgetExceeded, CorpusError, MiaError, SearchError, ToolCallError, ToolOutage
from mia_skill.core.events import Event, Listener, silent
from mia_skill.core.prompts import load_prompt
from mia_skill.core.toolformat import ToolCall, Turn, parse_turn, render_result
from mia_skill.core.types import Passage, Plan, Question, Step, StopReason, Trajectory, Usage, clean_text

__all__ = ["Executor", "Finder"]

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
        messages = [Message(role="user", content=self.prompt(question, plan, before))]
        steps: list[Step] = []
        malformed = 0
        while True:
            try:
                meter.step()
            except BudgetExceeded as limit:
                return Trajectory(steps=tuple(steps), stop=stop_reason(limit))
            (reply,) = await self.model.complete(messages, stop=("</tool_call>", "</answer>"))
            meter.charge(reply.usage)
            text = closed(reply.text)
            turn = read(text)
            if turn is None or not (turn.calls or turn.answer is not None):
                malformed += 1
                if malformed >= MALFORMED_TURNS:
                    return Trajectory(steps=tuple(steps), stop=StopReason.GAVE_UP)
                told = "That held neither one well-formed tool call nor an answer. Reply in one of the two forms."
                messages += [Message(role="assistant", content=text), Message(role="user", content=told)]
                continue
            malformed = 0
            if turn.answer is not None:
                answer, cites = cited(turn.answer, (*before, *steps))
                return Trajectory(steps=tuple(steps), answer=answer, stop=StopReason.ANSWERED, cites=cites)
            step = await self.call(turn.calls[0], turn.thought, plan_index)
            meter.charge(Usage(searches=1))
            steps.append(step)
            await listener(Event(stage=step.tool, message=step.query, done=len(steps)))
            messages += [
                Message(role="assistant", content=text),
                Message(role="user", content=render_result(shown(step))),
            ]

    def prompt(self, question: Question, plan: Plan, before: tuple[Step, ...]) -> str:
        """The first turn."""
        text = load_prompt("executor").render(question=ask(question), plan=plan.text, tools=usage(self.tools))
        text = f"{text}\n{self.notes}" if self.notes else text
        if not before:
            return text
        found = "\n\n".join(shown(step) for step in before)
        return f"{text}\nAn earlier plan found this:\n{render_result(found)}"

    async def call(self, call: ToolCall, thought: str, plan_index: int) -> Step:
        """One tool call as a step. A call that cannot be made as asked (no such tool, a page that is not there, a
        second image search) is a step with an error, never an empty result.

        Raises:
            ToolOutage: the tool itself is down, which says nothing about the plan or the model.
        """
        tool = next((one for one in self.tools if one.name == call.name), None)
        query = tool.query(call.arguments) if tool else str(call.arguments.get("query", ""))
        made = Step(thought=thought, tool=call.name, query=query, plan_index=plan_index)
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


def shown(step: Step) -> str:
    """What a step brought, as the model reads it."""
    if step.error is not None:
        return f"The call failed: {step.error}"
    lines = [f"[{passage.id}] {passage.title}\n{passage.text}" for passage in step.passages]
    return "\n\n".join(lines) or "Nothing was found."
