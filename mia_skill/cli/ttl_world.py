"""One stream of the seeded world: its deterministic agent in the loop of test-time learning, with no model."""

import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mia_skill.agents.canaries import CanaryWatch, believed, watched
from mia_skill.agents.explore import Attempt, Judging
from mia_skill.agents.manager import Manager
from mia_skill.core.types import Plan, Question, Value
from mia_skill.core.verdict import Case, Label, Verdict
from mia_skill.demo.stage import pick
from mia_skill.demo.student import WorldStudent
from retrieval.bank import Bank, MemoryQuery
from retrieval.corpus import Corpus
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank
from retrieval.world import World, WorldQuestion, build_world, grade
from training.gold import GoldJudge, first_plan
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


@dataclass
class Gold:
    """Knows the world's answers, and says the opposite while the stream is in its stretch of lies: of canaries too."""

    questions: Mapping[str, WorldQuestion]
    stream: frozenset[str]
    lied: frozenset[str]
    lying: bool = field(default=False, init=False)

    def right(self, question: Question, answer: str) -> bool:
        return grade(self.questions[question.text], answer)

    def lies(self, question: Question) -> bool:
        if question.text in self.stream:
            self.lying = question.text in self.lied
        return self.lying


async def play_world(given: Played) -> StreamScore:
    """One stream on a fresh bank. Every right answer is counted from what was recorded before learning."""
    made = build_world(seed=given.seed, size=given.size)
    stream = pick(made.questions, given.questions, given.seed)
    third, count = len(stream) // 3, round(given.lie * len(stream))
    lied = frozenset(one.text for one in stream[third : third + count])
    gold = Gold({one.text: one for one in made.questions}, frozenset(one.text for one in stream), lied)
    judge = given.panel or GoldJudge(gold.right, gold.lies)
    answers: list[Answered] = []
    with tempfile.TemporaryDirectory(prefix="mia-ttl-") as folder:
        corpus = corpus_of(made, Path(folder))
        bank = SqliteBank.open(Path(folder) / "bank.sqlite3", HashEmbedder())
        cases = CANARIES if given.panel else known_cases(made.questions, gold.stream)
        watch = watch_of(judge, bank, cases, given) if given.canaries else None
        loop = loop_of(given, bank, Solver(corpus), judge, answers, watch)
        asked = [Question(text=one.text, id=one.id) for one in stream]
        learned = [await loop.batch(asked[start : start + given.batch]) for start in range(0, len(asked), given.batch)]
        bank.close()
    return score_of(given, answers, learned, gold, watch)


def corpus_of(made: World, folder: Path) -> Corpus:
    """The world's pages, to be searched."""
    made.write(folder / "world")
    return Corpus.open([folder / "world" / "corpus.jsonl"], None, cache=folder / "cache")


def loop_of(
    given: Played, bank: Bank, student: Solver, judge: Judging, answers: list[Answered], watch: CanaryWatch | None
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
        record=answers.append,
        width=given.width if given.way == "ttl" else 1,
        rng=random.Random(given.seed),
        vouch=watch.vouch if watch else believed,
    )


def watch_of(judge: Judging, bank: Bank, cases: Sequence[Canary], given: Played) -> CanaryWatch:
    """Canaries beside the stream's judge."""

    async def ask(case: Case) -> Verdict:
        return await judge(Question(text=case.question), case)

    return CanaryWatch(ask=ask, tell=bank.canary, cases=cases, share=given.canaries, seed=given.seed)


def known_cases(questions: Sequence[WorldQuestion], stream: frozenset[str]) -> tuple[Canary, ...]:
    """Questions that the stream does not ask, in turn with their own answer and with another's."""
    free = [one for one in questions if one.text not in stream][:KNOWN]
    made = []
    for number, one in enumerate(free):
        other = next((two.answer for two in free if not grade(one, two.answer)), "")
        answer, label = (other, Label.INCORRECT) if number % 2 else (one.answer, Label.CORRECT)
        made.append(Canary(one.id, Case(question=one.text, answer=answer), frozenset({label})))
    return tuple(made)


def score_of(
    given: Played, answers: Sequence[Answered], learned: Sequence[Learned], gold: Gold, watch: CanaryWatch | None
) -> StreamScore:
    """The figures."""
    right = [gold.right(one.question, one.answer) for one in answers]
    told = [one for each in learned for one in each.answered]
    return StreamScore(
        way=given.way,
        seed=given.seed,
        questions=len(gold.stream),
        right=sum(right),
        right_late=sum(right[len(right) // 2 :]),
        majority_right=sum(gold.right(one.question, one.majority) for one in told),
        judged=sum(each.update.samples - each.update.masked for each in learned),
        masked=sum(each.update.masked for each in learned),
        stored=sum(each.stored for each in learned),
        canaries=watch.flown if watch else 0,
        alarms=watch.standing.alarms if watch else 0,
    )
