"""`mia memory ...`: look at, add to, move and clean the bank."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import anyio.to_thread
import click
import orjson

from mia_skill.app import Mia
from mia_skill.cli.care import COMMANDS
from mia_skill.cli.console import Settings, as_json, bar, counted, json_flag, run, say, text
from mia_skill.cli.intake import import_
from mia_skill.core.types import MemoryUnit, Origin, Outcome, Provenance, Question, Status
from mia_skill.core.writing import replacing
from retrieval.bank import AuditReport

__all__ = ["memory"]

OUTCOMES = click.Choice([outcome.value for outcome in Outcome])
STATUSES = click.Choice([status.value for status in Status])


@click.group()
def memory() -> None:
    """Search, show, add, rate, export, import, forget, audit, measure and trace memory units."""


@memory.command()
@click.argument("question", type=text)
@click.option("--k", default=2, show_default=True, type=click.IntRange(0, 20), help="Successes, and as many failures.")
@click.option("--namespace")
@json_flag
@click.pass_obj
def search(settings: Settings, question: str, k: int, namespace: str | None, json_: bool) -> None:
    """What is remembered for a question like QUESTION."""
    recall = run(
        settings,
        lambda mia: mia.recall(Question(text=question), namespace=namespace, k_success=k, k_failure=k, withhold=0),
    )
    if json_:
        click.echo(as_json(recall))
        return
    for hit in recall.hits:
        say(f"{line(hit.unit)}\n    {hit.why}\n{indent(hit.unit.workflow)}")
    if recall.note:
        say(recall.note)


@memory.command("list")
@click.option("--outcome", type=OUTCOMES)
@click.option("--status", type=STATUSES, help="Such as quarantined: what waits for a person or for success.")
@click.option("--text", help="Only units whose question or workflow holds this.")
@click.option("--namespace")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 1000))
@click.option("--cursor", help="From the last page's `next`.")
@json_flag
@click.pass_obj
def list_(
    settings: Settings,
    outcome: str | None,
    status: str | None,
    text: str | None,
    namespace: str | None,
    limit: int,
    cursor: str | None,
    json_: bool,
) -> None:
    """All units, newest first, a page at a time: id, outcome, right / times shown, namespace, question."""
    wanted = Outcome(outcome) if outcome else None
    page = run(
        settings,
        lambda mia: mia.units(
            outcome=wanted,
            status=Status(status) if status else None,
            text=text,
            namespace=namespace,
            limit=limit,
            cursor=cursor,
        ),
    )
    if json_:
        click.echo(as_json(page))
        return
    for unit in page.units:
        say(line(unit))
    click.echo(
        f"{len(page.units)} of {page.total}" + (f"; next: --cursor {page.next_cursor}" if page.next_cursor else "")
    )


@memory.command()
@click.argument("unit_id")
@json_flag
@click.pass_obj
def show(settings: Settings, unit_id: str, json_: bool) -> None:
    """One unit, whole. The beginning of its id will do."""

    async def work(mia: Mia) -> MemoryUnit:
        return await mia.unit(await mia.meant(unit_id))

    unit = run(settings, work)
    if json_:
        click.echo(as_json(unit))
        return
    say(f"{line(unit)}\n{indent(unit.workflow)}")
    came = unit.provenance
    say(f"    from {', '.join(came.origins)}; judged by {came.judged_by}; {unit.created_at:%Y-%m-%d}")
    for word in unit.feedback:
        said = f"{'good' if word.good else 'bad'}{': ' if word.note else ''}{word.note}"
        say(f"    feedback {word.at:%Y-%m-%d}: {said}")


@memory.command()
@click.option("--question", type=text, required=True, help="A question that it solved.")
@click.option("--workflow", type=text, required=True, help="The steps that solve it, without its facts.")
@click.option("--outcome", type=OUTCOMES, required=True, help="Did it lead to the right answer?")
@click.option("--namespace")
@json_flag
@click.pass_obj
def add(settings: Settings, question: str, workflow: str, outcome: str, namespace: str | None, json_: bool) -> None:
    """Remember a workflow by hand."""

    async def work(mia: Mia) -> str:
        unit = MemoryUnit(
            question=question,
            workflow=workflow,
            outcome=Outcome(outcome),
            namespace=namespace or mia.config.memory.namespace,
            provenance=Provenance(origins=(Origin.USER,), judged_by="user"),
        )
        return (await mia.add(unit)).unit_ids[0]

    unit_id = run(settings, work)
    click.echo(as_json({"id": unit_id}) if json_ else unit_id)


@memory.command()
@click.argument("unit_id")
@click.argument("word", metavar="good|bad", type=click.Choice(["good", "bad"]))
@click.option("--note", default="", help="Why; kept in the log.")
@click.pass_obj
def feedback(settings: Settings, unit_id: str, word: str, note: str) -> None:
    """Say that the run behind a unit was right (good) or wrong (bad).

    Your word decides: a unit that counted as a failure counts as a success after "good", and the other way round.
    The beginning of its id will do.
    """

    async def work(mia: Mia) -> MemoryUnit:
        return await mia.feedback(await mia.meant(unit_id), word == "good", note)

    say(line(run(settings, work)))


@memory.command()
@click.argument("unit_ids", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def forget(settings: Settings, unit_ids: tuple[str, ...], yes: bool) -> None:
    """Delete units for good. The beginnings of their ids will do; when one is unknown or may be several, nothing is
    deleted."""
    known = run(settings, lambda mia: looked_up(mia, unit_ids))
    whole = tuple(unit.id for unit in known)
    if not yes or not set(unit_ids) <= set(whole):
        say("\n".join(line(unit) for unit in known), err=True)
    if not yes:
        click.confirm(f"Delete {counted(len(known), 'unit')} for good?", abort=True, err=True)
    click.echo(f"forgot {run(settings, lambda mia: mia.forget(whole))}")


async def looked_up(mia: Mia, unit_ids: Sequence[str]) -> list[MemoryUnit]:
    """The units of these ids or their beginnings, each once.

    Raises:
        UnknownIdError: there is no such unit.
        AmbiguousIdError: there are several.
    """
    whole = [await mia.meant(one) for one in unit_ids]
    return [await mia.unit(one) for one in dict.fromkeys(whole)]


@memory.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--log", is_flag=True, help="The audit log too: `mia memory verify-log --export FILE` checks it.")
@click.option("--vectors", is_flag=True, help="The vectors too, with their embedder: five times the size.")
@click.pass_obj
def export(settings: Settings, file: Path | None, log: bool, vectors: bool) -> None:
    """Write all units, plan pairs and outcomes as JSON lines, to FILE or to stdout."""

    async def work(mia: Mia) -> int:
        return await anyio.to_thread.run_sync(write, mia, file, log, vectors)

    count = run(settings, work)
    click.echo(counted(count, "line"), err=True)


def write(mia: Mia, file: Path | None, log: bool = False, vectors: bool = False) -> int:
    """The export itself. The embedder's identity is a digest: its name is for people."""
    name = {"embedder_name": mia.config.memory.embedder_model or mia.config.memory.embedder}
    count = 0
    with replacing(file) if file else nullcontext(sys.stdout) as out:
        for count, row in enumerate(mia.bank.export(log=log, vectors=vectors), 1):
            named = row | name if vectors and count == 1 else row
            out.write(orjson.dumps(named, default=str).decode() + "\n")
    return count


@memory.command()
@json_flag
@click.pass_obj
def audit(settings: Settings, json_: bool) -> None:
    """Report junk: duplicates, never used, empty workflows, no provenance, pending outcomes."""

    async def work(mia: Mia) -> AuditReport:
        return await anyio.to_thread.run_sync(mia.bank.audit)

    report = run(settings, work)
    say(as_json(report) if json_ else describe(report))


@memory.command()
@click.pass_obj
def reembed(settings: Settings) -> None:
    """Compute all vectors again with the configured embedder. Safe to interrupt and to repeat."""
    from mia_skill.app import open_bank

    bank = open_bank(settings.load(), for_reembed=True)
    with bar(100, "embedding") as shown:
        count = bank.reembed(lambda done, total: shown.update(int(100 * done / max(total, 1)) - shown.pos))
    bank.close()
    click.echo(f"{counted(count, 'unit')} embedded again")


for command in (import_, *COMMANDS):
    memory.add_command(command)


def line(unit: MemoryUnit) -> str:
    """A unit in one line."""
    colour = {Outcome.CORRECT: "green", Outcome.INCORRECT: "red"}.get(unit.outcome, "yellow")  # type: ignore[arg-type]
    state = click.style(unit.outcome or "pending", fg=colour)
    if unit.status is not Status.ACTIVE:
        state += f" ({unit.status})"
    return f"{unit.id} {state} {unit.wins}/{unit.uses} [{unit.namespace}] {' '.join(unit.question.split())[:100]}"


def indent(text: str) -> str:
    """Workflow lines under a unit."""
    return "\n".join(f"    {one}" for one in text.splitlines())


def describe(report: AuditReport) -> str:
    """An audit for people."""
    lines = [f"{report.units} units, {len(report.findings)} findings"]
    for found in report.findings:
        shown = ", ".join(found.unit_ids[:5]) + (", ..." if len(found.unit_ids) > 5 else "")
        lines.append(f"  {found.kind} ({len(found.unit_ids)}): {found.detail}\n    {shown}")
    return "\n".join(lines)
