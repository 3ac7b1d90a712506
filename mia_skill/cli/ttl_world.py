"""One stream of the seeded world: its deterministic agent in the loop of test-time learning, with no model."""

import random
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mia_skill.agents.canaries import CanaryWatch, believed, watched
from mia_skill.agents.explore import Attempt, Judging
from mia_skill.agents.manager import Manager
from mia_skill.core.types import Plan, Question, Value
from mia_skill.core.verdict import Case, Verdict
from mia_skill.demo.stage import pick
from mia_skill.demo.student import WorldStudent
from mia_skill.evaluation.worlds import RECUR
from retrieval.bank import Bank, MemoryQuery
from retrieval.corpus import Corpus
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank
from retrieval.world import World, WorldQuestion, build_world, grade
from training.gold import GoldJudge, Stretch, first_plan, known_cases
from training.groups import NullUpdater
from training.ttl import Answered, Learned, TestTime
from trust.canary import CANARIES, Canary

__all__ = ["Played", "StreamScore", "play_world"]

KNOWN = 40
"""Questions of the world beside the stream whose gold answers make canaries."""


class StreamScore(Value):
    """Prequential figures of one stream."""

    way: str
    seed: int
    questions: int
    right: int
    right_late: int
    """In the second half."""
    majority_right: int
    judged: int
    """Rollouts with a reward."""
    masked: int = 0
    """Rollouts that nobody could judge, or whose judge was not believed: they teach nothing."""
    stored: int
    shown: int = 0
    """Memories that were shown, over the whole stream."""
    canaries: int = 0
    alarms: int = 0


@dataclass(frozen=True)
class Played:
    """What to play."""

    way: str
    seed: int
    questions: int = 80
    size: int = 160
    batch: int = 4
    width: int = 4
    lie: float = 0.0
    """Share of the stream, from its first third on, that is judged wrongly."""
    canaries: float = 0.0
    """Canaries a judgment; 0 believes the judge."""
    panel: Judging | None = None
    """Judges in the place of gold; what is counted as right is gold all the same."""


class Solver(WorldStudent):
    """The world's agent as a student."""

    async def attempt(self, question: Question, plan: Plan) -> Attempt:
        run, first, replanned = await self.solve(question, plan)
        return Attempt(plan=plan, trajectory=run, first_answer=first, replanned=replanned)


@dataclass(frozen=True)
class Gold:
    """The world's answers."""

    questions: Mapping[str, WorldQuestion]

    def right(self, question: Question, answer: str) -> bool:
        """Is it the answer?"""
        return grade(self.questions[question.text], answer)


async def play_world(given: Played) -> StreamScore:
    """One stream on a fresh bank. Every right answer is counted from what was recorded before learning."""
    made = build_world(seed=given.seed, size=given.size)
    stream = pick(made.questions, given.questions, given.seed, RECUR)
    third, count = len(stream) // 3, round(given.lie * len(stream))
    lied = frozenset(one.text for one in stream[third : third + count])
    asked = [Question(text=one.text, id=one.id) for one in stream]
    gold, stretch = Gold({one.text: one for one in made.questions}), Stretch(lied, [one.text for one in asked])
    judge = given.panel or GoldJudge(gold.right, stretch)
    answers: list[Answered] = []

    def record(one: Answered) -> None:
        answers.append(one)
        stretch.reached(one.question)

    with tempfile.TemporaryDirectory(prefix="mia-ttl-") as folder:
        corpus = corpus_of(made, Path(folder))
        bank = SqliteBank.open(Path(folder) / "bank.sqlite3", HashEmbedder())
        cases = CANARIES if given.panel else known_cases(free_of(made.questions, asked), gold.right)
        watch = watch_of(judge, bank, cases, given) if given.canaries else None
        loop = loop_of(given, bank, Solver(corpus), judge, record, watch)
        learned = [await loop.batch(asked[start : start + given.batch]) for start in range(0, len(asked), given.batch)]
        bank.close()
    return score_of(given, len(asked), answers, learned, gold, watch)


def corpus_of(made: World, folder: Path) -> Corpus:
    """The world's pages, to be searched."""
    made.write(folder / "world")
    return Corpus.open([folder / "world" / "corpus.jsonl"], None, cache=folder / "cache")


def loop_of(
    given: Played,
    bank: Bank,
    student: Solver,
    judge: Judging,
    record: Callable[[Answered], None],
    watch: CanaryWatch | None,
) -> TestTime:
    """The loop, with nothing, or with canaries beside the judge."""
    shown = 0 if given.way == "static" else 2

    def query(question: Question) -> MemoryQuery:
        return MemoryQuery(
            text=question.text, k_success=shown, k_failure=shown, task=question.id, withhold=0.05, seed=given.seed
        )

    return TestTime(
        manager=Manager(bank, watched=frozenset({"gold", "evidence", "endpoint"}) if watch else frozenset()),
        student=student,
        judge=watched(judge, watch) if watch else judge,
        updater=NullUpdater(),
        pick=first_plan,
        query=query,
        record=record,
        width=given.width if given.way == "ttl" else 1,
        rng=random.Random(given.seed),
        vouch=watch.vouch if watch else believed,
    )


def watch_of(judge: Judging, bank: Bank, cases: Sequence[Canary], given: Played) -> CanaryWatch:
    """Canaries beside the stream's judge."""

    async def ask(case: Case) -> Verdict:
        return await judge(Question(text=case.question), case)

    return CanaryWatch(ask=ask, tell=bank.canary, cases=cases, share=given.canaries, seed=given.seed)


def free_of(questions: Sequence[WorldQuestion], asked: Sequence[Question]) -> list[tuple[Question, str]]:
    """Questions with their answers that the stream does not ask."""
    taken = {one.text for one in asked}
    return [(Question(text=one.text, id=one.id), one.answer) for one in questions if one.text not in taken][:KNOWN]


def score_of(
    given: Played,
    count: int,
    answers: Sequence[Answered],
    learned: Sequence[Learned],
    gold: Gold,
    watch: CanaryWatch | None,
) -> StreamScore:
    """The figures."""
    right = [gold.right(one.question, one.answer) for one in answers]
    told = [one for each in learned for one in each.answered]
    return StreamScore(
        way=given.way,
        seed=given.seed,
        questions=count,
        right=sum(right),
        right_late=sum(right[len(right) // 2 :]),
        majority_right=sum(gold.right(one.question, one.majority) for one in told),
        judged=sum(each.update.samples - each.update.masked for each in learned),
        masked=sum(each.update.masked for each in learned),
        stored=sum(each.stored for each in learned),
        shown=sum(one.memories for one in answers),
        canaries=watch.flown if watch else 0,
        alarms=watch.standing.alarms if watch else 0,
    )
