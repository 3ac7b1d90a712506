"""An evaluation with scripted models: an image question from caption to answer, and several endpoints as one."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from mia_skill.agents.manager import Manager
from mia_skill.agents.mia import Mia, Sources
from mia_skill.core.chat import Message, ScriptedChat
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import InputError, ModelUnreachableError
from mia_skill.core.types import Modality, Outcome, Passage, Question
from mia_skill.evaluation.advice import Advice, Done
from mia_skill.evaluation.mia_method import MiaMemory
from mia_skill.evaluation.mind import ModelMind
from mia_skill.evaluation.pool import Pool
from mia_skill.evaluation.task import Task
from retrieval.bank import Hit
from retrieval.embed import HashEmbedder
from retrieval.images import ImageQuery, Images

LOOK = '<tool_call>{"name": "image_search", "arguments": {}}</tool_call>'
SEARCH = '<tool_call>{"name": "search", "arguments": {"query": "Dreldimere founder"}}</tool_call>'
PAGE = Passage(id="p1", title="Dreldimere", text="Dreldimere was founded by Ola Brint.")


class Corpus:
    name = "corpus"

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        return (PAGE,)


class Alike:
    name = "alike"

    def takes(self, query: ImageQuery) -> bool:
        return query.picture is not None

    async def find(self, query: ImageQuery, k: int) -> tuple[Passage, ...]:
        return (Passage(id="img1", title="Dreldimere", text="A similar image is titled: Dreldimere"),)


async def test_an_image_question_goes_through_caption_image_search_and_answer_and_looks_once_only(
    make_mia: Callable[..., Mia],
) -> None:
    from mia_skill.evaluation.worlds import entity_picture

    plan = json.dumps({"steps": ["find what the picture shows", "find its founder"]})
    manager, planner = ScriptedChat(["a coat of arms in blue"]), ScriptedChat([plan])
    executor = ScriptedChat([LOOK, LOOK, SEARCH, "<answer>Ola Brint [p1]</answer>"])
    made = make_mia(models={"manager": manager, "planner": planner, "executor": executor})
    sources = Sources(corpus=Corpus(), images=Images([Alike()]))
    mia = replace(made, manager=Manager(made.bank, manager), sources=sources)
    task = Task(
        id="t1",
        question=Question(text="Who founded the city in the picture?", modality=Modality.IMAGE),
        gold=("Ola Brint",),
        picture=entity_picture("Dreldimere"),
    )
    mind = ModelMind(mia)
    seen, _ = await mind.seen(task)
    attempt = await mind.attempt(seen, Advice(planned=True), BudgetConfig())
    assert attempt.question.caption == "a coat of arms in blue"
    assert manager.seen[0][0].images == (task.picture,)
    first, second, third = attempt.trajectory.steps
    assert first.passages[0].title == "Dreldimere"
    assert second.passages == ()
    assert "once" in str(second.error)
    assert (third.tool, attempt.trajectory.answer) == ("search", "Ola Brint")
    assert attempt.prompts["executor"]


async def test_an_image_question_is_recalled_by_what_its_picture_shows(make_mia: Callable[..., Mia]) -> None:
    from mia_skill.evaluation.worlds import entity_picture

    captions = ["a coat of arms in blue", "a golden ship on waves", "a golden ship on waves"]
    manager = ScriptedChat(captions)
    planner = ScriptedChat([json.dumps({"steps": ["look"]}), json.dumps({"need_replan": False})] * 3)
    executor = ScriptedChat([SEARCH, "<answer>Ola Brint [p1]</answer>"] * 3)
    made = make_mia(models={"manager": manager, "planner": planner, "executor": executor})
    mia = replace(made, manager=Manager(made.bank, manager), sources=Sources(corpus=Corpus()))
    memory = mia.config.memory.model_copy(update={"min_relevance": 0.0, "min_similarity": -1.0})
    method = MiaMemory(made.bank, Manager(made.bank), memory, name="mia", source="", differs="")
    texts = ["Who founded the city in the picture?", "Who built the tower in the picture?", "Who made what is shown?"]
    hits: list[Hit] = []
    for text, name in zip(texts, ("Dreldimere", "Sarnholm", "Sarnholm"), strict=True):
        asked = Question(text=text, modality=Modality.IMAGE)
        task = Task(id=text, question=asked, gold=("Ola Brint",), picture=entity_picture(name))
        task, _ = await ModelMind(mia).seen(task)
        advice = await method.advise(task.question)
        hits = list(advice.recall.hits)
        attempt = await ModelMind(mia).attempt(task, advice, BudgetConfig())
        done = Done(attempt=attempt, outcome=Outcome.CORRECT, shown=advice.shown)
        method.apply((await method.learn(task.id, done, ModelMind(mia))).change)
    embed = HashEmbedder().embed
    for hit in hits:
        about, seen = (
            embed([texts[2], hit.unit.question], "query"),
            embed([captions[2], str(hit.unit.caption)], "query"),
        )
        assert hit.similarity == pytest.approx(0.8 * about[0] @ about[1] + 0.2 * seen[0] @ seen[1], abs=1e-3)
    assert hits
    assert captions[2] in planner.seen[4][0].content


async def test_a_memory_for_the_executor_is_quoted_to_it_and_the_planner_is_not_asked(
    make_mia: Callable[..., Mia],
) -> None:
    planner, executor = ScriptedChat([]), ScriptedChat(["<answer>Ola Brint</answer>"])
    mia = make_mia(models={"planner": planner, "executor": executor}, corpus=Corpus())
    task = Task(id="t1", question=Question(text="Who founded Dreldimere?"), gold=("Ola Brint",))
    await ModelMind(mia).attempt(task, Advice(notes="search the founder first"), BudgetConfig())
    assert "search the founder first" in executor.seen[0][0].content
    assert planner.seen == []


async def test_a_pool_goes_round_and_passes_over_an_endpoint_that_is_gone() -> None:
    gone = ModelUnreachableError("no usable connection")
    first, second = ScriptedChat(["one", gone]), ScriptedChat(["two", "three"])
    pool = Pool([first, second])
    asked = [Message(role="user", content="hello")]
    said = [(await pool.complete(asked))[0].text for _ in range(3)]
    assert said == ["one", "two", "three"]
    with pytest.raises(ModelUnreachableError):
        await Pool([ScriptedChat([gone])]).complete(asked)
    with pytest.raises(InputError, match="one model"):
        Pool([ScriptedChat([], name="a"), ScriptedChat([], name="b")])
