"""`mia train cold`: the first lessons, before GRPO."""

from pathlib import Path
from typing import Any

import click

from mia_skill.cli.console import Number

__all__ = ["cold"]


@click.command()
@click.option("--model", required=True, type=click.Path(file_okay=False, path_type=Path), help="Where it begins.")
@click.option("--out", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder to write.")
@click.option("--world", "worlds", multiple=True, required=True, type=int, metavar="SEED", help="A training world.")
@click.option(
    "--role", "roles", multiple=True, type=click.Choice(["executor", "planner"]), help="Whose part it learns [both]."
)
@click.option("--size", default=400, show_default=True, type=click.IntRange(20, 100_000), help="Entities of a world.")
@click.option("--hops", multiple=True, type=click.IntRange(1, 4), help="Only such questions [1 2].")
@click.option("--examples", default=400, show_default=True, type=click.IntRange(1), help="Of each world, at most.")
@click.option("--steps", default=80, show_default=True, type=click.IntRange(1))
@click.option("--batch", default=32, show_default=True, type=click.IntRange(1), help="Conversations a step.")
@click.option("--lr", default=5e-5, show_default=True, type=Number(0, 1))
@click.option("--enough", default=0.05, show_default=True, type=Number(0), help="Loss at which it ends early.")
@click.option("--device", help="cuda or cpu [cuda where there is one].")
@click.option("--seed", default=0, show_default=True)
def cold(roles: tuple[Any, ...], hops: tuple[int, ...], device: str | None, **sizes: Any) -> None:
    """Imitate the expert of seeded worlds (supervised, all weights): calls, answers and plans in the right form.

    A model that never earns a reward learns nothing from GRPO. Give the worlds that are trained on, never those of the
    test. Needs torch and transformers.
    """
    from mia_skill.core.require import require
    from training.imitation import Imitation, imitate

    torch = require("torch", extra="rl")
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    asked = Imitation(roles=roles or ("executor", "planner"), hops=hops or (1, 2), device=chosen, **sizes)
    made = imitate(asked, lambda text: click.secho(text, err=True))
    click.echo(f"{made}\ntrain it: mia train executor --model {made} --data FOLDER --out FOLDER")
