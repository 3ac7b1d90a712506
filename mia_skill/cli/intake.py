"""`mia memory import`: units of an export, of the published skills, or procedures out of other memories."""

import sys
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from threading import Event
from typing import TypeVar

import anyio.to_thread
import click

from mia_skill.app import Mia
from mia_skill.cli.console import ANSWER_IS_NO, Settings, as_json, counted, json_flag, run
from mia_skill.core.errors import InputError
from mia_skill.core.redact import without_secrets
from retrieval.bank import ImportReport
from retrieval.foreign import FOREIGN, Findings
from retrieval.transfer import BrokenLine, unit_line

__all__ = ["import_"]

T = TypeVar("T")
FORMATS = ("mia", "mia-skill", *FOREIGN)
REASONS = 20
"""Refused lines that an error names; a file that is something else altogether has thousands."""
EMPTY = BrokenLine(line=1, reason="there is nothing in it")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@click.option(
    "--vectors",
    is_flag=True,
    help="Use the vectors that an export of one's own holds, if they are the configured embedder's; otherwise, and "
    "without this, all texts are embedded.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    default="mia",
    show_default=True,
    help="mia: an export of ours. mia-skill: memory.jsonl of the published skills mia and mia-trust. mem0: its get_all "
    "as JSON. server-memory: the file of the reference MCP memory server. markdown: a note, or a folder of notes.",
)
@json_flag
@click.pass_obj
def import_(settings: Settings, file: Path, dry_run: bool, vectors: bool, form: str, json_: bool) -> None:
    """Read units from an export, or procedures from another memory. Broken lines are reported with their number; the
    others are kept. What is no procedure is left out and named. Exit code 3 when a line was broken, 1 when nothing in
    the file could be used."""

    async def work(mia: Mia) -> ImportReport:
        ended = Event()
        try:
            return await anyio.to_thread.run_sync(read_in, mia, file, form, dry_run, vectors, ended)
        finally:
            ended.set()  # on Ctrl-C: the thread would go on to the last line

    report = run(settings, work)
    click.echo(as_json(report) if json_ else told(report))
    if not json_:
        remark(report, vectors)
    if report.broken:
        sys.exit(ANSWER_IS_NO)


def told(report: ImportReport) -> str:
    """What came in, in one line."""
    would = "would be " if report.dry_run else ""
    return (
        f"{counted(report.added, 'unit')} {would}added, {report.merged} merged, {report.known} known, "
        f"{counted(report.pairs, 'plan pair')}"
    )


def remark(report: ImportReport, vectors: bool) -> None:
    """What a person should know of it besides, on stderr."""
    would = "would be " if report.dry_run else ""
    if report.added:
        way = "it informs plans, and directs them only after `mia memory promote ID`, or success of its own"
        click.echo(f"what comes from elsewhere is quarantined: {way}", err=True)
    if report.embedded_again:
        why = "they are another embedder's, or not their texts'" if vectors else "`--vectors` uses them"
        click.echo(f"{report.embedded_again} {would}embedded again, though they came with vectors: {why}", err=True)
    for one in report.left_out:
        click.echo(f"line {one.line} left out: {one.reason}", err=True)
    for one in report.broken:
        click.echo(f"line {one.line}: {one.reason}", err=True)


def read_in(mia: Mia, file: Path, form: str, dry_run: bool, vectors: bool, ended: Event) -> ImportReport:
    """The import itself, whatever the format, until it has `ended`.

    Raises:
        InputError: the file cannot be read, or nothing in it can be used; nothing was changed.
    """
    try:
        if form in FOREIGN:
            report = load_foreign(mia, file, form, dry_run, ended)
        elif form == "mia-skill":
            report = load_published(mia, file, dry_run, ended)
        else:
            report = load(mia, file, dry_run, vectors, ended)
    except OSError as cause:
        raise InputError(f"cannot read {file}: {cause.strerror}") from None
    refuse_useless(report, file, form)
    return report


def refuse_useless(report: ImportReport, file: Path, form: str) -> None:
    """Raise where lines were refused and none was used.

    Raises:
        InputError: nothing in the file can be used; the message says what was refused and why.
    """
    refused = sorted((*report.broken, *report.left_out), key=lambda one: one.line)
    if report.added or report.merged or report.known or report.pairs or not refused:
        return
    reasons = [f"  line {one.line}: {one.reason}" for one in refused[:REASONS]]
    if len(refused) > REASONS:
        reasons.append(f"  and {len(refused) - REASONS} more")
    others = ", ".join(one for one in FORMATS if one != form)
    way = f"it was read as --format {form}; the others are {others}"
    raise InputError("\n".join([f"nothing in {file} can be used, and nothing was changed ({way}):", *reasons]))


def load_foreign(mia: Mia, file: Path, form: str, dry_run: bool, ended: Event) -> ImportReport:
    """Procedures of another program's memory."""
    findings = Findings()
    units = until(ended, FOREIGN[form](file, mia.config.memory.namespace, findings))
    report = mia.bank.import_((unit_line(without_secrets(unit)) for unit in units), dry_run=dry_run)
    left_out = findings.left_out
    broken = (*report.broken, *findings.broken)
    if not (report.added or report.merged or report.known or broken or left_out):
        broken = (EMPTY,)
    return report.model_copy(update={"broken": broken, "left_out": tuple(left_out)})


def load(mia: Mia, file: Path, dry_run: bool, vectors: bool, ended: Event) -> ImportReport:
    """An export of ours. That of an empty bank holds a header, and no unit."""
    written: list[bool] = []
    with file.open("rb") as lines:
        report = mia.bank.import_(until(ended, noticed(lines, written)), dry_run=dry_run, vectors=vectors)
    return report if written else report.model_copy(update={"broken": (EMPTY,)})


def load_published(mia: Mia, file: Path, dry_run: bool, ended: Event) -> ImportReport:
    """The file of a published skill."""
    from mia_skill.agents.published import published_units

    broken: list[tuple[int, str]] = []
    written: list[bool] = []
    with file.open("rb") as lines:
        units = published_units(until(ended, noticed(lines, written)), mia.config.memory.namespace, broken)
        report = mia.bank.import_((unit_line(unit) for unit in units), dry_run=dry_run)
    refused = tuple(BrokenLine(line=at, reason=why) for at, why in broken) if written else (EMPTY,)
    return report.model_copy(update={"broken": refused})


def until(ended: Event, rows: Iterable[T]) -> Iterator[T]:
    """The rows, as long as somebody waits for them."""
    return takewhile(lambda _row: not ended.is_set(), rows)


def noticed(lines: Iterable[bytes], written: list[bool]) -> Iterator[bytes]:
    """The lines; `written` is no longer empty once one of them was not blank."""
    for line in lines:
        if not written and line.strip():
            written.append(True)
        yield line
