"""`mia ask`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mia_skill.app import Mia
from mia_skill.cli.console import Settings, as_json, json_flag, run, say, show_progress, text
from mia_skill.cli.judge import render
from mia_skill.core.errors import InputError
from mia_skill.core.picture import picture_of
from mia_skill.core.types import Question, Trajectory

if TYPE_CHECKING:
    from retrieval.images import ImageQuery

__all__ = ["ask"]


@click.command()
@click.argument("question", type=text)
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
        say(episode.trajectory.answer or f"no answer ({episode.trajectory.stop})")
        for line in sources(episode.trajectory):
            say(line)
        if episode.verdict:
            say(render(episode.verdict, episode.trajectory.answer))

    run(settings, work)


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
