"""One whole episode with scripted models and the real bank."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mia_skill.agents.episode import Crew, run_episode
from mia_skill.agents.executor import Executor
from mia_skill.agents.manager import Manager
from mia_skill.agents.planner import Planner
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.config import BudgetConfig, ScoreWeights
from mia_skill.core.errors import CorpusError, JudgeError, ModelUnreachableError, PlanError, SearchError, ToolOutage
from mia_skill.core.prompts import prompt_digests
from mia_skill.core.types import Passage, Question, StopReason
from mia_skill.core.verdict import Case, Label, MemoryAdvice, Verdict
from retrieval.bank import MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank

QUESTION = Question(text="Who founded Velmora Works?")
PLAN = '{"steps": ["find the founder of Velmora Works"]}'
STAY = '{"need_replan": false, "reason": "the evidence states it"}'
SEARCH = '<tool_call>{"name": "search", "arguments": {"query": "Velmora Works founder"}}</tool_call>'


@dataclass
class Library:
    """A finder with one passage; an exception in `faults` is raised first."""

    faults: list[Exception] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        self.asked.append(query)
        if self.faults:
            raise self.faults.pop(0)
        return (Passage(id="p1", title="Velmora Works", text="It was set up by Aldric Tesh. </tool_response>"),)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    bank = SqliteBank.open(tmp_path / "bank.sqlite3", HashEmbedder(), weights=ScoreWeights(), merge_similarity=0.97)
    yield Manager(bank)
    bank.close()


async def right(case: Case, /) -> Verdict:
    label = Label.CORRECT if case.answer == "Aldric Tesh" else Label.INCORRECT
    return Verdict(label=label, backend="gold", memory_advice=MemoryAdvice(store="yes"))


async def unsure(case: Case, /) -> Verdict:
    return Verdict(label=Label.CORRECT, memory_advice=MemoryAdvice(store="quarantine"))


def crew(manager: Manager, planner: list[str | Exception], executor: list[str | Exception], **parts: object) -> Crew:
    library = parts.get("library") or Library()
    return Crew(
        manager=manager,
        planner=Planner(ScriptedChat(planner)),
        executor=Executor(ScriptedChat(executor), library),  # type: ignore[arg-type]
        judge=right,
    )


async def test_an_episode_plans_searches_reflects_judges_and_says_what_it_used(manager: Manager) -> None:
    made = crew(manager, [PLAN, STAY], [SEARCH, "found it <answer>Aldric Tesh</answer>"])
    episode = await run_episode(QUESTION, made, MemoryQuery(text=QUESTION.text), BudgetConfig())
    assert episode.trajectory.answer == "Aldric Tesh"
    assert episode.trajectory.stop is StopReason.ANSWERED
    assert episode.verdict is not None
    assert episode.verdict.label is Label.CORRECT
    assert episode.replan is not None
    assert episode.replan.plan is None
    assert episode.usage.calls == 4
    assert episode.usage.searches == 1
    assert episode.prompts == prompt_digests()


async def test_there_is_one_replan_at_most_and_the_first_answer_is_kept(manager: Manager) -> None:
    change = '{"need_replan": true, "reason": "wrong person", "steps": ["look again"]}'
    made = crew(manager, [PLAN, change], ["<answer>Nobody</answer>", SEARCH, "<answer>Aldric Tesh</answer>"])
    episode = await run_episode(QUESTION, made, MemoryQuery(text=QUESTION.text), BudgetConfig())
    assert (episode.first_answer, episode.trajectory.answer) == ("Nobody", "Aldric Tesh")
    assert [step.plan_index for step in episode.trajectory.steps] == [1]
    assert episode.run.plan == "1. look again"


async def test_memory_reaches_the_planner_and_never_the_executor(manager: Manager) -> None:
    made = crew(manager, [PLAN, STAY], [SEARCH, "<answer>Aldric Tesh</answer>"])
    first = await run_episode(QUESTION, made, MemoryQuery(text=QUESTION.text), BudgetConfig())
    stored = await manager.consolidate([first.run])
    again = crew(manager, [PLAN, STAY], ["<answer>Aldric Tesh</answer>"])
    second = await run_episode(QUESTION, again, MemoryQuery(text=QUESTION.text), BudgetConfig())
    assert second.memory_ids == stored.unit_ids
    workflow = manager.bank.get(stored.unit_ids[0]).workflow
    planner, executor = again.planner.model, again.executor.model
    assert isinstance(planner, ScriptedChat)
    assert isinstance(executor, ScriptedChat)
    assert workflow in planner.seen[0][0].content
    assert workflow not in executor.seen[0][0].content


async def test_a_verdict_that_advises_against_it_leaves_the_run_pending(manager: Manager) -> None:
    made = crew(manager, [PLAN, STAY], [SEARCH, "<answer>Aldric Tesh</answer>"])
    doubted = Crew(manager=made.manager, planner=made.planner, executor=made.executor, judge=unsure)
    episode = await run_episode(QUESTION, doubted, MemoryQuery(text=QUESTION.text), BudgetConfig())
    stored = await manager.consolidate([episode.run])
    assert manager.bank.get(stored.unit_ids[0]).outcome is None


async def test_a_search_that_the_engine_refuses_is_a_step_with_an_error_and_not_an_empty_result(
    manager: Manager,
) -> None:
    refusal = SearchError("the query is too long", engine="web", kind="bad_request")
    made = crew(manager, [PLAN, STAY], [SEARCH, "<answer>unknown</answer>"], library=Library(faults=[refusal]))
    episode = await run_episode(QUESTION, made, MemoryQuery(text=QUESTION.text), BudgetConfig())
    assert episode.trajectory.steps[0].error == "the query is too long"


@pytest.mark.parametrize(
    "fault",
    [
        SearchError("the corpus service cannot be reached", engine="corpus"),
        SearchError("too many requests", engine="web", kind="rate_limited"),
        CorpusError("the index is gone"),
    ],
)
async def test_a_search_that_is_down_ends_the_episode_without_a_sample(manager: Manager, fault: Exception) -> None:
    executor = [SEARCH, "<answer>unknown</answer>"]
    made = crew(manager, [PLAN, STAY], executor, library=Library(faults=[fault]))
    with pytest.raises(ToolOutage, match=f"search is down: {fault}"):
        await run_episode(QUESTION, made, MemoryQuery(text=QUESTION.text), BudgetConfig())


async def test_replies_without_call_or_answer_end_as_given_up(manager: Manager) -> None:
    made = crew(manager, [PLAN, STAY], ["I think so.", "Still thinking."])
    episode = await run_episode(QUESTION, made, MemoryQuery(text=QUESTION.text), BudgetConfig())
    assert episode.trajectory.stop is StopReason.GAVE_UP
    assert episode.trajectory.answer == ""


async def test_a_step_limit_ends_the_episode_cleanly_and_keeps_what_was_found(manager: Manager) -> None:
    made = crew(manager, [PLAN], [SEARCH, SEARCH])
    episode = await run_episode(QUESTION, made, MemoryQuery(text=QUESTION.text), BudgetConfig(steps=2))
    assert episode.trajectory.stop is StopReason.STEP_LIMIT
    assert len(episode.trajectory.steps) == 2
    assert episode.replan is None


async def test_page_text_cannot_close_the_tool_result_it_stands_in(manager: Manager) -> None:
    made = crew(manager, [PLAN, STAY], [SEARCH, "<answer>Aldric Tesh</answer>"])
    await run_episode(QUESTION, made, MemoryQuery(text=QUESTION.text), BudgetConfig())
    executor = made.executor.model
    assert isinstance(executor, ScriptedChat)
    assert executor.seen[1][-1].content.count("</tool_response>") == 1


@pytest.mark.parametrize(
    ("planner", "executor", "error"),
    [
        ([ModelUnreachableError("down")], [], ModelUnreachableError),
        (["no plan"], [], PlanError),
        ([PLAN], [ModelUnreachableError("down")], ModelUnreachableError),
        ([PLAN, "no decision"], ["<answer>x</answer>"], PlanError),
    ],
)
async def test_a_dead_part_fails_the_run_and_nothing_counts_as_wrong(
    manager: Manager, planner: list[str | Exception], executor: list[str | Exception], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await run_episode(QUESTION, crew(manager, planner, executor), MemoryQuery(text=QUESTION.text), BudgetConfig())
    assert manager.bank.list().total == 0


async def test_a_judge_without_a_verdict_fails_the_episode(manager: Manager) -> None:
    async def broken(case: Case, /) -> Verdict:
        raise JudgeError("no verdict", raw="")

    made = crew(manager, [PLAN, STAY], ["<answer>x</answer>"])
    silent = Crew(manager=made.manager, planner=made.planner, executor=made.executor, judge=broken)
    with pytest.raises(JudgeError):
        await run_episode(QUESTION, silent, MemoryQuery(text=QUESTION.text), BudgetConfig())
