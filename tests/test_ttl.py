"""Test-time learning: the answer is written down first, an outage is no sample, and one question is one transaction."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import anyio.lowlevel
import pytest

from mia_skill.agents.manager import Manager
from mia_skill.core.errors import BankError, InputError, JudgeError, MiaError, ModelUnreachableError, ToolOutage
from mia_skill.core.types import Outcome, Passage, Plan, Question, Step, Trajectory
from mia_skill.core.verdict import Case, Label, Verdict
from retrieval.bank import MemoryQuery, PairHit, Recall
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank
from training.gold import GoldJudge, first_plan
from training.groups import Group, NullUpdater, UpdateStats
from training.ttl import Answered, Attempt, Judging, TestTime, majority

QUESTION = Question(text="Who founded Velmora Works?", id="q1")
DOWN = ModelUnreachableError("down")
ANSWERS = ("Aldric Tesh", "Bera Noll", "Bera Noll", "Aldric Tesh")


class Four:
    """Writes four plans; plan n answers with the n-th of `answers`. None is a part that is down."""

    def __init__(self, answers: Sequence[str | None] = ANSWERS, down: MiaError = DOWN) -> None:
        self.answers = answers
        self.down = down

    async def plans(self, question: Question, recall: Recall, n: int) -> tuple[Plan, ...]:
        return tuple(Plan(steps=(f"way {index} of {question.text}",)) for index in range(n))

    async def attempt(self, question: Question, plan: Plan) -> Attempt:
        index = int(plan.steps[0].split()[1])
        answer = self.answers[index]
        if answer is None:
            raise self.down
        page = Passage(id="p1", title="Velmora Works", text=f"Velmora Works was founded by {answer}.")
        run = Trajectory(steps=(Step(query=f"Velmora Works {index}", passages=(page,)),) * (index + 1), answer=answer)
        return Attempt(plan=plan, trajectory=run, first_answer=answer)


def is_tesh(_question: Question, answer: str) -> bool:
    return answer == "Aldric Tesh"


@pytest.fixture
def bank(tmp_path: Path) -> Iterator[SqliteBank]:
    opened = SqliteBank.open(tmp_path / "bank.sqlite3", HashEmbedder())
    yield opened
    opened.close()


Make = Callable[..., TestTime]


@pytest.fixture
def make(bank: SqliteBank) -> Make:
    def made(judge: Judging | None = None, **parts: object) -> TestTime:
        given: dict[str, object] = {
            "manager": Manager(bank),
            "student": Four(),
            "updater": NullUpdater(),
            "pick": first_plan,
            "query": lambda one: MemoryQuery(text=one.text),
            "record": lambda _answered: None,
        }
        return TestTime(judge=judge or GoldJudge(is_tesh), **(given | parts))  # type: ignore[arg-type]

    return made


async def test_every_answer_of_a_batch_is_recorded_before_any_is_judged_learnt_or_stored(make: Make) -> None:
    order: list[str] = []

    class Watching(NullUpdater):
        async def update(self, groups: Sequence[Group], /) -> UpdateStats:
            order.append("update")
            return await super().update(groups)

    gold = GoldJudge(is_tesh)

    async def judge(question: Question, case: Case, /) -> Verdict:
        order.append("judge")
        return await gold(question, case)

    loop = make(judge, updater=Watching(), record=lambda one: order.append(f"answer {one.number}"))
    await loop.batch((QUESTION, Question(text="Who founded Orla Mills?", id="q2")))
    assert order[:2] == ["answer 0", "answer 1"]
    assert order[2:-1] == ["judge"] * 8
    assert order[-1] == "update"


async def test_the_labels_of_a_batch_cannot_change_its_recorded_answers(make: Make) -> None:
    seen: list[list[Answered]] = []
    for lies in (False, True):
        told: list[Answered] = []
        await make(GoldJudge(is_tesh, lambda _q, lies=lies: lies), record=told.append).batch((QUESTION,))
        seen.append(told)
    assert [one.answer for one in seen[0]] == [one.answer for one in seen[1]] == ["Aldric Tesh"]


async def test_all_plans_are_rewarded_by_equation_4(make: Make) -> None:
    learned = await make().batch((QUESTION,))
    assert learned.rewards[0] == pytest.approx((1.0, 0.05, 0.05, 1.0))
    assert learned.update.groups == 1


async def test_a_judge_that_fails_or_abstains_masks_the_sample_and_stores_nothing(make: Make, bank: SqliteBank) -> None:
    async def broken(_question: Question, case: Case, /) -> Verdict:
        if case.answer == "Aldric Tesh":
            raise JudgeError("no verdict", raw="")
        return Verdict(label=Label.ABSTAIN)

    learned = await make(broken).batch((QUESTION,))
    assert learned.rewards == ((None, None, None, None),)
    assert (learned.update.masked, learned.update.groups, learned.stored) == (4, 0, 0)
    assert bank.list().total == 0


async def test_the_shortest_success_one_failure_and_their_pair_are_kept(make: Make, bank: SqliteBank) -> None:
    await make().batch((QUESTION,))
    units = bank.list().units
    assert {unit.outcome: unit.steps for unit in units}[Outcome.CORRECT] == 1
    assert sorted(str(unit.outcome) for unit in units) == ["correct", "incorrect"]
    (pair,) = bank.similar_pairs(QUESTION.text)
    assert pair.pair.good_plan.startswith("1. way 0")


async def test_the_pick_is_shown_the_most_similar_plan_pairs_first(make: Make) -> None:
    shown: list[tuple[str, ...]] = []

    async def pick(_question: Question, _plans: Sequence[Plan], pairs: Sequence[PairHit], /) -> int:
        shown.append(tuple(hit.pair.question for hit in pairs))
        return 1

    loop = make(pick=pick)
    for text in ("How long is the river Oru?", "Who founded Velmora Works in the north?", QUESTION.text):
        await loop.batch((Question(text=text),))
    assert shown[0] == ()
    assert shown[2][0] == "Who founded Velmora Works in the north?"


@pytest.mark.parametrize("down", [DOWN, ToolOutage("search is down")])
async def test_a_plan_whose_part_is_down_is_no_sample_and_a_pick_that_is_down_no_question(
    make: Make, down: MiaError
) -> None:
    learned = await make(student=Four(("Aldric Tesh", None, "Bera Noll", None), down)).batch((QUESTION,))
    assert [one is None for one in learned.rewards[0]] == [False, True, False, True]
    told: list[Answered] = []
    learned = await make(student=Four((None, *ANSWERS[1:]), down), record=told.append).batch((QUESTION,))
    assert (learned.skipped, told) == (1, [])


async def test_a_run_without_an_answer_earns_little_and_an_abstention_earns_no_reward(make: Make) -> None:
    async def panel(_question: Question, case: Case, /) -> Verdict:
        return Verdict(label=Label.ABSTAIN if case.answer == "Bera Noll" else Label.NOT_ATTEMPTED)

    learned = await make(panel).batch((QUESTION,))
    assert learned.rewards[0] == (pytest.approx(0.05), None, None, pytest.approx(0.05))


async def test_an_update_that_fails_leaves_the_answers_recorded_and_the_bank_as_it_was(
    make: Make, bank: SqliteBank
) -> None:
    class Dies(NullUpdater):
        async def update(self, groups: Sequence[Group], /) -> UpdateStats:
            raise BankError("the trainer died")

    told: list[Answered] = []
    with pytest.raises(BankError):
        await make(updater=Dies(), record=told.append).batch((QUESTION,))
    assert [one.answer for one in told] == ["Aldric Tesh"]
    assert bank.list().total == 0


async def test_a_batch_with_a_question_twice_or_with_none_is_refused(make: Make) -> None:
    for batch in ((), (QUESTION, QUESTION)):
        with pytest.raises(InputError):
            await make().batch(batch)


def test_majority_ignores_case_and_answers_that_are_empty() -> None:
    assert majority(["", "", "", "Rome", "rome ", "Oslo"]) == "Rome"
    assert majority(["", " "]) == ""


async def test_the_world_stream_runs_end_to_end_and_remembers() -> None:
    from mia_skill.cli.ttl_world import Played, play_world

    static = await play_world(Played("static", 7, questions=24, size=60))
    learning = await play_world(Played("ttl", 7, questions=24, size=60))
    assert (static.questions, learning.questions) == (24, 24)
    assert learning.judged == 96
    assert learning.stored > 0


async def test_a_stream_played_again_with_its_seed_gives_the_same_figures() -> None:
    from mia_skill.cli.ttl_world import Played, play_world

    played = Played("ttl", 7, questions=48, size=60, width=2, canaries=0.1)
    first, second = await play_world(played), await play_world(played)
    assert first == second
    assert first.shown > 0


async def test_the_world_stream_runs_unsupervised_and_masks_what_the_panel_leaves_open() -> None:
    from mia_skill.cli.ttl import panel_of
    from mia_skill.cli.ttl_world import Played, play_world
    from mia_skill.core.config import load_config

    panel = panel_of(load_config(environment={}))
    score = await play_world(Played("ttl", 7, questions=16, size=60, panel=panel))
    assert score.judged + score.masked == 64
    assert score.masked > 0


async def test_in_the_world_stream_a_lying_stretch_is_noticed_and_an_honest_judge_is_not() -> None:
    from mia_skill.cli.ttl_world import Played, play_world

    honest = await play_world(Played("ttl", 7, questions=24, size=60, canaries=0.2))
    lying = await play_world(Played("ttl", 7, questions=24, size=60, canaries=0.2, lie=0.34))
    assert (honest.alarms, honest.masked) == (0, 0)
    assert lying.alarms == 1
    assert lying.masked >= 32


class Counting(Four):
    """How many plans are under way at once?"""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0

    async def attempt(self, question: Question, plan: Plan) -> Attempt:
        self.now += 1
        self.peak = max(self.peak, self.now)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        self.now -= 1
        return await super().attempt(question, plan)


FOUNDERS = tuple(
    Question(text=f"Who founded {name}?", id=name) for name in ("Velmora Works", "Orla Mills", "Halden Yard")
)


@pytest.mark.parametrize(("parallel", "peak"), [(16, 9), (4, 4), (1, 1)])
async def test_the_plans_of_a_batch_are_carried_out_at_once_and_never_more_than_allowed(
    make: Make, parallel: int, peak: int
) -> None:
    student = Counting()
    await make(student=student, parallel=parallel).batch(FOUNDERS)
    assert student.peak == peak


async def test_however_many_run_at_once_the_stream_is_the_same(tmp_path: Path) -> None:
    told = []
    for parallel in (1, 16):
        bank = SqliteBank.open(tmp_path / f"{parallel}.sqlite3", HashEmbedder())
        records: list[Answered] = []
        loop = TestTime(
            manager=Manager(bank),
            student=Counting(),
            judge=GoldJudge(is_tesh),
            updater=NullUpdater(),
            pick=first_plan,
            query=lambda one: MemoryQuery(text=one.text, task=one.id, withhold=0.3),
            record=records.append,
            parallel=parallel,
        )
        learned = [await loop.batch(FOUNDERS[:2]), await loop.batch(FOUNDERS[1:])]
        units = [(one.question, one.workflow, one.uses, one.wins) for one in bank.list().units]
        bank.close()
        told.append(([one.model_dump() for one in records], [one.rewards for one in learned], units))
    assert told[0] == told[1]


async def test_no_answer_is_recorded_before_all_of_its_batch_are_there_and_they_keep_their_order(make: Make) -> None:
    student, order = Counting(), list[tuple[int, str, int]]()
    await make(student=student, record=lambda one: order.append((one.number, one.question.text, student.now))).batch(
        FOUNDERS
    )
    assert order == [(number, one.text, 0) for number, one in enumerate(FOUNDERS)]
