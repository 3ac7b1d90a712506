"""`mia train ttl --from`: test-time learning over one's own questions, with a local model whose weights learn."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio
import click

from mia_skill.app import build
from mia_skill.cli.console import Number, Settings, as_json
from mia_skill.core.errors import InputError

if TYPE_CHECKING:
    from training.own_stream import OwnStream
    from training.task import Task

__all__ = ["OWN", "Own", "own_options", "play_own"]

F = TypeVar("F", bound=Callable[..., Any])
OWN = ("model", "executor", "updater", "rank", "lr", "device", "context", "tokens", "memory", "form", "out")
"""The options that only a run over one's own questions has."""
ADAPTER_LR, WHOLE_LR = 1e-4, 1e-5
"""Of an adapter as in the world stream; of all weights as in the streaming trainer."""
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
UPDATERS = click.Choice(["null", "tiny"])
OPTIONS = (
    click.option("--from", "file", type=FILE, help="Your questions."),
    click.option("--model", type=FOLDER, help="The Planner's weights: a folder, as transformers saves it."),
    click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the run."),
    click.option("--executor", type=FOLDER, help="The frozen Executor's weights [those of --model]."),
    click.option(
        "--updater",
        type=UPDATERS,
        default="tiny",
        show_default=True,
        help="tiny: GRPO in this process. null: memory learns, weights do not.",
    ),
    click.option(
        "--rank", default=16, show_default=True, type=click.IntRange(0, 512), help="Of the LoRA; 0: all weights."
    ),
    click.option("--lr", type=Number(0, 1), help=f"[{ADAPTER_LR}; all weights: {WHOLE_LR}]"),
    click.option("--device", default="", help="cuda or cpu [cuda where there is one]."),
    click.option(
        "--context", default=4096, show_default=True, type=click.IntRange(256), help="Tokens of a conversation."
    ),
    click.option("--tokens", default=256, show_default=True, type=click.IntRange(16), help="Of a reply, at most."),
    click.option(
        "--memory",
        type=click.Choice(["own", "mine"]),
        default="own",
        show_default=True,
        help="own: a new bank in --out. mine: the configured bank, which then learns for good.",
    ),
    click.option("--form", default="auto", show_default=True, help="Form of the file, as in `mia eval run`."),
)


def own_options(command: F) -> F:
    """The options of a run over one's own questions."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True)
class Own:
    """What was asked for: the flags."""

    file: Path
    model: Path | None
    out: Path | None
    executor: Path | None
    updater: Literal["null", "tiny"]
    rank: int
    lr: float | None
    device: str
    context: int
    tokens: int
    memory: Literal["own", "mine"]
    form: str
    batch: int
    width: int
    judge: Literal["gold", "panel"]
    seeds: tuple[int, ...]

    def stream(self) -> "OwnStream":
        """The run.

        Raises:
            InputError: a flag is missing, given too often, or leaves no room for a prompt.
        """
        from training.own_stream import OwnStream
        from training.pens import Desk

        if self.model is None or self.out is None:
            raise InputError("--from FILE needs --model FOLDER and --out FOLDER")
        if len(self.seeds) > 1:
            raise InputError("--from FILE is one stream: give one --seed")
        if self.tokens * 2 > self.context:
            raise InputError(f"--tokens {self.tokens} leaves no room for a prompt: raise --context ({self.context})")
        lr = self.lr if self.lr is not None else (ADAPTER_LR if self.rank else WHOLE_LR)
        desk = Desk(self.model, self.executor, self.device, lr, self.rank, self.context, self.tokens)
        seed = self.seeds[0] if self.seeds else 0
        return OwnStream(desk, self.out, self.updater, self.judge, self.memory, self.batch, self.width, seed)


def play_own(settings: Settings, asked: Own, json_: bool) -> None:
    """Read, play with a progress bar, tell."""
    from training.own_stream import config_of, play, serving

    tasks = read(asked)
    run = asked.stream()

    async def work(told: Callable[[int], object]) -> Any:
        async with build(config_of(settings.load(), run)) as mia:
            return await play(run, tasks, mia, told)

    with click.progressbar(length=len(tasks), label="questions", file=sys.stderr) as bar:
        score = anyio.run(work, bar.update)
    use = serving(run, score)
    if json_:
        click.echo(as_json({"score": score.model_dump(mode="json"), "use": use}))
        return
    click.echo("\n".join((score.line, *use)))


def read(asked: Own) -> "list[Task]":
    """The questions of the file, with their answers where they have any.

    Raises:
        InputError: a row cannot be used; the message names the first.
    """
    from mia_skill.evaluation.questions import load_questions
    from training.task import Task

    return [Task(question=question, gold=gold) for question, gold in load_questions(asked.file, asked.form)]
