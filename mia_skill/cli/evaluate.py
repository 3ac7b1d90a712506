"""`mia eval`: run methods over a data set, and write what can be believed of it."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import click

from mia_skill.cli.console import Number, Settings, as_json, json_flag, say
from mia_skill.core.errors import InputError

if TYPE_CHECKING:
    from mia_skill.evaluation.runner import Progress
    from mia_skill.evaluation.trace import Row

__all__ = ["evaluate", "trace"]


@click.group("eval")
def evaluate() -> None:
    """Evaluate the whole agent and its baselines on any data set and any endpoint."""


@evaluate.command("run")
@click.option("--dataset", required=True, help="world, world-images, sandbox, or a .json/.jsonl/.csv/.parquet file.")
@click.option("--form", default="auto", show_default=True, help="Form of the file; else found by its columns.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder in which the file's image paths start.")
@click.option("--methods", default="all", show_default=True, help="all, or names with commas between.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder of the run.")
@click.option("--limit", type=click.IntRange(1), help="Questions of the stream; default all.")
@click.option("--seeds", default="0", show_default=True, help="One shuffled order each, with commas between.")
@click.option("--in-order", is_flag=True, help="The file's order for every seed.")
@click.option("--concurrency", default=1, show_default=True, type=click.IntRange(1, 4096), help="Episodes of a wave.")
@click.option("--together", default=1, show_default=True, type=click.IntRange(1, 256), help="Methods at a time.")
@click.option("--frozen-after", type=click.IntRange(0), help="Learn from this many questions only.")
@click.option("--agent", type=click.Choice(["auto", "models", "rules"]), default="auto", show_default=True)
@click.option("--endpoint", "endpoints", multiple=True, help="Base url of one more endpoint of the same model.")
@click.option("--judge/--no-judge", default=None, help="Grade with the judge model; default: if models.judge is set.")
@click.option(
    "--price", nargs=3, type=Number(0), default=(0, 0, 0), help="Per million prompt and completion tokens, per search."
)
@click.option("--world-size", default=300, show_default=True, type=click.IntRange(20, 100_000))
@click.option("--world-seed", default=7, show_default=True)
@click.option(
    "--recur", default=8, show_default=True, type=click.IntRange(1), help="How often a shape of a world comes back."
)
@click.option("--harm", default=0.0, show_default=True, type=Number(0, 1), help="Share of lessons spoiled.")
@click.option("--ray", is_flag=True, help="Spread methods and seeds over a Ray cluster.")
@click.pass_obj
def run_command(settings: Settings, /, **given: Any) -> None:
    """Run methods over a data set: answer, then learn. The same command takes a broken-off run up again."""
    from mia_skill.evaluation.stage import Order, carry_out

    order = Order.model_validate(given | {"seeds": numbers(given["seeds"]), "price": tuple(given["price"])})
    config = settings.load()
    paths = anyio.run(carry_out, config, order, show)
    click.echo(f"{paths[0]}\n{paths[1]}")


@evaluate.command("compare")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@json_flag
def compare_command(folder: Path, json_: bool) -> None:
    """Read the traces in FOLDER again, and write report.md and report.html."""
    from mia_skill.evaluation.report import as_markdown, write_report
    from mia_skill.evaluation.summary import summarise

    summary = summarise(folder)
    write_report(summary, folder)
    click.echo(as_json(summary) if json_ else as_markdown(summary))


@evaluate.command("methods")
@json_flag
def methods_command(json_: bool) -> None:
    """All methods: where each is from, and what differs here."""
    from mia_skill.evaluation.methods import BY_PACKAGE, METHODS, source_of

    names = (*METHODS, *BY_PACKAGE)
    told = [dict(zip(("method", "source", "differs"), (name, *source_of(name)), strict=True)) for name in names]
    if json_:
        click.echo(as_json({"methods": told}))
        return
    for one in told:
        click.echo(f"{one['method']}\n    from: {one['source']}\n    here: {one['differs']}")


@click.group()
def trace() -> None:
    """Look into the traces of an evaluation."""


@trace.command("show")
@click.argument("file", type=click.Path(exists=True, path_type=Path))
@click.argument("task", required=False)
@json_flag
def show_command(file: Path, task: str | None, json_: bool) -> None:
    """The episodes of FILE (a trace.*.jsonl of an evaluation's folder), one a line; or one TASK in full."""
    from mia_skill.evaluation.trace import rows_of

    if file.is_dir():
        held = ", ".join(sorted(path.name for path in file.glob("trace.*.jsonl"))) or "none"
        raise InputError(f"{file} is a folder: name one of the traces in it ({held})")
    rows = rows_of(file)
    if not rows and file.stat().st_size:
        raise InputError(f"{file} holds no whole line of a trace: it is another file, or its run was cut off at once")
    if task is None:
        if json_:
            click.echo(as_json([row.model_dump(mode="json") for row in rows]))
            return
        for row in rows:
            say(f"{row.position:5} {row.task:24} {row.status:9} {row.grade:13} {row.answer[:40]!r}")
        return
    found = next((row for row in rows if row.task == task), None)
    if found is None:
        raise InputError(f"no question {task!r} in {file}: without one its questions are listed, each with its id")
    say(as_json(found) if json_ else told(found))


def told(row: "Row") -> str:
    """An episode for people."""
    lines = [f"question: {row.question}", f"gold: {' | '.join(row.gold)}", f"status: {row.status} {row.error}".rstrip()]
    lines.append(f"grade: {row.grade} by {row.graded_by}; evidence says {row.evidence}; F1 {row.f1:.2f}")
    if row.attempt:
        lines += [f"memory shown: {', '.join(row.shown) or 'none'}", f"plan:\n{row.attempt.plan}"]
        for number, step in enumerate(row.attempt.trajectory.steps, 1):
            lines.append(f"{number}. {step.tool}: {step.query}")
            if step.error:
                lines.append(f"   failed: {step.error}")
            lines += [f"   [{passage.id}] {passage.title}: {passage.text[:120]}" for passage in step.passages]
        lines.append(f"answer: {row.answer or '(none)'} ({row.attempt.trajectory.stop})")
    spent = row.usage
    lines.append(
        f"spent: {spent.calls} calls, {spent.prompt_tokens}+{spent.completion_tokens} tokens, "
        f"{spent.searches} searches, {spent.seconds:.1f} s"
    )
    return "\n".join(lines)


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between.

    Raises:
        InputError: one is none.
    """
    try:
        return tuple(dict.fromkeys(int(one) for one in text.split(",")))
    except ValueError:
        raise InputError(f"--seeds takes whole numbers with commas between, not {text!r}") from None


def show(progress: "Progress") -> None:
    """One line on stderr, written over; into a file goes only the last."""
    end = "\n" if progress.done == progress.total else "\r"
    if end == "\r" and not sys.stderr.isatty():
        return
    click.echo(
        f"  {progress.method} (seed {progress.seed}): {progress.done}/{progress.total} asked, {progress.right} right, "
        f"{progress.no_sample} without a sample   {end}",
        nl=False,
        err=True,
    )
