"""What all commands share: settings from flags, printing, and errors as exit codes."""

import errno
import math
import os
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import click
import orjson
from pydantic import BaseModel

from mia_skill.app import Mia, build
from mia_skill.core.config import MiaConfig, json_or_text, load_config
from mia_skill.core.errors import InputError, MiaError, UnwritableError
from mia_skill.core.events import Event
from mia_skill.core.writing import FULL, unwritable

if TYPE_CHECKING:
    from click._termui_impl import ProgressBar

__all__ = [
    "ANSWER_IS_NO",
    "FAILED",
    "Number",
    "Settings",
    "as_json",
    "bar",
    "counted",
    "json_flag",
    "offer_passages",
    "run",
    "say",
    "text",
]

T = TypeVar("T")

FAILED = 1
"""Exit code: it could not be done; the message on stderr says how to mend it."""
ANSWER_IS_NO = 3
"""Exit code: it was done, and the answer is no (judged not correct, doctor found a problem)."""


UNSEEN = re.compile(
    "\x1b(?!\\[(?:[0-2]|3[0-7])m)|[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""Control signs but tab and line feed, and those that turn the direction of writing."""


def text(value: str) -> str:
    """The type of a question or a workflow: an empty one is wrong usage."""
    if not value.strip():
        raise click.BadParameter("it is empty")
    return value


class Number(click.FloatRange):
    """A number in a range. `nan` lies in every range for click, and no work can be done with it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; wrong usage where it is none."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is no number", param, ctx)
        return number


@dataclass(frozen=True)
class Settings:
    """The flags that stand before the command."""

    file: Path | None
    home: Path | None
    pairs: tuple[str, ...]

    def load(self) -> MiaConfig:
        """The settings: file < environment < flags.

        Raises:
            ConfigError, InputError: see the message.
        """
        flags = self.flags()
        if self.home is not None:
            flags["home"] = str(self.home)
        return load_config(self.file, flags=flags)

    def flags(self) -> dict[str, object]:
        """The `--set` pairs.

        Raises:
            InputError: one has no `=`.
        """
        flags: dict[str, object] = {}
        for pair in self.pairs:
            key, equals, value = pair.partition("=")
            if not equals:
                raise InputError(f"--set takes KEY=VALUE, not {pair!r}")
            flags[key.strip()] = json_or_text(value)
        return flags

    def environment(self) -> dict[str, str]:
        """The same settings as variables, for a server in another process. The home folder is not passed on."""
        passed = {name: value for name, value in os.environ.items() if name.startswith("MIA_")}
        if self.file is not None:
            passed["MIA_CONFIG"] = str(self.file.resolve())
        pairs = (pair.partition("=") for pair in self.pairs)
        return passed | {f"MIA_{key.strip().upper().replace('.', '__')}": value for key, _, value in pairs}


def run(settings: Settings, work: Callable[[Mia], Awaitable[T]]) -> T:
    """Build `Mia`, do `work` with it, close it."""
    config = settings.load()

    async def inside() -> T:
        async with build(config) as mia:
            return await work(mia)

    return anyio.run(inside)


def as_json(value: BaseModel | list[Any] | dict[str, Any]) -> str:
    """One JSON document, indented, for `--json`."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return orjson.dumps(plain, option=orjson.OPT_INDENT_2, default=str).decode()


def offer_passages(path: Path) -> str:
    """How passages that were just written are used: in a host, and with a model of one's own."""
    setting = f'["{path.absolute()}"]'
    return (
        f"use them in a host: mia install HOST --env 'MIA_SEARCH__CORPUS={setting}'\n"
        f"with a model of your own: mia --set 'search.corpus={setting}' ask '...'"
    )


def say(text: str, *, err: bool = False) -> None:
    """Print what holds texts of others (memories, pages, answers): a terminal obeys signs that nobody sees, and those
    are written out, as JSON would. Colours stay."""
    click.echo(UNSEEN.sub(lambda sign: f"\\u{ord(sign[0]):04x}", text), err=err)


def counted(count: int, one: str, more: str = "") -> str:
    """`1 unit`, `2 units`."""
    return f"{count} {one if count == 1 else more or one + 's'}"


def bar(length: int, label: str) -> "ProgressBar[int]":
    """A progress bar on stderr; nothing where that is no terminal, for there it would be a stray word."""
    return click.progressbar(length=length, label=label, file=sys.stderr if sys.stderr.isatty() else StringIO())


json_flag = click.option("--json", "json_", is_flag=True, help="Print one JSON document instead of text.")


async def show_progress(event: Event, /) -> None:
    """A listener for people: one dim line per event on stderr."""
    click.secho(f"  {event.stage}: {event.message}".rstrip(": "), dim=True, err=True)


def refuse_broken_text(words: Sequence[str], ctx: click.Context) -> None:
    """Refuse words whose bytes are no text in this locale's encoding; files may be named so.

    Raises:
        click.UsageError: one of them is.
    """
    for word in words:
        if any("\ud800" <= sign <= "\udfff" for sign in word) and not os.path.lexists(word):
            raise click.UsageError(f"{word!a} holds bytes that are no UTF-8 text", ctx)


class Group(click.Group):
    """Turns our errors into a message and an exit code, so no command repeats it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words, which are all text."""
        refuse_broken_text(args, ctx)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is meant. A `--set` without `=` has most likely taken its name."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            for pair in ctx.params.get("pairs", ()):
                if "=" not in pair:
                    raise click.UsageError(f"--set takes KEY=VALUE, not {pair!r}", ctx) from None
            raise

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except click.NoSuchOption as error:
            if any(error.option_name in option.opts for option in self.params):
                told = f"{error.option_name} stands before the command: mia {error.option_name} ... COMMAND"
                raise click.NoSuchOption(error.option_name, told, ctx=error.ctx) from None
            raise
        except MiaError as error:
            click.secho(f"{type(error).__name__}: {error}", fg="red", err=True)
            sys.exit(FAILED)
        except OSError as error:
            # A folder that cannot be written, say; without a name it is a disk, or a defect, or a closed pipe.
            if error.filename is None and error.errno not in FULL | {errno.EIO}:
                raise
            told = ": ".join(filter(None, (type(error).__name__, error.filename, error.strerror)))
            if error.errno in FULL and error.filename is None:
                told = f"{UnwritableError.__name__}: {unwritable('the output', error)}"
            click.secho(told, fg="red", err=True)
            sys.exit(FAILED)
