"""Baselines through their authors' packages, with a scripted model: `make test-peers`."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mia_skill.agents.mia import Mia
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.config import MemoryConfig
from mia_skill.core.errors import InputError, ModelUnreachableError
from mia_skill.core.types import Outcome, Passage, Question, Step, Trajectory
from mia_skill.evaluation.advice import Attempt, Done
from mia_skill.evaluation.method import Method
from mia_skill.evaluation.methods import make_method
from mia_skill.evaluation.mind import ModelMind, RuleMind
from retrieval.embed import HashEmbedder

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]
QUESTION = Question(text="Who founded Dreldimere?")
FACT = "Dreldimere was founded by Ola Brint."
DRAWN = json.dumps({"memory": [{"id": "0", "text": FACT, "attributed_to": "user"}]})


def done() -> Done:
    page = Passage(id="p1", title="Dreldimere", text=FACT)
    run = Trajectory(steps=(Step(query="Dreldimere founder", passages=(page,)),), answer="Ola Brint")
    return Done(attempt=Attempt(question=QUESTION, trajectory=run), outcome=Outcome.CORRECT)


def mem0(folder: Path) -> Method:
    return make_method("mem0-package", folder=folder, embedder=HashEmbedder(), memory=MemoryConfig())


async def test_mem0_draws_facts_with_our_model_finds_them_and_has_them_back_from_the_trace(
    make_mia: Callable[..., Mia], tmp_path: Path
) -> None:
    model = ScriptedChat([DRAWN, DRAWN])
    mind = ModelMind(make_mia(models={"manager": model}))
    memory, later = mem0(tmp_path), mem0(tmp_path)
    assert (await memory.advise(QUESTION)).notes == ""
    learnt = await memory.learn("t1", done(), mind)
    memory.apply(learnt.change)
    assert learnt.usage.calls == 1
    assert "Ola Brint" in model.seen[0][-1].content
    assert (await memory.advise(QUESTION)).notes == FACT
    again = await memory.learn("t2", done(), mind)
    assert again.change["put"] == []
    later.apply(learnt.change)
    assert await later.advise(QUESTION) == await memory.advise(QUESTION)
    memory.close()
    later.close()


async def test_mem0_whose_model_is_down_or_missing_learns_nothing(make_mia: Callable[..., Mia], tmp_path: Path) -> None:
    memory = mem0(tmp_path)
    down = ScriptedChat([ModelUnreachableError("down")])
    with pytest.raises(ModelUnreachableError):
        await memory.learn("t1", done(), ModelMind(make_mia(models={"manager": down})))
    with pytest.raises(InputError, match="with a model"):
        await memory.learn("t1", done(), RuleMind(finder=None))  # type: ignore[arg-type]
    assert (await memory.advise(QUESTION)).notes == ""
    memory.close()
