"""`mia judge`: is an answer borne out? A report for people on the terminal or as a page, and JSON for programs."""

import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from mia_skill.app import Mia
from mia_skill.cli.console import ANSWER_IS_NO, Settings, json_flag, run, say, text
from mia_skill.core.errors import InputError
from mia_skill.core.types import Passage
from mia_skill.core.verdict import Case, Claim, Label, Support, Verdict
from mia_skill.core.writing import replacing
from trust.report import report, report_json

__all__ = ["judge", "render"]

COLOURS = {
    Support.SUPPORTED: "green",
    Support.PARTIAL: "yellow",
    Support.CONFLICTING: "magenta",
    Support.CONTRADICTED: "red",
    Support.NOT_FOUND: "red",
}
CORPUS = "corpus:"


@click.command()
@click.option("--question", type=text, required=True, help="What was asked.")
@click.option("--answer", required=True, help="What was answered; an empty one is not attempted.")
@click.option(
    "--evidence",
    multiple=True,
    metavar="FILE|URL|corpus:ID",
    help="What it is checked against: a text file, a page, a passage of the corpus; may be repeated.",
)
@click.option(
    "--as-of",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m", "%Y"]),
    metavar="DATE",
    help="Day of the question (2026-11-27, or less of it): older sources are flagged. No clock is read.",
)
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Write the report as one page.")
@json_flag
@click.pass_obj
def judge(
    settings: Settings,
    question: str,
    answer: str,
    evidence: tuple[str, ...],
    as_of: datetime | None,
    html: Path | None,
    json_: bool,
) -> None:
    """Is ANSWER supported by the evidence? Exit code 3 when it is not judged correct."""

    async def work(mia: Mia) -> tuple[Case, Verdict]:
        read = [passage for one in evidence for passage in await gather(mia, one, question)]
        day = as_of.date().isoformat() if as_of else ""
        case = Case(question=question, answer=answer, evidence=tuple(read), as_of=day)
        return case, (await mia.judge(case)).verdict

    case, verdict = run(settings, work)
    if html is not None:
        write_page(html, case, verdict)
    say(report_json(verdict) if json_ else render(verdict, case.answer))
    if html is not None:
        click.echo(f"the report is in {html.absolute()}", err=json_)
    if verdict.label is not Label.CORRECT:
        sys.exit(ANSWER_IS_NO)


async def gather(mia: Mia, name: str, question: str) -> Sequence[Passage]:
    """One piece of evidence: a page by its address, a passage of the corpus by its id, or a text file.

    Raises:
        InputError, VisitError, CorpusError: it cannot be had.
    """
    if name.startswith(("http://", "https://")):
        return (await mia.visit(name, question=question)).passages
    if name.startswith(CORPUS):
        return (await mia.visit(name.removeprefix(CORPUS), question=question)).passages
    return (read(Path(name)),)


def read(path: Path) -> Passage:
    """A file as evidence.

    Raises:
        InputError: it cannot be read as text.
    """
    try:
        return Passage(id=path.name, title=path.name, text=path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise InputError(f"cannot read {path}: {cause.strerror}") from None
    except UnicodeDecodeError as cause:
        raise InputError(f"cannot read {path} as UTF-8 text: {cause}") from None


def write_page(path: Path, case: Case, verdict: Verdict) -> None:
    """The report as a page that needs nothing else.

    Raises:
        UnwritableError: it cannot be written.
    """
    from mcp_server.pages import standalone

    page = standalone({**report(verdict), "question": case.question, "answer": case.answer})
    with replacing(path) as out:
        out.write(page)


def render(verdict: Verdict, answer: str = "") -> str:
    """A verdict for people: the answer with its claims coloured, what speaks for each, what to look up."""
    colour = {Label.CORRECT: "green", Label.INCORRECT: "red"}.get(verdict.label, "yellow")
    sure = "" if verdict.p_correct is None else f" (p={verdict.p_correct:.2f})"
    lines = [
        click.style(f"{verdict.label}{sure}", fg=colour, bold=True),
        *(f"  - {reason}" for reason in verdict.reasons),
    ]
    if answer and verdict.claims:
        lines.append(f"  answer: {coloured(answer, verdict.claims)}")
    for claim in verdict.claims:
        lines.append(f"  claim: {claim.text} -> {click.style(claim.support.value, fg=COLOURS[claim.support])}")
        lines += [f'    [{quote.source_id}:{quote.start}-{quote.end}] "{quote.text}"' for quote in claim.quotes]
    lines += [f"  citation: {one.marker} is {one.status.value.replace('_', ' ')}" for one in verdict.citations]
    for split in verdict.conflicts:
        here, there = (", ".join(side) for side in split.sources)
        lines.append(f"  conflict: {split.claim_id}: {here} against {there}")
    flagged = [one for one in verdict.sources if one.flags]
    lines += [f"  source: {one.id}: {', '.join(one.flags)}" for one in flagged]
    lines += [f"  warning: {found.source_id} tries to steer its reader ({found.rule})" for found in verdict.injections]
    lines += [f"  verify next: {item.query} ({item.why})" for item in verdict.verify_next]
    return "\n".join(lines)


def coloured(answer: str, claims: Sequence[Claim]) -> str:
    """The answer, each claim in the colour of its support."""
    made, end = "", 0
    for claim in sorted(claims, key=lambda one: one.start):
        if claim.start >= end:
            made += answer[end : claim.start] + click.style(answer[claim.start : claim.end], fg=COLOURS[claim.support])
            end = claim.end
    return made + answer[end:]
