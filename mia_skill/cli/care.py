"""`mia memory lift | prune | revoke | promote | trace | verify-log | generalise`: keeping the bank honest."""

import sys
from functools import partial
from pathlib import Path

import anyio.to_thread
import click

from mia_skill.app import Mia
from mia_skill.cli.console import ANSWER_IS_NO, Number, Settings, as_json, counted, json_flag, run, say
from mia_skill.core.errors import InputError
from mia_skill.core.types import MemoryUnit
from retrieval.chain import verify
from retrieval.prune import PruneRules
from retrieval.stewardship import LiftReport, LogReport, Revocation, Trace
from retrieval.transfer import log_entries

__all__ = ["COMMANDS"]

dry_run_flag = click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")


@click.command()
@click.option("--namespace", multiple=True, help="Only this one; may be given several times.")
@json_flag
@click.pass_obj
def lift(settings: Settings, namespace: tuple[str, ...], json_: bool) -> None:
    """Does memory help? Success with it less success without it, with 95 % intervals."""

    async def work(mia: Mia) -> LiftReport:
        return await anyio.to_thread.run_sync(mia.bank.lift, namespace)

    report = run(settings, work)
    click.echo(as_json(report) if json_ else lift_table(report, settings.load().memory.withhold))


def lift_table(report: LiftReport, share: float) -> str:
    """The figures as people read them."""
    lines = [f"{report.trials} judged tasks, {report.randomised} of them drawn; share withheld {share:g}"]
    if report.rows:
        lines.append(f"{'':10} {'':40} {'with':>11} {'without':>11}  lift (95 % interval)")
    for row in report.rows:
        found, tally = row.lift, row.tally
        said = "not known yet" if found is None else f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"
        with_, without = f"{tally.shown_wins}/{tally.shown}", f"{tally.withheld_wins}/{tally.withheld}"
        mark = "  WITHHELD" if row.withheld_now else ""
        lines.append(f"{row.scope:10} {row.key[:40]:40} {with_:>11} {without:>11}  {said}{mark}")
    if not report.randomised:
        lines.append("nothing was withheld by chance so far: memory.withhold is 0, or fewer than 20 tasks were judged")
    return "\n".join(lines)


@click.command()
@click.option("--losing", is_flag=True, help="Units whose runs nearly always failed.")
@click.option("--older-than-days", type=Number(0), help="Units untouched for so long, unless proven.")
@click.option("--most", type=click.IntRange(1), help="Units a namespace may keep.")
@click.option("--revoked", is_flag=True, help="Units that were revoked.")
@click.option("--namespace")
@click.option("--yes", is_flag=True, help="Do not ask.")
@dry_run_flag
@json_flag
@click.pass_obj
def prune(
    settings: Settings,
    losing: bool,
    older_than_days: float | None,
    most: int | None,
    revoked: bool,
    namespace: str | None,
    yes: bool,
    dry_run: bool,
    json_: bool,
) -> None:
    """Forget by value, age and budget; what is proven goes last."""
    rules = PruneRules(losing=losing, older_than_days=older_than_days, most=most, revoked=revoked, namespace=namespace)
    if not (losing or older_than_days is not None or most or revoked):
        raise InputError("say what to forget: --losing, --older-than-days, --most or --revoked")
    if not (yes or dry_run):
        click.confirm("Forget units for good? (--dry-run lists them)", abort=True)

    async def work(mia: Mia) -> object:
        return await anyio.to_thread.run_sync(partial(mia.bank.prune, rules, dry_run=dry_run))

    report = run(settings, work)
    if json_:
        click.echo(as_json(report))  # type: ignore[arg-type]
        return
    for one in report.units:  # type: ignore[attr-defined]
        say(f"{one.id} {one.reason}: {one.question[:80]}")
    done = "would be forgotten" if dry_run else "forgotten"
    click.echo(f"{len(report.units)} {done}, {report.kept} kept")  # type: ignore[attr-defined]


@click.command()
@click.option("--source", required=True, help="A URL, host, passage id, unit id, principal, or an origin such as web.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@dry_run_flag
@json_flag
@click.pass_obj
def revoke(settings: Settings, source: str, yes: bool, dry_run: bool, json_: bool) -> None:
    """Take out everything that came from a source, and all that was made in its sight."""
    if not (yes or dry_run):
        click.confirm(f"Revoke everything from {source!r} and all that followed from it?", abort=True)

    async def work(mia: Mia) -> Revocation:
        return await anyio.to_thread.run_sync(partial(mia.bank.revoke, source, dry_run=dry_run))

    done = run(settings, work)
    if json_:
        click.echo(as_json(done))
        return
    for unit_id in done.unit_ids:
        click.echo(unit_id)
    click.echo(f"{len(done.unit_ids)} {'would be ' if dry_run else ''}revoked, {done.direct} of them from it directly")


@click.command()
@click.argument("unit_id")
@click.pass_obj
def promote(settings: Settings, unit_id: str) -> None:
    """Let a quarantined or withheld unit direct plans: you have read it."""

    async def work(mia: Mia) -> tuple[str, ...]:
        return await anyio.to_thread.run_sync(mia.bank.promote, await mia.meant(unit_id))

    promoted = run(settings, work)
    click.echo("\n".join(promoted) or "it may direct already")


@click.command()
@click.argument("unit_id")
@json_flag
@click.pass_obj
def trace(settings: Settings, unit_id: str, json_: bool) -> None:
    """From a unit back to the runs and sources it came from."""

    async def work(mia: Mia) -> Trace:
        return await anyio.to_thread.run_sync(mia.bank.trace, await mia.meant(unit_id))

    found = run(settings, work)
    say(as_json(found) if json_ else trace_text(found))


def trace_text(found: Trace) -> str:
    """A trace, indented by generation."""
    lines = [f"trust of the whole lineage: {found.trust}; right {found.wins} of {found.uses} times it was shown"]
    for one in found.units:
        pad = "  " * one.depth
        if one.status is None:
            lines.append(f"{pad}{one.id} is not here any more")
            continue
        lines.append(f"{pad}{one.id} [{one.status}] {one.question} (from {', '.join(one.origins)})")
        lines += [f"{pad}  did  {line}" for line in one.trail]
        lines += [f"{pad}  read {source}" for source in one.sources]
    return "\n".join([*lines, *found.history])


@click.command("verify-log")
@click.option("--head", help="A hash this command printed earlier and that was kept elsewhere.")
@click.option(
    "--export", "file", type=click.Path(dir_okay=False, path_type=Path), help="Check the log in an export instead."
)
@json_flag
@click.pass_obj
def verify_log(settings: Settings, head: str | None, file: Path | None, json_: bool) -> None:
    """Check the log's chain, and every unit against it."""

    async def work(mia: Mia) -> LogReport:
        return await anyio.to_thread.run_sync(partial(mia.bank.verify_log, head=head))

    report = run(settings, work) if file is None else exported_log(file, head)
    if json_:
        click.echo(as_json(report))
    elif report.sound:
        click.echo(f"{counted(report.entries, 'entry', 'entries')}, sound; head {report.head}")
    else:
        if report.problem:
            click.echo(f"first bad entry {report.first_bad}: {report.problem}")
        for unit_id in report.changed_units:
            click.echo(f"{unit_id} was changed outside the bank")
    if not report.sound:
        sys.exit(ANSWER_IS_NO)


def exported_log(file: Path, head: str | None) -> LogReport:
    """The chain in an export; its units are not compared.

    Raises:
        InputError: the file cannot be read, or holds no log.
    """
    try:
        with file.open("rb") as lines:
            report = verify(log_entries(lines), head=head)
    except OSError as cause:
        raise InputError(f"cannot read {file}: {cause.strerror}") from None
    if not report.entries and report.first_bad is None:
        raise InputError(f"{file} holds no log: `mia memory export --log` writes it")
    return report


@click.command()
@click.option("--namespace")
@dry_run_flag
@json_flag
@click.pass_obj
def generalise(settings: Settings, namespace: str | None, dry_run: bool, json_: bool) -> None:
    """Make one workflow of several successes of one shape."""

    async def work(mia: Mia) -> tuple[MemoryUnit, ...]:
        return await mia.manager.generalise(namespace or mia.config.memory.namespace, dry_run=dry_run)

    made = run(settings, work)
    if json_:
        click.echo(as_json([unit.model_dump(mode="json") for unit in made]))
        return
    for unit in made:
        say(f"{unit.id} of {len(unit.provenance.parents)} successes: {unit.question}\n{unit.workflow}")
    click.echo(f"{len(made)} workflows {'would be ' if dry_run else ''}made")


COMMANDS = (lift, prune, revoke, promote, trace, verify_log, generalise)
