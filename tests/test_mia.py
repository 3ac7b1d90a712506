"""The facade: three brains with one behaviour, search with partial failures, memory that is credited."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from mia_skill.agents.forms import PlanForm, ReplanForm
from mia_skill.agents.manager import Run
from mia_skill.app import Mia, Sources, build
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.config import MiaConfig, load_config
from mia_skill.core.errors import ConfigError, InputError, SearchError, UnknownIdError
from mia_skill.core.types import MemoryUnit, Outcome, Passage, Question, Step, Trajectory
from mia_skill.core.verdict import Case, Label
from retrieval.bank import Stored

QUESTION = Question(text="Who founded Velmora Works?")
PASSAGE = Passage(id="p1", title="Velmora Works", text="Velmora Works was founded in 1874 by Aldric Tesh.")
STEP = Step(query="Velmora Works founder", passages=(PASSAGE,))


class Shelf:
    """A search engine with one passage, which cannot look up "down"."""

    name = "shelf"

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        if query == "down":
            raise SearchError("the shelf is locked", engine="shelf")
        return (PASSAGE,)


@pytest.fixture
def config(tmp_path: Path) -> MiaConfig:
    return load_config(environment={}, flags={"home": tmp_path, "memory.embedder": "hash"})


@pytest.fixture
async def mia(config: MiaConfig) -> AsyncIterator[Mia]:
    async with build(config) as made:
        yield replace(made, sources=Sources(corpus=Shelf()))


async def keep(mia: Mia, run: Run) -> Stored:
    assert run.outcome is not None
    return await mia.store(run, receipt=mia.notary.vouch(run.case, run.outcome, "gold"))


def finished(outcome: Outcome | None) -> Run:
    return Run(question=QUESTION, trajectory=Trajectory(steps=(STEP,), answer="Aldric Tesh"), outcome=outcome)


async def test_without_a_model_plan_answers_with_a_brief_that_its_form_completes(mia: Mia) -> None:
    asked = await mia.plan(QUESTION)
    assert (asked.status, asked.plan) == ("brief", None)
    assert asked.brief is not None
    done = await mia.plan(QUESTION, form=PlanForm(steps=["search the founder"]))
    assert done.status == "plan"
    assert done.plan is not None
    assert (done.plan.brain, done.plan.text) == ("host", "1. search the founder")


async def test_the_three_brains_give_the_same_plan(mia: Mia) -> None:
    text = '{"steps": ["search the founder"]}'
    endpoint = replace(mia, models={"planner": ScriptedChat([text])})
    plans = [
        await mia.plan(QUESTION, form=PlanForm.model_validate_json(text)),
        await mia.plan(QUESTION, draft=text),
        await endpoint.plan(QUESTION),
    ]
    assert {planned.plan.steps for planned in plans if planned.plan} == {("search the founder",)}
    assert [planned.plan.brain for planned in plans if planned.plan] == ["host", "host", "endpoint"]


async def test_without_a_model_replan_still_tells_what_is_wrong_with_the_run(mia: Mia) -> None:
    repeated = (Step(query="Velmora Works"), Step(query="velmora works"))
    asked = await mia.replan(QUESTION, "1. look", repeated, "")
    assert asked.status == "brief"
    assert "repeated_search" in [signal.name for signal in asked.signals]
    done = await mia.replan(QUESTION, "1. look", repeated, "", form=ReplanForm(need_replan=True, steps=["ask else"]))
    assert done.replan is not None
    assert done.replan.plan is not None


async def test_a_failed_plan_that_is_written_again_is_warned_about(mia: Mia) -> None:
    unit = MemoryUnit(question=QUESTION.text, workflow="1. guess", plan="1. guess wildly", outcome=Outcome.INCORRECT)
    await mia.add(unit)
    planned = await mia.plan(QUESTION, form=PlanForm(steps=["guess wildly"]))
    assert planned.warnings == (f"this plan repeats {unit.id}, which failed; try another way",)


async def test_one_failing_query_keeps_the_results_of_the_others(mia: Mia) -> None:
    found = await mia.search(["Velmora", "down"])
    assert [bool(result.passages) for result in found.results] == [True, False]
    assert found.results[1].error == "the shelf is locked"


async def test_search_without_a_source_says_how_to_configure_one(config: MiaConfig) -> None:
    async with build(config) as bare:
        with pytest.raises(InputError, match=r"search\.corpus"):
            await bare.search(["anything"])


async def test_units_shown_while_planning_are_credited_when_the_run_is_stored(mia: Mia) -> None:
    unit = MemoryUnit(question="Who founded Velmora Mills?", workflow="1. x", outcome=Outcome.CORRECT)
    await mia.add(unit)
    await mia.plan(QUESTION, min_similarity=-1.0)
    stored = await keep(mia, finished(Outcome.CORRECT))
    assert stored.credited == 1
    credited = await mia.unit(unit.id)
    assert (credited.uses, credited.wins) == (1, 1)


async def test_what_one_call_stores_the_next_call_recalls(mia: Mia) -> None:
    stored = await keep(mia, finished(Outcome.CORRECT))
    recall = await mia.recall(QUESTION)
    assert [hit.unit.id for hit in recall.successes] == list(stored.unit_ids)


async def test_an_unrelated_question_is_told_that_nothing_is_relevant(mia: Mia) -> None:
    await keep(mia, finished(Outcome.CORRECT))
    recall = await mia.recall(Question(text="zzz qqq"))
    assert recall.nothing_relevant
    assert "nothing relevant" in recall.note


async def test_judging_without_evidence_abstains_and_offers_a_brief(mia: Mia) -> None:
    judged = await mia.judge(Case(question=QUESTION.text, answer="Aldric Tesh"))
    assert judged.verdict.label is Label.ABSTAIN
    assert judged.brief is not None


async def test_feedback_sets_the_outcome_and_forgetting_an_unknown_id_forgets_nothing(mia: Mia) -> None:
    stored = await mia.store(finished(None))
    unit = await mia.feedback(stored.unit_ids[0], True, "it was right")
    assert unit.outcome is Outcome.CORRECT
    with pytest.raises(UnknownIdError):
        await mia.forget([unit.id, "mem_none"])
    assert (await mia.units()).total == 1


async def test_asking_without_a_model_says_what_to_configure(mia: Mia) -> None:
    with pytest.raises(ConfigError, match=r"models\.default\.base_url"):
        await mia.ask(QUESTION)
