"""The Executor at its limits: several searches at once, a context that is full, time and money that run out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import pytest

from mia_skill.agents.executor import PARALLEL, Executor
from mia_skill.core.budget import Meter
from mia_skill.core.chat import Message, ScriptedChat
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import ContextOverflow, SearchError, ToolOutage
from mia_skill.core.toolformat import ToolCall, render_call
from mia_skill.core.types import Passage, Plan, Question, Step, StopReason, Trajectory

QUESTION = Question(text="Who founded Velmora Works?")
PLAN = Plan(steps=("find the founder",))
ANSWER = "<answer>Aldric Tesh</answer>"
LONG = "It was set up by Aldric Tesh. " + "More is written here. " * 100
FULL = ContextOverflow("the maximum context length is 4096 tokens", status=400)


def searching(*queries: str) -> str:
    return render_call(ToolCall(name="search", arguments={"queries": list(queries)}))


@dataclass
class Library:
    """Every query finds one long passage with the query as its id; `down` is out, and "hang" never comes back."""

    down: str = ""
    asked: list[str] = field(default_factory=list)
    meeting: anyio.Event = field(default_factory=anyio.Event)
    meet: int = 0
    """So many searches must be under way before one of them comes back."""

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        self.asked.append(query)
        if len(self.asked) >= self.meet:
            self.meeting.set()
        await self.meeting.wait()
        if query == self.down:
            raise SearchError("the engine is down", engine="web")
        if query == "hang":
            await anyio.sleep_forever()
        return (Passage(id=query, title=f"about {query}", text=LONG),)


async def run(
    lines: Sequence[str | Exception],
    library: Library | None = None,
    *,
    room: int | None = None,
    before: tuple[Step, ...] = (),
    **limits: object,
) -> tuple[Trajectory, ScriptedChat]:
    model = ScriptedChat(lines)
    executor = Executor(model, library or Library(), room=room)
    meter = Meter(BudgetConfig.model_validate(limits))
    return await executor.run(QUESTION, PLAN, meter, before=before), model


def told(messages: Sequence[Message]) -> str:
    return "\n".join(one.content for one in messages)


async def test_several_queries_are_searched_at_once_and_each_is_a_step() -> None:
    library = Library(meet=3)
    made, model = await run([searching("a", "b", "c"), ANSWER], library)
    assert [step.query for step in made.steps] == ["a", "b", "c"]
    assert [step.passages[0].id for step in made.steps] == ["a", "b", "c"]
    assert model.seen[1][-1].content.count("<tool_response>") == 1
    assert "b:\n[b] about b" in model.seen[1][-1].content


async def test_several_calls_of_one_turn_are_all_made_and_each_has_its_result() -> None:
    two = "\n".join(render_call(ToolCall(name="search", arguments={"query": one})) for one in ("a", "b"))
    made, model = await run([two, ANSWER], Library(meet=2))
    assert [step.query for step in made.steps] == ["a", "b"]
    assert model.seen[1][-1].content.count("<tool_response>") == 2


async def test_more_queries_than_are_made_at_once_are_told_to_come_again() -> None:
    library = Library()
    made, _ = await run([searching(*"abcdefg"), ANSWER], library)
    assert sorted(library.asked) == list("abcdefg"[:PARALLEL])
    assert [step.error is None for step in made.steps] == [True] * PARALLEL + [False] * 2


async def test_one_search_of_several_that_is_down_leaves_no_sample() -> None:
    with pytest.raises(ToolOutage, match="search is down: the engine is down"):
        await run([searching("a", "b"), ANSWER], Library(down="b"))


async def test_queries_beyond_the_budget_are_not_searched() -> None:
    library = Library()
    made, _ = await run([searching("a", "b", "c")], library, searches=2)
    assert sorted(library.asked) == ["a", "b"]
    assert made.stop is StopReason.SEARCH_LIMIT


async def test_a_model_that_can_read_no_more_is_told_the_oldest_findings_shorter_and_goes_on() -> None:
    made, model = await run([searching("a"), searching("b"), FULL, ANSWER])
    assert made.answer == "Aldric Tesh"
    refused, taken = model.seen[2], model.seen[3]
    assert told(refused).count(LONG) == 2
    assert told(taken).count(LONG) == 1
    assert taken[-1] == refused[-1]
    assert [step.passages[0].text for step in made.steps] == [LONG, LONG]


async def test_a_known_context_is_never_overfilled() -> None:
    before = (Step(query="old", passages=(Passage(id="old", title="before", text=LONG),)),)
    lines = [searching(one) for one in "abcd"]
    made, model = await run([*lines, ANSWER], room=900, before=before)
    assert made.answer == "Aldric Tesh"
    assert max(len(told(one)) for one in model.seen) <= 900 * 3
    assert "[a] about a" in told(model.seen[-1])
    assert "[old] before" in told(model.seen[-1])


async def test_a_conversation_that_fits_in_no_form_leaves_no_sample() -> None:
    with pytest.raises(ContextOverflow):
        await run([searching("a"), FULL, FULL, FULL, FULL])


async def test_time_that_runs_out_while_a_search_hangs_ends_the_run_with_what_was_found() -> None:
    library = Library()
    executor = Executor(ScriptedChat([searching("a"), searching("hang")]), library)
    meter = Meter(BudgetConfig(seconds=600), clock=lambda: 599.99 if library.asked else 0.0)
    made = await executor.run(QUESTION, PLAN, meter)
    assert made.stop is StopReason.TIME_LIMIT
    assert [step.query for step in made.steps] == ["a"]


async def test_money_that_is_spent_ends_the_run_cleanly() -> None:
    made, _ = await run([searching("a"), searching("b")], money=0.02, prices={"search": 0.01})
    assert made.stop is StopReason.MONEY_LIMIT
    assert len(made.steps) == 2
