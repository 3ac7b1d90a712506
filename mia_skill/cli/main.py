"""`mia`: every command starts here. Heavy parts are imported by the command that needs them."""

from pathlib import Path

import click

from mia_skill import __version__
from mia_skill.cli.ask import ask
from mia_skill.cli.console import Group, Settings
from mia_skill.cli.corpus import corpus
from mia_skill.cli.doctor import doctor
from mia_skill.cli.evaluate import evaluate, trace
from mia_skill.cli.guard import guard, judge_plan
from mia_skill.cli.install import install
from mia_skill.cli.judge import judge
from mia_skill.cli.manifest import bundle, manifest
from mia_skill.cli.memory import memory
from mia_skill.cli.models import models
from mia_skill.cli.rest import stream
from mia_skill.cli.serve import demo, serve, world
from mia_skill.cli.train import train
from mia_skill.cli.ui import ui

__all__ = ["main"]


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--config", "file", type=click.Path(dir_okay=False, path_type=Path), help="A TOML file of settings.")
@click.option("--home", type=click.Path(file_okay=False, path_type=Path), help="Folder of the bank and the caches.")
@click.option("--set", "pairs", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. memory.namespace=work.")
@click.version_option(__version__, prog_name="mia")
@click.pass_context
def main(ctx: click.Context, file: Path | None, home: Path | None, pairs: tuple[str, ...]) -> None:
    """Memory, planning and trustworthy judgment for host agents. Works with no key and no GPU.

    Settings come from a TOML file, then MIA_* variables (MIA_MODELS__DEFAULT__BASE_URL), then --set.

    Exit codes: 0 done, 1 could not be done (stderr says why), 2 wrong usage, 3 done and the answer is no.
    """
    ctx.obj = Settings(file=file, home=home, pairs=pairs)


for command in (
    serve,
    ask,
    judge,
    judge_plan,
    guard,
    memory,
    ui,
    corpus,
    doctor,
    install,
    manifest,
    bundle,
    demo,
    world,
    train,
    stream,
    models,
    evaluate,
    trace,
):
    main.add_command(command)
