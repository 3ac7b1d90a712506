"""Manager: what is kept of a run, and who gets the credit. Against the real bank, with a hashing embedder."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from mia_skill.agents.manager import Manager, Run, select
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.config import ScoreWeights
from mia_skill.core.errors import InputError, ModelUnreachableError
from mia_skill.core.types import MemoryUnit, Outcome, Passage, Question, Step, Trajectory
from retrieval.bank import Consolidation, MemoryQuery
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank

QUESTION = Question(text="In which country was the founder of Velmora Works born?")


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[SqliteBank]:
    made = SqliteBank.open(tmp_path / "bank.sqlite3", HashEmbedder(), weights=ScoreWeights(), merge_similarity=0.97)
    yield made
    made.close()


def run(outcome: Outcome | None, length: int = 1, plan: str = "", memory_ids: tuple[str, ...] = ()) -> Run:
    passage = Passage(id="p1", title="Velmora Works", text="Velmora Works was set up by Aldric Tesh of Hallen.")
    steps = tuple(Step(query=f"Velmora Works part {'abcdefgh'[n]}", passages=(passage,)) for n in range(length))
    return Run(
        question=QUESTION,
        trajectory=Trajectory(steps=steps, answer="Hallen"),
        plan=plan,
        outcome=outcome,
        memory_ids=memory_ids,
        judged_by="gold",
    )


def seed(bank: SqliteBank, **fields: object) -> str:
    unit = MemoryUnit.model_validate(
        {"question": "Who founded Ostrel Mills?", "workflow": "1. x", "outcome": Outcome.CORRECT, **fields}
    )
    return bank.consolidate(Consolidation(units=(unit,))).unit_ids[0]


def test_the_shortest_success_and_one_failure_are_kept() -> None:
    runs = [run(Outcome.CORRECT, 3), run(Outcome.CORRECT, 2), run(Outcome.INCORRECT, 1), run(Outcome.INCORRECT, 4)]
    good, bad = select(runs, random.Random(1))
    assert (good.outcome, len(good.trajectory.steps)) == (Outcome.CORRECT, 2)
    assert bad.outcome is Outcome.INCORRECT


async def test_one_question_is_one_transaction_of_units_pair_and_credit(bank: SqliteBank) -> None:
    shown = seed(bank)
    runs = [
        run(Outcome.CORRECT, plan="1. right", memory_ids=(shown,)),
        run(Outcome.INCORRECT, plan="1. wrong", memory_ids=(shown,)),
    ]
    stored = await Manager(bank).consolidate(runs)
    assert len(stored.unit_ids) == 2
    assert len(stored.pair_ids) == 1
    credited = bank.get(shown)
    assert (credited.uses, credited.wins) == (2, 1)
    (hit,) = bank.similar_pairs(QUESTION.text)
    assert (hit.pair.good_plan, hit.pair.bad_plan) == ("1. right", "1. wrong")


async def test_an_unjudged_run_is_pending_credits_nobody_and_is_never_shown(bank: SqliteBank) -> None:
    shown = seed(bank)
    stored = await Manager(bank).consolidate([run(None, memory_ids=(shown,))])
    assert bank.get(shown).uses == 0
    assert bank.get(stored.unit_ids[0]).outcome is None
    recall = bank.recall(MemoryQuery(text=QUESTION.text, min_similarity=-1))
    assert stored.unit_ids[0] not in [hit.unit.id for hit in recall.hits]


async def test_what_is_stored_says_where_it_came_from(bank: SqliteBank) -> None:
    shown = seed(bank)
    stored = await Manager(bank).consolidate([run(Outcome.CORRECT, memory_ids=(shown,))])
    provenance = bank.get(stored.unit_ids[0]).provenance
    assert provenance.parents == (shown,)
    assert provenance.sources == ("p1",)
    assert provenance.judged_by == "gold"


async def test_a_model_compresses_and_its_failure_does_not_lose_the_run(bank: SqliteBank) -> None:
    good = '{"steps": ["find the founder (company -> person)"]}'
    model = ScriptedChat([good, ModelUnreachableError("down"), "prose"])
    manager = Manager(bank, model)
    workflow, _ = await manager.compress(run(Outcome.CORRECT))
    assert workflow == "1. find the founder (company -> person)"
    for _ in range(2):
        ruled, _ = await manager.compress(run(Outcome.CORRECT))
        assert ruled.startswith("1. search [name 1]")


async def test_runs_of_two_questions_and_runs_of_nothing_are_refused(bank: SqliteBank) -> None:
    other = run(Outcome.CORRECT).model_copy(update={"question": Question(text="Another?")})
    with pytest.raises(InputError):
        await Manager(bank).consolidate([run(Outcome.CORRECT), other])
    with pytest.raises(InputError):
        await Manager(bank).consolidate([])
    with pytest.raises(InputError, match="nothing to remember"):
        await Manager(bank).consolidate([run(Outcome.INCORRECT, 0)])
    assert bank.list().total == 0
