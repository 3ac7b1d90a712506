"""A student whose Planner learns: what it wrote reaches the updater token by token."""

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest
from test_token_policy import renderer

from mia_skill.agents.manager import Manager
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import PlanError
from mia_skill.core.types import Passage, Plan, Question
from retrieval.bank import MemoryQuery, Recall
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank
from training.coldstart import ScriptedSampler
from training.gold import GoldJudge, first_plan
from training.groups import Group, NullUpdater, UpdateStats
from training.policy import Sampled, TokenPolicy
from training.token_student import TokenStudent
from training.ttl import TestTime

QUESTION = Question(text="Who founded Velmora Works?", id="q1")
PLAN = orjson.dumps({"steps": ["find the founder"], "memory_ids": []}).decode()
KEEP = orjson.dumps({"need_replan": False, "reason": "found", "steps": []}).decode()
CALL = '<tool_call>{"name": "search", "arguments": {"query": "Velmora Works"}}</tool_call>'


class Shelf:
    name = "shelf"

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        return (Passage(id="p", title="Velmora Works", text="Velmora Works was founded by Aldric Tesh."),)


def student(*pens: Sequence[str]) -> TokenStudent:
    """Each pen writes its texts; every run of the Executor finds the answer of its turn."""
    letters, left, answers = renderer(), [list(one) for one in pens], iter(("Aldric Tesh", "Bera Noll"))

    def planner() -> TokenPolicy:
        return TokenPolicy(ScriptedSampler(letters, left.pop(0)), letters, context=100_000)

    def executor() -> ScriptedChat:
        return ScriptedChat([CALL, f"<answer>{next(answers)}</answer>"])

    return TokenStudent(planner, executor, Shelf(), BudgetConfig(steps=4))


def loop_of(bank: SqliteBank, made: TokenStudent, updater: NullUpdater, width: int) -> TestTime:
    return TestTime(
        manager=Manager(bank),
        student=made,
        judge=GoldJudge(lambda _question, answer: answer == "Aldric Tesh"),
        updater=updater,
        pick=first_plan,
        query=lambda one: MemoryQuery(text=one.text),
        record=lambda _answered: None,
        width=width,
        talks=made,
    )


async def test_plans_reflections_and_replies_that_are_no_plan_reach_the_updater_with_their_tokens(
    tmp_path: Path,
) -> None:
    seen: list[Group] = []

    class Watching(NullUpdater):
        async def update(self, groups: Sequence[Group], /) -> UpdateStats:
            seen.extend(groups)
            return await super().update(groups)

    made = student([PLAN, KEEP], ["I would look it up."], [PLAN, "Hm."])
    bank = SqliteBank.open(tmp_path / "bank.sqlite3", HashEmbedder())
    loop = loop_of(bank, made, Watching(), 3)
    await loop.batch((QUESTION,))
    bank.close()
    (group,) = seen
    assert [one.reward for one in group.rollouts] == pytest.approx([1.0, 0.0, 0.0])
    assert [len(one.tokens) for one in group.rollouts] == [2, 2, 1]
    letters = renderer()
    first = group.rollouts[0].tokens[0]
    written = [token for token, own in zip(first.ids, first.mask, strict=True) if own]
    assert letters.decode(written) == PLAN
    assert (made.searches, made.written > 0) == (2, True)


async def test_the_likeliest_plan_is_served_and_remembered_but_no_weight_learns_from_it(tmp_path: Path) -> None:
    seen: list[Group] = []

    class Watching(NullUpdater):
        async def update(self, groups: Sequence[Group], /) -> UpdateStats:
            seen.extend(groups)
            return await super().update(groups)

    letters, made = renderer(), student([PLAN, KEEP], ["I would look it up."])
    likeliest = [PLAN.replace("the founder", "its founder"), KEEP]
    made.served = lambda: TokenPolicy(ScriptedSampler(letters, likeliest), letters, context=100_000)
    bank = SqliteBank.open(tmp_path / "bank.sqlite3", HashEmbedder())
    learned = await loop_of(bank, made, Watching(), 3).batch((QUESTION,))
    bank.close()
    assert learned.answered[0].answer == "Aldric Tesh"
    assert learned.stored == 1
    served, sampled, spoilt = seen[0].rollouts
    assert ("its founder" in served.text, served.reward) == (True, None)
    assert (sampled.reward is not None, spoilt.reward) == (True, 0.0)


async def test_a_likeliest_reply_that_is_no_plan_is_no_sample_either() -> None:
    letters, made = renderer(), student([PLAN])
    made.served = lambda: TokenPolicy(ScriptedSampler(letters, ["no plan"]), letters, context=100_000)
    (plan,) = await made.plans(QUESTION, Recall(), 2)
    assert made.sampled(plan)
    assert made.spoilt(QUESTION) == ()


async def test_a_question_for_which_no_plan_was_written_is_an_error_and_keeps_nothing() -> None:
    made = student(["no"], ["nor this"])
    with pytest.raises(PlanError, match="none of 2"):
        await made.plans(QUESTION, Recall(), 2)
    assert made.spoilt(QUESTION) == ()
    with pytest.raises(PlanError, match="not written here"):
        await made.attempt(QUESTION, Plan(steps=("a",)))


class Crowd:
    """Draws for everybody who waits at the moment, in the order they came: as the local sampler writes in batches."""

    def __init__(self, seed: int) -> None:
        self.rng, self.waiting, self.batches = random.Random(seed), list[asyncio.Future[float]](), list[int]()
        self.serving: asyncio.Task[None] | None = None

    async def draw(self) -> float:
        mine = asyncio.get_running_loop().create_future()
        self.waiting.append(mine)
        if self.serving is None or self.serving.done():
            self.serving = asyncio.create_task(self._serve())
        return float(await mine)

    async def _serve(self) -> None:
        while self.waiting:
            known = -1
            while known != len(self.waiting):
                known = len(self.waiting)
                for _ in range(30):
                    await asyncio.sleep(0)
            self.batches.append(known)
            for one in self.waiting[:known]:
                one.set_result(self.rng.random())
            self.waiting = self.waiting[known:]


class Joining:
    """A pen whose plans are chance, drawn with everybody else's."""

    def __init__(self, crowd: Crowd) -> None:
        self.crowd, self.turn = crowd, 0

    async def generate(
        self, prompt_ids: Sequence[int], *, temperature: float, max_tokens: int, stop: Sequence[str]
    ) -> Sampled:
        chance = await self.crowd.draw()
        self.turn += 1
        text = PLAN.replace("the founder", f"founder {chance:.6f}") if self.turn == 1 else KEEP
        return await ScriptedSampler(renderer(), [text]).generate(
            prompt_ids, temperature=temperature, max_tokens=max_tokens, stop=stop
        )


async def played(file: Path, seed: int) -> tuple[list[str], list[int]]:
    """What the plans of three questions were, and how many were written at a time."""
    crowd, letters, written = Crowd(seed), renderer(), list[str]()

    class Watching(NullUpdater):
        async def update(self, groups: Sequence[Group], /) -> UpdateStats:
            written.extend(one.text for group in groups for one in group.rollouts)
            return await super().update(groups)

    made = TokenStudent(
        lambda: TokenPolicy(Joining(crowd), letters, context=100_000),
        lambda: ScriptedChat([CALL, "<answer>Aldric Tesh</answer>"]),
        Shelf(),
        BudgetConfig(steps=4),
    )
    bank = SqliteBank.open(file, HashEmbedder())
    loop = loop_of(bank, made, Watching(), 2)
    await loop.batch([Question(text=f"Who founded {name}?") for name in ("Velmora Works", "Orla Mills", "Halden Yard")])
    bank.close()
    return written, crowd.batches


async def test_a_batch_is_written_together_and_the_same_for_the_same_seed(tmp_path: Path) -> None:
    once, batches = await played(tmp_path / "a", 1)
    assert len(set(once)) == 6
    assert batches == [6, 3, 3], "all plans, then the reflections on the picked ones, then those on the others"
    assert (await played(tmp_path / "b", 1))[0] == once
    assert (await played(tmp_path / "c", 2))[0] != once
