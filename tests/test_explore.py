"""Several plans for one question, and a stream that answers first: with scripted agents, a real corpus and bank."""

from pathlib import Path

import orjson
import pytest

from mia_skill.agents.explore import Exploration
from mia_skill.agents.mia import Mia
from mia_skill.app import build
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.config import MiaConfig, load_config
from mia_skill.core.errors import ConfigError, InputError, ModelUnreachableError, PlanError
from mia_skill.core.toolformat import ToolCall, render_call
from mia_skill.core.types import Outcome, Question

FOUNDER = Question(text="Who founded Velmora Works?")
BORN = Question(text="Where was Aldric Tesh born?")
PAGES = [
    {"id": "p1", "title": "Velmora Works", "text": "Velmora Works makes bells. It was founded by Aldric Tesh."},
    {"id": "p2", "title": "Aldric Tesh", "text": "Aldric Tesh was born in Orune."},
]
KEEP = orjson.dumps({"need_replan": False}).decode()
RIGHT = "<answer>Aldric Tesh [p1]</answer>"


def plan(step: str) -> str:
    return orjson.dumps({"steps": [step]}).decode()


def search(query: str) -> str:
    return render_call(ToolCall(name="search", arguments={"query": query}))


@pytest.fixture
def config(tmp_path: Path) -> MiaConfig:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(b"\n".join(orjson.dumps(page) for page in PAGES))
    flags = {"home": str(tmp_path / "home"), "memory.embedder": "hash", "search.corpus": [str(corpus)]}
    return load_config(environment={}, flags={**flags, "search.dense": False})


def cast(mia: Mia, planner: list[str | Exception], executor: list[str | Exception], choice: int = 2) -> ScriptedChat:
    """The agents; the Router always chooses the plan of number `choice`."""
    mia.models["planner"] = ScriptedChat(planner)
    mia.models["router"] = ScriptedChat([orjson.dumps({"choice": choice}).decode()] * 4)
    played = mia.models["executor"] = ScriptedChat(executor)
    return played


async def test_one_plan_is_picked_before_any_is_carried_out_and_then_all_are_and_are_learnt_from(
    config: MiaConfig,
) -> None:
    async with build(config) as mia:
        turns = [search("Velmora Works founder"), RIGHT, search("bells"), "<answer>Bera Noll [p1]</answer>"]
        executor = cast(mia, [plan("look for bells"), "no plan", plan("find the founder"), KEEP, KEEP], turns)
        explored = await mia.explore(FOUNDER, width=3)
        units = mia.bank.list().units
    assert [one.text for one in explored.plans] == ["1. look for bells", "1. find the founder"]
    assert (explored.picked, explored.answer) == (1, "Aldric Tesh")
    assert "find the founder" in executor.seen[0][0].content
    assert [one is None for one in explored.attempts] == [False, False]
    assert [final.label for _, final in explored.verdicts if final] == ["incorrect", "correct"]
    assert {unit.outcome for unit in units} >= {Outcome.CORRECT}


async def test_every_answer_of_a_batch_is_recorded_before_the_other_plans_are_carried_out(config: MiaConfig) -> None:
    async with build(config) as mia:
        born = "<answer>Orune [p2]</answer>"
        first = [search("Velmora Works founder"), RIGHT, search("Aldric Tesh"), born]
        rest = [search("Velmora Works"), RIGHT, search("Tesh"), born]
        plans = [plan("a"), plan("b"), KEEP]
        executor = cast(mia, [*plans, *plans, KEEP, KEEP], [*first, *rest])
        heard: list[tuple[str, int]] = []

        def record(one: Exploration) -> None:
            heard.append((one.answer, len(executor.seen)))

        await mia.stream(record, width=2, parallel=1).batch((FOUNDER, BORN))
    assert heard == [("Aldric Tesh", 4), ("Orune", 4)]
    assert len(executor.seen) == 8


async def test_a_question_whose_part_is_down_is_missing_and_the_others_of_its_batch_are_kept(
    config: MiaConfig,
) -> None:
    async with build(config) as mia:
        planner = [plan("a"), KEEP, ModelUnreachableError("down")]
        cast(mia, planner, [search("Velmora Works founder"), RIGHT], choice=1)
        explored = await mia.stream(width=1, parallel=1).batch((FOUNDER, BORN))
        assert [one.question for one in explored] == [FOUNDER]
        assert mia.bank.list().total == 1


async def test_exploring_a_question_whose_planner_writes_no_plan_is_no_sample(config: MiaConfig) -> None:
    async with build(config) as mia:
        cast(mia, ["no plan", "none either"], [])
        with pytest.raises(PlanError):
            await mia.explore(FOUNDER, width=2)
        assert mia.bank.list().total == 0


async def test_a_batch_with_a_question_twice_is_refused_and_missing_models_are_named(config: MiaConfig) -> None:
    async with build(config) as mia:
        with pytest.raises(ConfigError, match="planner and executor and router"):
            mia.stream()
        cast(mia, [], [])
        with pytest.raises(InputError, match="none twice"):
            await mia.stream().batch((FOUNDER, FOUNDER))
