"""`mia train executor|planner|alternate|export`: runs of veRL, one command each; `--dry-run` shows what would run."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import click

from mia_skill.core.errors import InputError
from mia_skill.core.shown_address import shown_value

__all__ = ["alternate", "executor", "export", "planner"]

F = TypeVar("F", bound=Callable[..., Any])
MACHINES = ("one_gpu", "two_gpus", "eight_gpus", "many_nodes", "cpu")


def of_a_run(command: F) -> F:
    """The options that all runs share."""
    folder = click.Path(file_okay=False, path_type=Path)
    for option in reversed(
        (
            click.option("--data", required=True, type=folder, help="Folder of `mia train data`."),
            click.option("--out", required=True, type=folder, help="Folder of the checkpoints; a run resumes from it."),
            click.option(
                "--search", default="row", show_default=True, metavar="URL", help="/retrieve, or each row's own."
            ),
            click.option("--machine", default="one_gpu", show_default=True, type=click.Choice(MACHINES)),
            click.option("--tensorboard/--no-tensorboard", default=None, help="Event files [where it is installed]."),
            click.option("--dry-run", is_flag=True, help="Check everything, print the commands, start nothing."),
            click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
        )
    ):
        command = option(command)
    return command


def stage_command(stage: str, text: str) -> click.Command:
    """`mia train STAGE`."""

    @click.command(name=stage, help=text)
    @of_a_run
    @click.option("--model", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where it begins.")
    @click.option("--other", nargs=2, metavar="URL NAME", help="The frozen other agent, at any OpenAI endpoint.")
    def command(
        data: Path,
        out: Path,
        search: str,
        machine: str,
        tensorboard: bool | None,
        dry_run: bool,
        overrides: tuple[str, ...],
        model: Path,
        other: tuple[str, str] | None,
    ) -> None:
        from training.launch import Launch, Machine, check_installed, check_launch
        from training.legs import run_launch
        from training.record import Stage

        launch = Launch(
            cast(Stage, stage), data, model, out, cast(Machine, machine), other or None, search, overrides, tensorboard
        )
        check_launch(launch)
        if dry_run:
            click.echo(shlex.join(shown_value(one) for one in launch.command))
            if launch.checkpoint is not None:
                click.echo(f"# resumes from {launch.checkpoint}")
            return
        check_installed(launch.machine, overrides)
        checkpoint = run_launch(launch)
        click.echo(f"checkpoint: {checkpoint}\nexport it: mia train export --checkpoint {checkpoint} --out FOLDER")

    return command


CHANGES = "KEY=VALUE changes any setting of veRL or ours, e.g. actor_rollout_ref.rollout.n=4 mia.k=5."
executor = stage_command(
    "executor",
    "Stage 1: GRPO of the Executor, with live tools and given plans (paper eq. 1 and 2). Without --other nobody "
    f"replans.\n\n{CHANGES}",
)
planner = stage_command(
    "planner", f"Stage 2: GRPO of the Planner beside a frozen Executor (paper eq. 1 and 4).\n\n{CHANGES}"
)


@click.command()
@of_a_run
@click.option("--executor", "first", required=True, type=click.Path(file_okay=False, path_type=Path), help="Its model.")
@click.option("--planner", "second", required=True, type=click.Path(file_okay=False, path_type=Path), help="Its model.")
@click.option("--stages", default=2, show_default=True, type=click.IntRange(1, 20), help="Executor, Planner, ...")
@click.option("--port", default=8141, show_default=True, help="Of the frozen agent's server, on loopback.")
@click.option(
    "--serve-python", type=click.Path(exists=True, dir_okay=False), help="Python of the vLLM that serves [this one]."
)
def alternate(
    data: Path,
    out: Path,
    search: str,
    machine: str,
    tensorboard: bool | None,
    dry_run: bool,
    overrides: tuple[str, ...],
    first: Path,
    second: Path,
    stages: int,
    port: int,
    serve_python: str | None,
) -> None:
    """Executor, Planner, Executor, ...: each stage is trained beside the newest export of the other agent.

    Stop it at any time: the same command goes on with the stage, and from the checkpoint, it was in.
    """
    from training.launch import Machine, alternation, check_installed, check_launch, export_command
    from training.legs import run_legs, serve_command
    from training.model_folder import check_model

    legs = alternation(
        stages, data=data, executor=first, planner=second, out=out, machine=cast(Machine, machine), port=port,
        search=search, overrides=overrides, tensorboard=tensorboard, python=serve_python or sys.executable,
    )  # fmt: skip
    check_launch(legs[0].launch)
    check_model(second)
    if not dry_run:
        check_installed(cast(Machine, machine), overrides)
        click.echo(f"done: {run_legs(legs, lambda text: click.secho(text, err=True))}")
        return
    for leg in legs:
        click.echo(f"# {leg.launch.stage}: the frozen agent is served meanwhile")
        click.echo(shlex.join(serve_command(leg)))
        click.echo(shlex.join(leg.launch.command))
        click.echo(shlex.join(export_command(leg.launch.out / "global_step_N", leg.exported)))


@click.command()
@click.option("--checkpoint", required=True, type=click.Path(file_okay=False, path_type=Path), help="global_step_N.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write.")
@click.option("--cpu", is_flag=True, help="The checkpoint is of a run without a GPU.")
def export(checkpoint: Path, out: Path, cpu: bool) -> None:
    """A checkpoint as a Hugging Face folder, which transformers and `vllm serve` load (veRL's own merger)."""
    from training.launch import check_installed, environment_for
    from training.legs import export as merged

    if not checkpoint.is_dir():
        raise InputError(f"{checkpoint} is not there: give the folder global_step_N of a run")
    check_installed("cpu")
    made = merged(checkpoint, out, environment_for("cpu" if cpu else "one_gpu"))
    click.echo(f"{made}\nserve it: vllm serve {made}")
