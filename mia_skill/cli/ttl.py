"""`mia train ttl`: test-time learning over a stream of questions, with no model and no GPU."""

import random
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import click

from mia_skill.cli.console import Settings, as_json, json_flag
from mia_skill.core.config import MiaConfig
from mia_skill.core.types import Question, Value

if TYPE_CHECKING:
    from mia_skill.core.verdict import Case, Verdict
    from training.ttl import Judging

__all__ = ["StreamScore", "play_world", "ttl"]

WAYS = ("static", "memory", "ttl")


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
    """Rollouts that nobody could judge: they teach nothing."""
    stored: int


@click.command()
@click.option("--world", is_flag=True, required=True, help="The seeded world and its deterministic agent: no model.")
@click.option("--questions", default=80, show_default=True, type=click.IntRange(2, 5000))
@click.option("--size", default=160, show_default=True, type=click.IntRange(60, 5000))
@click.option("--seed", "seeds", multiple=True, type=int, help="Give it several times for several streams [7].")
@click.option("--batch", default=4, show_default=True, type=click.IntRange(1, 256), help="Questions an update.")
@click.option("--width", default=4, show_default=True, type=click.IntRange(1, 16), help="Plans a question (G).")
@click.option("--lie", default=0.0, show_default=True, type=click.FloatRange(0, 1), help="Share judged wrongly.")
@click.option(
    "--judge",
    type=click.Choice(["gold", "panel"]),
    default="gold",
    show_default=True,
    help="panel learns unsupervised: from the reviewers where models.judge is set, else from the evidence checks.",
)
@click.option("--way", "ways", multiple=True, type=click.Choice(WAYS), help="Only these ways [all].")
@json_flag
@click.pass_obj
def ttl(
    settings: Settings,
    world: bool,
    questions: int,
    size: int,
    seeds: tuple[int, ...],
    batch: int,
    width: int,
    lie: float,
    judge: str,
    ways: tuple[str, ...],
    json_: bool,
) -> None:
    """Answer a stream of questions and learn from each batch after it was answered (paper 3.4).

    static: nothing is remembered. memory: one plan a question. ttl: G plans, all judged and learnt from; the weights
    stay (null updater).
    """
    panel = panel_of(settings.load()) if judge == "panel" else None
    scores = []
    for seed in seeds or (7,):
        for way in ways or WAYS:
            score = anyio.run(play_world, way, seed, questions, size, batch, width, lie, panel)
            scores.append(score)
            if not json_:
                share = score.right / score.questions
                click.echo(
                    f"seed {seed:3}  {way:7} right {score.right:4}/{score.questions} ({share:.3f})  second half "
                    f"{score.right_late:3}  maj@G {score.majority_right:4}  judged {score.judged}  "
                    f"masked {score.masked}  kept {score.stored}"
                )
    if json_:
        click.echo(as_json({"world": world, "scores": [one.model_dump(mode="json") for one in scores]}))


def panel_of(config: MiaConfig) -> "Judging":
    """Whoever judges without gold. It abstains where it cannot tell, and what it abstains on is masked."""
    from mia_skill.core.openai_chat import OpenAIChat
    from trust.evidence import examine
    from trust.panel import Panel

    endpoint = config.models.of("judge")

    async def judged(_question: Question, case: "Case", /) -> "Verdict":
        if endpoint is None:
            return await anyio.to_thread.run_sync(examine, case)
        model = OpenAIChat(endpoint)  # of this stream's event loop
        try:
            return await Panel(model, config.trust).judge(case)
        finally:
            await model.aclose()

    return judged


async def play_world(
    way: str,
    seed: int,
    count: int,
    size: int,
    batch: int,
    width: int,
    lie: float,
    panel: "Judging | None" = None,
) -> StreamScore:
    """One stream on a fresh bank. Every right answer is counted from what was recorded before learning. `panel` judges
    in the place of gold; what is counted as right is gold all the same."""
    from mia_skill.agents.manager import Manager
    from mia_skill.core.types import Plan
    from mia_skill.demo.stage import pick
    from mia_skill.demo.student import WorldStudent
    from retrieval.bank import MemoryQuery
    from retrieval.corpus import Corpus
    from retrieval.embed import HashEmbedder
    from retrieval.sqlite_bank import SqliteBank
    from retrieval.world import build_world, grade
    from training.gold import GoldJudge, first_plan
    from training.groups import NullUpdater
    from training.ttl import Answered, Attempt, TestTime

    made = build_world(seed=seed, size=size)
    stream = pick(made.questions, count, seed, 8)
    by_text = {one.text: one for one in stream}
    wrong = {one.text for one in stream[len(stream) // 3 :][: round(lie * len(stream))]}
    answers: list[Answered] = []

    class Solver(WorldStudent):
        async def attempt(self, question: Question, plan: Plan) -> Attempt:
            run, first, replanned = await self.solve(question, plan)
            return Attempt(plan=plan, trajectory=run, first_answer=first, replanned=replanned)

    with tempfile.TemporaryDirectory(prefix="mia-ttl-") as folder:
        made.write(Path(folder) / "world")
        corpus = Corpus.open([Path(folder) / "world" / "corpus.jsonl"], None, cache=Path(folder) / "cache")
        bank = SqliteBank.open(Path(folder) / "bank.sqlite3", HashEmbedder())
        shown = 0 if way == "static" else 2

        def query(question: Question) -> MemoryQuery:
            return MemoryQuery(
                text=question.text, k_success=shown, k_failure=shown, task=question.id, withhold=0.05, seed=seed
            )

        loop = TestTime(
            manager=Manager(bank),
            student=Solver(corpus),
            judge=panel or GoldJudge(lambda q, a: grade(by_text[q.text], a), lambda q: q.text in wrong),
            updater=NullUpdater(),
            pick=first_plan,
            query=query,
            record=answers.append,
            width=width if way == "ttl" else 1,
            rng=random.Random(seed),
        )
        asked = [Question(text=one.text, id=one.id) for one in stream]
        learned = [await loop.batch(asked[start : start + batch]) for start in range(0, len(asked), batch)]
        bank.close()
    right = [grade(by_text[one.question.text], one.answer) for one in answers]
    told = [one for each in learned for one in each.answered]
    return StreamScore(
        way=way,
        seed=seed,
        questions=len(stream),
        right=sum(right),
        right_late=sum(right[len(right) // 2 :]),
        majority_right=sum(grade(by_text[one.question.text], one.majority) for one in told),
        judged=sum(each.update.samples - each.update.masked for each in learned),
        masked=sum(each.update.masked for each in learned),
        stored=sum(each.stored for each in learned),
    )
