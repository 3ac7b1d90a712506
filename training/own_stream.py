"""Test-time learning over one's own questions, with a local model whose weights learn: `mia train ttl --from FILE`.

Each question is answered with the likeliest plan, and its answer written down; plans drawn beside it teach. The
stream can be ended at any time: the same command goes on behind the last question, with the weights of the last batch
that was learnt from, and more questions may have come by then.
"""

import random
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mia_skill.agents.canaries import believed
from mia_skill.agents.mia import Mia
from mia_skill.core.config import MiaConfig
from mia_skill.core.errors import InputError, ModelError, PlanError, ToolOutage
from mia_skill.core.types import Plan, Question
from mia_skill.core.verdict import Case, Verdict
from retrieval.bank import Recall
from training.answer_book import AnswerBook, BatchLine, Line, Score
from training.gold import GoldJudge, first_plan
from training.groups import NullUpdater
from training.model_folder import check_model
from training.pens import Desk, InPlace, Pens, pens_of, placed, seeded, student_of
from training.policy import Renderer
from training.task import Task
from training.token_student import TokenStudent
from training.ttl import Answered, Attempt, TestTime
from trust.reference import exact_match

__all__ = ["OwnStream", "check", "config_of", "play", "serving"]

CHECKPOINT, BANK = "learner.pt", "memory.sqlite3"
SERVED = "http://127.0.0.1:8000/v1"
"""Where `vllm serve` listens when it is told nothing else."""
RANKS = (16, 32, 64, 128, 256, 320, 512)
"""Of adapters that vLLM takes, from its default on."""


@dataclass(frozen=True)
class OwnStream:
    """What to run."""

    desk: Desk
    out: Path
    updater: Literal["null", "tiny"] = "tiny"
    judge: Literal["gold", "panel"] = "gold"
    memory: Literal["own", "mine"] = "own"
    batch: int = 4
    width: int = 4
    """Plans drawn a question, beside the one that is answered with."""
    seed: int = 0

    @property
    def told(self) -> dict[str, object]:
        """What must be the same for a folder to be gone on with."""
        return {
            "model": str(self.desk.planner.absolute()),
            "executor": str(self.desk.executor.absolute()) if self.desk.executor else None,
            "updater": self.updater,
            "rank": self.desk.rank if self.updater == "tiny" else None,
            "judge": self.judge,
            "memory": self.memory,
        }


def config_of(config: MiaConfig, run: OwnStream) -> MiaConfig:
    """The user's settings; the memory is a file of the run's own, where it is not to be the user's."""
    if run.memory == "mine":
        return config
    memory = config.memory.model_copy(update={"path": run.out / BANK, "url": None})
    return config.model_copy(update={"memory": memory})


async def check(run: OwnStream, tasks: Sequence[Task], mia: Mia) -> None:
    """What can be told before weights are loaded.

    Raises:
        InputError: a question has no gold answer although gold judges, there is nothing to search, or no model.
        CorpusError, SearchError: the corpus cannot be searched.
    """
    lacking = next((task.name for task in tasks if not task.gold), None)
    if run.judge == "gold" and lacking is not None:
        raise InputError(f"the question {lacking!r} has no answer: give it one, or --judge panel, which needs none")
    mia.sources.pick("auto")
    if mia.sources.corpus is not None:
        await mia.sources.corpus.search(tasks[0].question.text[:200], 1)
    for folder in filter(None, (run.desk.planner, run.desk.executor)):
        if not any(folder.glob("*.gguf")):
            check_model(folder)


async def play(run: OwnStream, tasks: Sequence[Task], mia: Mia, told: Callable[[int], object]) -> Score:
    """The whole stream, or what is left of it; `told` gets how many questions are done with.

    Raises:
        MissingExtraError: torch, transformers or peft is not installed.
        MiaError: see `check`; or an update failed: what was answered and learnt before is kept.
    """
    await check(run, tasks, mia)
    run = replace(run, desk=placed(run.desk))
    book = AnswerBook.open(run.out, run.told)
    left = book.left(tasks)
    told(len(tasks) - len(left))
    pens = pens_of(run.desk, run.batch * (run.width + 1), run.updater == "tiny")
    updater = updater_of(run, pens)
    seeded(run.seed + len(book.lines))
    stream = Playing(run, mia, book, pens, updater, {task.name: task for task in tasks})
    for batch in batches(left, run.batch):
        await stream.batch(batch)
        told(len(batch))
    lost = len(book.left(tasks))
    return book.score(lost, stream.student.why, saved(run, updater), updater.version if updater else 0)


def updater_of(run: OwnStream, pens: Pens) -> InPlace | None:
    """Who learns, from where the run stopped; None where nobody does.

    Raises:
        InputError: a model's template cannot be used, or the checkpoint is another model's.
    """
    for one in (pens.planner, pens.executor):
        Renderer(one.tokenizer).check()
    updater = InPlace(pens.learner) if pens.learner else None
    if updater is not None and (run.out / CHECKPOINT).exists():
        updater.restore(run.out / CHECKPOINT)
    return updater


@dataclass
class Noted:
    """A student of whom is noted why a question has no answer: the stream itself only leaves it out."""

    student: TokenStudent
    planless: set[str] = field(default_factory=set)
    """Questions for which none of the replies was a plan: the Planner's own fault, so they count."""
    why: str = ""
    """Of the last part that failed: no sample."""

    async def plans(self, question: Question, recall: Recall, n: int) -> tuple[Plan, ...]:
        """Raises: ModelError, PlanError: as noted."""
        try:
            return await self.student.plans(question, recall, n)
        except PlanError:
            self.planless.add(question.text)
            raise
        except ModelError as cause:
            self.why = f"{type(cause).__name__}: {cause}"
            raise

    async def attempt(self, question: Question, plan: Plan) -> Attempt:
        """Raises: ModelError, ToolOutage: as noted."""
        try:
            return await self.student.attempt(question, plan)
        except (ModelError, ToolOutage) as cause:
            self.why = f"{type(cause).__name__}: {cause}"
            raise


class Playing:
    """The loop of test-time learning over these weights, this memory and these questions."""

    def __init__(
        self, run: OwnStream, mia: Mia, book: AnswerBook, pens: Pens, updater: InPlace | None, tasks: dict[str, Task]
    ) -> None:
        self.run, self.mia, self.book, self.updater, self.tasks = run, mia, book, updater, tasks
        finder, config = mia.sources.pick("auto"), mia.config
        room = run.desk.context - run.desk.tokens
        student = student_of(run.desk, pens, finder, config.budget, draws=True, k=config.search.k, room=room)
        self.student = Noted(student)
        watch = mia.watch if run.judge == "panel" else None
        self.loop = TestTime(
            manager=mia.manager,
            student=self.student,
            judge=self.panel if run.judge == "panel" else GoldJudge(self.right),
            updater=updater or NullUpdater(),
            pick=first_plan,
            query=mia.query,
            record=self.record,
            width=run.width + 1,
            namespace=config.memory.namespace,
            parallel=run.batch * (run.width + 1),
            rng=random.Random(run.seed + len(book.lines)),
            talks=student,
            vouch=watch.vouch if watch else believed,
        )

    async def batch(self, asked: Sequence[Task]) -> None:
        """Answer some questions, then learn from them and keep what was learnt."""
        learned = await self.loop.batch([task.question for task in asked])
        if self.updater is not None and learned.update.metrics["rows"]:
            self.updater.keep(self.run.out / CHECKPOINT)
        for task in asked:
            if task.question.text in self.student.planless:
                self._write(task, "", planned=False)
        self.student.planless.clear()
        majority = {one.question.id or one.question.text: one.majority for one in learned.answered}
        line = BatchLine(
            asked=len(asked),
            drawn=self.run.width * len(asked),
            rewarded=learned.update.samples - learned.update.masked,
            stored=learned.stored,
            believed=learned.believed,
            version=learned.update.version,
            majority=majority,
            majority_right=sum(exact_match(one, self.tasks[name].gold) for name, one in majority.items()),
            metrics=learned.update.metrics,
        )
        self.book.learnt(line)

    async def panel(self, _question: Question, case: Case, /) -> Verdict:
        """Judges without gold: the reviewers where `models.judge` is set, else the evidence checks."""
        return await self.mia.verdict(case)

    def right(self, question: Question, answer: str) -> bool:
        """Is it a gold answer?"""
        return exact_match(answer, self._task(question).gold)

    def record(self, one: Answered) -> None:
        """Write an answer down, before anything is learnt."""
        self._write(self._task(one.question), one.answer, memories=one.memories)

    def _task(self, question: Question) -> Task:
        return self.tasks[question.id or question.text]

    def _write(self, task: Task, answer: str, *, planned: bool = True, memories: int = 0) -> None:
        line = Line(
            number=len(self.book.lines),
            id=task.name,
            question=task.question.text,
            answer=answer,
            right=exact_match(answer, task.gold) if task.gold else None,
            planned=planned,
            memories=memories,
            version=self.updater.version if self.updater else 0,
        )
        self.book.write(line)


def batches(tasks: Sequence[Task], size: int) -> Iterator[list[Task]]:
    """In the order of the stream. A question that was asked in a batch already begins the next one."""
    batch: list[Task] = []
    for task in tasks:
        if len(batch) == size or any(one.question.text == task.question.text for one in batch):
            yield batch
            batch = []
        batch.append(task)
    if batch:
        yield batch


def saved(run: OwnStream, updater: InPlace | None) -> Path | None:
    """The folder of what was learnt, one for each version; None where no weight has moved.

    Raises:
        TrainingError: it cannot be written.
    """
    if updater is None or not updater.version:
        return None
    folder = run.out / f"planner-v{updater.version}"
    if not folder.exists():
        updater.save(folder)
    return folder


def serving(run: OwnStream, score: Score) -> tuple[str, ...]:
    """How what was learnt is used."""
    use, told = "use it: mia", list[str]()
    if score.planless * 2 > score.asked:
        told += ["most questions got no plan: `mia train cold` teaches a small model the form of plans and calls"]
    if score.planner is not None:
        told += [f"learnt: {score.planner}", f"serve it: {serve_command(run, score.planner)}"]
        alone = run.desk.rank == 0 or run.desk.executor is not None
        roles = {"planner": "planner"} if alone else {"default": "base", "planner": "planner"}
        for role, name in roles.items():
            use += f" --set models.{role}.base_url={SERVED} --set models.{role}.model={name}"
    elif run.updater == "tiny":
        told += ["no weight has moved: no two plans of a question earned different rewards"]
    if run.memory == "own":
        use += f" --set memory.path={shlex.quote(str(run.out / BANK))}"
    return (*told, f"{use} ask '...'")


def serve_command(run: OwnStream, planner: Path) -> str:
    """How vLLM serves what was learnt: an adapter beside the model that it was learnt on, or a model."""
    if not run.desk.rank:
        return shlex.join(("vllm", "serve", str(planner), "--served-model-name", "planner"))
    least = next(rank for rank in RANKS if rank >= run.desk.rank)
    base = ("vllm", "serve", str(run.desk.planner), "--served-model-name", "base")
    return shlex.join((*base, "--enable-lora", "--max-lora-rank", str(least), "--lora-modules", f"planner={planner}"))
