"""`mia guard` and `mia judge-plan`: the published trust skill's verbs, and whether the judge itself is sound."""

import sys

import click

from mia_skill.app import Mia
from mia_skill.cli.console import ANSWER_IS_NO, Settings, as_json, json_flag, run, text
from mia_skill.core.verdict import Case, Verdict
from trust.canary import CanaryReport, fly
from trust.safety import evaluate_plan, guard_blocked

__all__ = ["guard", "judge_plan"]


@click.command()
@click.argument("query", required=False)
@click.option("--canaries", is_flag=True, help="Put cases with known labels before the configured judge instead.")
@json_flag
@click.pass_obj
def guard(settings: Settings, query: str | None, canaries: bool, json_: bool) -> None:
    """May QUERY be worked on? Exit code 3 when it is blocked, or when the judge fails its canaries."""
    if canaries:
        report = run(settings, checked)
        told = f"{report.right} of {report.n} canaries right" + "".join(f"\n  wrong: {one}" for one in report.wrong)
        click.echo(as_json(report) if json_ else told)
        sys.exit(0 if report.sound else ANSWER_IS_NO)
    if not query:
        raise click.UsageError("guard needs a QUERY, or --canaries")
    found = guard_blocked(query)
    lines = [f"{'blocked' if found.blocked else 'let through'} (risk {found.risk_level})", *found.reasons]
    click.echo(as_json(found) if json_ else "\n  ".join([*lines, *([found.suggestion] if found.suggestion else [])]))
    if found.blocked:
        sys.exit(ANSWER_IS_NO)


@click.command("judge-plan")
@click.option("--query", type=text, required=True, help="What the plan is for.")
@click.option("--plan", "plan_draft", type=text, required=True, help="The steps, one a line.")
@click.option("--memory", "memories", multiple=True, help="A memory that it was written with; may be repeated.")
@json_flag
def judge_plan(query: str, plan_draft: str, memories: tuple[str, ...], json_: bool) -> None:
    """A plan without the steps that may not be taken. Exit code 3 when something was taken out."""
    found = evaluate_plan(query, plan_draft, memories)
    removed = [f"removed: {one}" for one in found.removed]
    reasons = [f"because: {', '.join(found.reasons)}"] if found.reasons else []
    click.echo(as_json(found) if json_ else "\n".join([found.final_plan or "(nothing is left)", *removed, *reasons]))
    if not found.safe:
        sys.exit(ANSWER_IS_NO)


async def checked(mia: Mia) -> CanaryReport:
    """The canaries before the judge of the settings; where lessons wait for canaries, these count."""

    async def verdict(case: Case) -> Verdict:
        return (await mia.judge(case)).verdict

    return await fly(verdict, mia.bank.canary) if mia.watch is not None or mia.bank.held() else await fly(verdict)
