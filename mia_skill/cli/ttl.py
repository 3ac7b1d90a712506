"""`mia train ttl`: test-time learning over a stream of questions, with no model and no GPU."""

from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import click

from mia_skill.cli.console import Settings, as_json, json_flag
from mia_skill.core.config import MiaConfig

if TYPE_CHECKING:
    from mia_skill.agents.explore import Judging
    from mia_skill.cli.ttl_world import StreamScore
    from mia_skill.core.types import Question
    from mia_skill.core.verdict import Case, Verdict

__all__ = ["panel_of", "ttl"]

WAYS = ("static", "memory", "ttl")


@click.command()
@click.option("--world", is_flag=True, required=True, help="The seeded world and its deterministic agent: no model.")
@click.option("--questions", default=80, show_default=True, type=click.IntRange(2, 5000))
@click.option("--size", default=160, show_default=True, type=click.IntRange(60, 5000))
@click.option("--seed", "seeds", multiple=True, type=int, help="Give it several times for several streams [7].")
@click.option("--batch", default=4, show_default=True, type=click.IntRange(1, 256), help="Questions an update.")
@click.option("--width", default=4, show_default=True, type=click.IntRange(1, 16), help="Plans a question (G).")
@click.option("--lie", default=0.0, show_default=True, type=click.FloatRange(0, 1), help="Share judged wrongly.")
@click.option(
    "--canaries",
    default=0.0,
    show_default=True,
    type=click.FloatRange(0, 0.5),
    help="Share of judgments after which the judge is tested with a case of known verdict; what it taught waits.",
)
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
    canaries: float,
    judge: str,
    ways: tuple[str, ...],
    json_: bool,
) -> None:
    """Answer a stream of questions and learn from each batch after it was answered (paper 3.4).

    static: nothing is remembered. memory: one plan a question. ttl: G plans, all judged and learnt from; the weights
    stay (null updater).
    """
    from mia_skill.cli.ttl_world import Played, play_world

    panel = panel_of(settings.load()) if judge == "panel" else None
    scores = []
    for seed in seeds or (7,):
        for way in ways or WAYS:
            sizes = {"questions": questions, "size": size, "batch": batch, "width": width}
            score = anyio.run(play_world, Played(way, seed, **sizes, lie=lie, canaries=canaries, panel=panel))
            scores.append(score)
            if not json_:
                click.echo(line_of(score))
    if json_:
        click.echo(as_json({"world": world, "scores": [one.model_dump(mode="json") for one in scores]}))


def line_of(score: "StreamScore") -> str:
    """One stream in a line."""
    told = (
        f"seed {score.seed:3}  {score.way:7} right {score.right:4}/{score.questions} "
        f"({score.right / score.questions:.3f})  second half {score.right_late:3}  maj@G {score.majority_right:4}  "
        f"judged {score.judged}  masked {score.masked}  kept {score.stored}  shown {score.shown}"
    )
    return told + (f"  canaries {score.canaries}  alarms {score.alarms}" if score.canaries else "")


def panel_of(config: MiaConfig) -> "Judging":
    """Whoever judges without gold. It abstains where it cannot tell, and what it abstains on is masked."""
    from mia_skill.core.openai_chat import OpenAIChat
    from trust.evidence import examine
    from trust.panel import Panel

    endpoint = config.models.of("judge")

    async def judged(_question: "Question", case: "Case", /) -> "Verdict":
        if endpoint is None:
            return await anyio.to_thread.run_sync(examine, case)
        model = OpenAIChat(endpoint)  # of this stream's event loop
        try:
            return await Panel(model, config.trust).judge(case)
        finally:
            await model.aclose()

    return judged
