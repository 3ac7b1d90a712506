"""`mia train ttl`: test-time learning over one's own questions, or over the seeded world's with no model."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import click
from click.core import ParameterSource

from mia_skill.cli.console import Number, Settings, as_json, json_flag
from mia_skill.cli.ttl_own import OWN, Own, own_options, play_own
from mia_skill.core.config import MiaConfig

if TYPE_CHECKING:
    from mia_skill.agents.explore import Judging
    from mia_skill.cli.ttl_world import StreamScore
    from mia_skill.core.types import Question
    from mia_skill.core.verdict import Case, Verdict

__all__ = ["panel_of", "ttl"]

WAYS = ("static", "memory", "ttl")
WORLD = ("questions", "size", "lie", "canaries", "ways")
"""The options that only a world has."""


@click.command()
@own_options
@click.option(
    "--world", is_flag=True, help="Instead of --from: the seeded world and its deterministic agent, no model."
)
@click.option("--questions", default=80, show_default=True, type=click.IntRange(2, 5000), help="Of a world.")
@click.option("--size", default=160, show_default=True, type=click.IntRange(60, 5000), help="Of a world.")
@click.option("--seed", "seeds", multiple=True, type=int, help="Of a world, or several [7]; of the draws [0].")
@click.option("--batch", default=4, show_default=True, type=click.IntRange(1, 256), help="Questions an update.")
@click.option("--width", default=4, show_default=True, type=click.IntRange(1, 16), help="Plans a question (G).")
@click.option("--lie", default=0.0, show_default=True, type=Number(0, 1), help="Share judged wrongly (world).")
@click.option(
    "--canaries",
    default=0.0,
    show_default=True,
    type=Number(0, 0.5),
    help="Share of judgments after which the judge is tested with a case of known verdict; what it taught waits "
    "(world; with --from the setting trust.canaries).",
)
@click.option(
    "--judge",
    type=click.Choice(["gold", "panel"]),
    default="gold",
    show_default=True,
    help="panel learns unsupervised: from the reviewers where models.judge is set, else from the evidence checks.",
)
@click.option("--way", "ways", multiple=True, type=click.Choice(WAYS), help="Only these ways of a world [all].")
@json_flag
@click.pass_context
def ttl(context: click.Context, /, world: bool, file: Path | None, json_: bool, **given: Any) -> None:
    """Answer a stream of questions and learn from each batch after it was answered (paper 3.4).

    \b
    Your own questions, with a model whose weights learn (needs 'mia-skill[rl]'):
      mia --set 'search.corpus=["pages.jsonl"]' train ttl --from questions.jsonl --model FOLDER --out RUN
    FILE has JSON lines of id, question, answer (or answers); --judge panel needs
    no answers and masks what it cannot judge. It is searched where `mia ask`
    searches (search.corpus, search.web). Each question is answered with the
    likeliest plan; --width further plans are drawn, judged and learnt from.

    \b
    RUN/answers.jsonl   a line an answered question, written before any learning
    RUN/batches.jsonl   what each batch taught
    RUN/memory.sqlite3  the run's own memory (--memory own), so that yours is not
                        changed by a trial and the figures start from nothing
    RUN/planner-vN      what was learnt, for vLLM; the last lines say how to use it
    The same command goes on where it was stopped, and asks what was added to FILE.

    \b
    A seeded world (--world), no model: static remembers nothing, memory has one
    plan a question, ttl has G, all judged and learnt from (null updater).
    """
    if world == (file is not None):
        raise click.UsageError("give --from FILE --model FOLDER --out FOLDER, or --world")
    misplaced(context, WORLD if file is not None else OWN, "--world" if file is not None else "--from")
    if file is not None:
        chosen = {name: value for name, value in given.items() if name not in WORLD}
        play_own(context.obj, Own(file=file, **chosen), json_)
    else:
        play_worlds(context.obj, json_, {name: value for name, value in given.items() if name not in OWN})


def misplaced(context: click.Context, names: Collection[str], of: str) -> None:
    """Raises: click.UsageError: an option was given that belongs to the other kind of stream."""
    for one in context.command.params:
        if one.name in names and context.get_parameter_source(one.name) is ParameterSource.COMMANDLINE:
            raise click.UsageError(f"{one.opts[0]} belongs to {of}")


def play_worlds(settings: Settings, json_: bool, given: Mapping[str, Any]) -> None:
    """Every way on every seed."""
    from mia_skill.cli.ttl_world import Played, play_world

    panel = panel_of(settings.load()) if given["judge"] == "panel" else None
    sizes = {name: given[name] for name in ("questions", "size", "batch", "width", "lie", "canaries")}
    scores = []
    for seed in given["seeds"] or (7,):
        for way in given["ways"] or WAYS:
            score = anyio.run(play_world, Played(way, seed, **sizes, panel=panel))
            scores.append(score)
            if not json_:
                click.echo(line_of(score))
    if json_:
        click.echo(as_json({"world": True, "scores": [one.model_dump(mode="json") for one in scores]}))


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
