"""`mia ask` and `mia judge`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mia_skill.app import Mia
from mia_skill.cli.console import ANSWER_IS_NO, Settings, as_json, json_flag, run, show_progress
from mia_skill.core.errors import InputError
from mia_skill.core.picture import picture_of
from mia_skill.core.types import Passage, Question, Trajectory
from mia_skill.core.verdict import Case, Label, Verdict
from trust.report import report_json

if TYPE_CHECKING:
    from retrieval.images import ImageQuery

__all__ = ["ask", "judge"]


@click.command()
@click.argument("question")
@click.option("--image", type=click.Path(path_type=Path), help="The image that the question is about.")
@click.option("--data-id", default="", help="Its id in prepared image results (images.cache).")
@click.option("--caption", default="", help="What it shows; else the manager's model says so.")
@click.option("--no-store", is_flag=True, help="Do not remember this run.")
@json_flag
@click.pass_obj
def ask(
    settings: Settings, question: str, image: Path | None, data_id: str, caption: str, no_store: bool, json_: bool
) -> None:
    """Answer QUESTION: recall, plan, search, replan, judge, remember. Needs a model endpoint and a search source."""
    asked = Question(text=question, caption=caption or None)
    shown = seen(image, data_id)

    async def work(mia: Mia) -> None:
        episode = await mia.ask(asked, image=shown, store=not no_store, listener=show_progress)
        if json_:
            click.echo(as_json(episode))
            return
        click.echo(episode.trajectory.answer or f"no answer ({episode.trajectory.stop})")
        for line in sources(episode.trajectory):
            click.echo(line)
        if episode.verdict:
            click.echo(render(episode.verdict))

    run(settings, work)


@click.command()
@click.option("--question", required=True)
@click.option("--answer", required=True)
@click.option("--evidence", multiple=True, type=click.Path(path_type=Path), help="A text file; may be repeated.")
@json_flag
@click.pass_obj
def judge(settings: Settings, question: str, answer: str, evidence: tuple[Path, ...], json_: bool) -> None:
    """Is ANSWER supported by the evidence? Exit code 3 when it is not judged correct."""
    case = Case(question=question, answer=answer, evidence=tuple(read(path) for path in evidence))

    async def work(mia: Mia) -> Verdict:
        return (await mia.judge(case)).verdict

    verdict = run(settings, work)
    click.echo(report_json(verdict) if json_ else render(verdict))
    if verdict.label is not Label.CORRECT:
        sys.exit(ANSWER_IS_NO)


def seen(image: Path | None, data_id: str) -> "ImageQuery | None":
    """The image of a question; None without one.

    Raises:
        InputError: it cannot be read, or is none.
    """
    if image is None and not data_id:
        return None
    from retrieval.images import ImageQuery

    try:
        picture = picture_of(image.read_bytes()) if image else None
    except OSError as cause:
        raise InputError(f"cannot read {image}: {cause.strerror}") from None
    return ImageQuery(picture=picture, data_id=data_id)


def sources(trajectory: Trajectory) -> list[str]:
    """The passages that the answer cites, one a line."""
    known = {one.id: one for step in trajectory.steps for one in step.passages}
    return [f"  source: [{id_}] {known[id_].title} {known[id_].url or ''}".rstrip() for id_ in trajectory.cites]


def read(path: Path) -> Passage:
    """A file as evidence.

    Raises:
        InputError: it cannot be read as text.
    """
    try:
        return Passage(id=path.name, title=path.name, text=path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as cause:
        raise InputError(f"cannot read {path} as UTF-8 text: {cause}") from None


def render(verdict: Verdict) -> str:
    """A verdict for people."""
    colour = {Label.CORRECT: "green", Label.INCORRECT: "red"}.get(verdict.label, "yellow")
    sure = "" if verdict.p_correct is None else f" (p={verdict.p_correct:.2f})"
    lines = [
        click.style(f"{verdict.label}{sure}", fg=colour, bold=True),
        *(f"  - {reason}" for reason in verdict.reasons),
    ]
    for claim in verdict.claims:
        lines.append(f"  claim: {claim.text} -> {claim.support}")
        lines += [f'    [{quote.source_id}:{quote.start}-{quote.end}] "{quote.text}"' for quote in claim.quotes]
    lines += [f"  warning: {found.source_id} tries to steer its reader ({found.rule})" for found in verdict.injections]
    lines += [f"  verify next: {item.query} ({item.why})" for item in verdict.verify_next]
    return "\n".join(lines)
