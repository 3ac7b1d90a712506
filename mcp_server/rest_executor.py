"""The Executor service for Planner training (spec section 11) over `Mia`."""

from collections.abc import Collection
from dataclasses import dataclass

from pydantic import Field

from mcp_server.rest_forms import Chat, Taken, chat_of, steps_of_chat
from mia_skill.agents.mia import Mia
from mia_skill.agents.outfit import executor_for
from mia_skill.agents.planner import replan_messages
from mia_skill.agents.talk import shown
from mia_skill.core.budget import Meter
from mia_skill.core.json_service import JsonService, Route
from mia_skill.core.types import Plan, Question, Step, Text, Trajectory
from trust.process import signals

__all__ = ["Carrying", "ExecutorDesk", "executor_routes", "executor_service"]

WORDS = 512
"""Of a tool's text in a trace."""


class Carrying(Taken):
    """A plan to carry out; with `replan`, the second one, after the conversation in `messages`."""

    data_id: str | int | None = None
    question: Text = Field(min_length=1)
    plan: Text = Field(min_length=1)
    messages: list[Chat] = Field(default=[])
    replan: Text = ""


@dataclass(frozen=True)
class ExecutorDesk:
    """Answers the routes."""

    mia: Mia

    async def plan(self, given: Carrying) -> dict[str, object]:
        """Carry the first plan out."""
        return await self._carry(given, given.plan, ())

    async def replan(self, given: Carrying) -> dict[str, object]:
        """Go on with the second plan; what the first found is known."""
        return await self._carry(given, given.replan or given.plan, steps_of_chat(given.messages).steps)

    async def _carry(self, given: Carrying, plan: str, before: tuple[Step, ...]) -> dict[str, object]:
        config = self.mia.config
        question = Question(text=given.question)
        executor = executor_for(self.mia, question)
        lines = Plan(steps=tuple(line for line in plan.splitlines() if line.strip()) or (plan,))
        run = await executor.run(question, lines, Meter(config.budget), before=before, plan_index=int(bool(before)))
        steps = before + run.steps
        found = signals(question.text, steps, run.answer)
        prompt = replan_messages(question, plan, steps, run.answer, found)[0].content
        history = [one.model_dump() for one in given.messages] if before else []
        history += chat_of(executor.prompt(question, lines, before), run)
        trace = trace_of(given.question, Trajectory(steps=steps, answer=run.answer))
        return {"prompt": prompt, "trace": trace, "history_messages": history}


def trace_of(question: str, run: Trajectory) -> str:
    """A run in the text form that upstream's training reads."""
    parts = [f"### Question\n{question}"]
    for number, step in enumerate(run.steps, 1):
        back = " ".join(shown(step).split()[:WORDS])
        parts.append(
            f"### Round {number}\n#### Agent Reasoning and Tool Call\n{step.thought}\n{step.tool}: {step.query}\n"
            f"#### Tool Call Return Results\n{back}"
        )
    parts.append(f"### Answer\n{run.answer or '(none)'}")
    return "\n".join(parts)


def executor_routes(mia: Mia) -> tuple[Route, ...]:
    """Its two routes."""
    desk = ExecutorDesk(mia)
    return (
        Route("POST", "/plan", desk.plan, Carrying, "carry a plan out"),
        Route("POST", "/replan", desk.replan, Carrying, "go on with a second plan"),
    )


def executor_service(mia: Mia, hosts: Collection[str] | None = None) -> JsonService:
    """The application."""
    return JsonService("MIA Executor", executor_routes(mia), hosts=hosts)
