"""The report of an evaluation, in Markdown and as one HTML page that loads nothing."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from mia_skill.evaluation.methods import source_of
from mia_skill.evaluation.plan import Setup
from mia_skill.evaluation.plots import bars, curves
from mia_skill.evaluation.summary import Comparison, Line, Summary
from mia_skill.evaluation.trace import TraceUnwritable

__all__ = ["as_html", "as_markdown", "write_report"]

SHOWN = 40
Table = tuple[Sequence[str], Sequence[Sequence[str]]]


def write_report(summary: Summary, folder: Path) -> tuple[Path, Path]:
    """`report.md` and `report.html`.

    Raises:
        TraceUnwritable: they cannot be written.
    """
    paths = folder / "report.md", folder / "report.html"
    try:
        for path, text in zip(paths, (as_markdown(summary), as_html(summary)), strict=True):
            path.write_text(text, encoding="utf-8")
    except OSError as cause:
        raise TraceUnwritable(f"cannot write the report: {cause.strerror}") from None
    return paths


def share(value: float | None) -> str:
    """In percent."""
    return "-" if value is None else f"{100 * value:.1f}"


def accuracy_table(lines: Sequence[Line]) -> Table:
    """Who answered how well."""
    head = tuple(
        "method;right %;95% interval;right;graded;no sample;ungraded;not attempted;exact %;F1 %;first half %;"
        "second half %;judge agrees %;followed memory %".split(";")
    )
    rows = [
        (
            one.method,
            share(one.accuracy),
            f"{share(one.low)} to {share(one.high)}",
            *(str(count) for count in (one.right, one.graded, one.no_sample, one.ungraded, one.not_attempted)),
            *(share(value) for value in (one.exact, one.f1, one.early, one.late)),
            f"{share(one.agreement)} of {one.decided}",
            share(one.followed),
        )
        for one in lines
    ]
    return head, rows


def cost_table(lines: Sequence[Line], currency: str) -> Table:
    """What it took, per answer."""
    head = tuple(
        "method;searches;searches, second half;calls;tokens;seconds;of it models;of it tools;tokens to learn;"
        f"{currency} per answer;{currency} per right answer;failed lessons".split(";")
    )
    rows = [
        (
            one.method,
            f"{one.searches:.2f}",
            f"{one.late_searches:.2f}",
            f"{one.calls:.2f}",
            f"{one.tokens:.0f}",
            *(f"{value:.2f}" for value in (one.seconds, one.model_seconds, one.tool_seconds)),
            f"{one.learning_tokens:.0f}",
            f"{one.money:.5f}",
            "-" if one.money_per_right is None else f"{one.money_per_right:.5f}",
            str(one.learn_errors),
        )
        for one in lines
    ]
    return head, rows


def test_table(comparisons: Sequence[Comparison]) -> Table:
    """Who differs from whom."""
    head = tuple("method;against;pairs;only it right;only the other;difference (points);95%;p;Holm p".split(";"))
    rows = [
        (
            one.one,
            one.other,
            str(one.pairs),
            str(one.only_one),
            str(one.only_other),
            f"{100 * one.difference:+.1f}",
            f"{100 * one.low:+.1f} to {100 * one.high:+.1f}",
            f"{one.p:.4f}",
            f"{one.holm:.4f}",
        )
        for one in comparisons
    ]
    return head, rows


def setup_table(setup: Setup) -> Table:
    """What the figures hold for."""
    frozen = setup.protocol.frozen_after
    memory = "answer, then learn" if frozen is None else f"frozen after {frozen} questions"
    order = "shuffled" if setup.shuffled else "file order"
    facts = {
        "data set": f"{setup.dataset}, {setup.tasks} questions, digest {setup.tasks_digest}",
        "rows left out": str(len(setup.faults)),
        "protocol": f"{memory}; waves of {setup.protocol.concurrency}; {order}",
        "seeds": ", ".join(map(str, setup.seeds)),
        "agent": setup.agent,
        "models": ", ".join(f"{role}: {name}" for role, name in setup.models.items()) or "none",
        "endpoints": str(setup.endpoints),
        "grader": setup.grader,
        "corpus": setup.corpus or "not given",
        "embedder": setup.embedder,
        "limits": ", ".join(f"{name} {value}" for name, value in setup.limits.model_dump().items()),
        "prompts": ", ".join(f"{name} {digest}" for name, digest in setup.prompts.items()),
        **{name: str(value) for name, value in setup.note.items()},
    }
    return ("what", "value"), list(facts.items())


def method_table(lines: Sequence[Line]) -> Table:
    """Where each method is from."""
    return ("method", "source", "what differs"), [(one.method, *source_of(one.method)) for one in lines]


def failure_table(summary: Summary) -> Table:
    """Rows without sample or grade, and rows that could not be read."""
    rows = [(one.method, str(one.seed), one.task, one.error[:200]) for one in summary.failures[:SHOWN]]
    rows += [("(data set)", "-", f"row {one.row}", one.reason[:200]) for one in summary.setup.faults[:SHOWN]]
    return ("method", "seed", "question", "why"), rows


def sections(summary: Summary) -> list[tuple[str, Table]]:
    """All tables, in order."""
    return [
        ("Accuracy", accuracy_table(summary.lines)),
        ("Cost per answer", cost_table(summary.lines, summary.setup.prices.currency)),
        ("Paired tests", test_table(summary.comparisons)),
        ("Methods", method_table(summary.lines)),
        ("Set-up", setup_table(summary.setup)),
        (f"Failures ({len(summary.failures)}) and rows left out ({len(summary.setup.faults)})", failure_table(summary)),
    ]


NOTE = (
    "A row without a sample (a part failed) or without a grade (the grader was out) is in neither column of right and "
    "wrong. Intervals: Wilson for shares, bootstrap over questions for differences. p: McNemar's exact test; over "
    "several seeds a sign-flip test over questions, whose runs stay together. Holm p: corrected for "
    "the number of comparisons."
)


def as_markdown(summary: Summary) -> str:
    """The tables."""
    parts = [f"# Evaluation: {summary.setup.dataset}", NOTE]
    for title, (head, rows) in sections(summary):
        lines = [head, ["---"] * len(head), *rows]
        table = "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)
        parts += [f"## {title}", " ".join(table.split("\r"))]
    return "\n\n".join(parts) + "\n"


STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#1c2833;background:#fff}
table{border-collapse:collapse;display:block;overflow-x:auto;margin:1rem 0}
td,th{border:1px solid #ccd1d1;padding:.25rem .5rem;text-align:left;vertical-align:top}
th{background:#f2f4f4}svg{max-width:760px;width:100%;font:12px system-ui,sans-serif;display:block;margin:1rem 0}
"""


def as_html(summary: Summary) -> str:
    """One page: plots, then the tables."""
    lines = summary.lines
    accuracy = {
        one.method: None if one.accuracy is None else (100 * one.accuracy, 100 * one.low, 100 * one.high)
        for one in lines
    }
    priced = {one.method: None if one.money_per_right is None else (one.money_per_right,) * 3 for one in lines}
    agreement = {one.method: None if one.agreement is None else (100 * one.agreement,) * 3 for one in lines}
    plots = [
        bars("Right answers in percent, with 95% intervals", accuracy, most=100, form=".1f"),
        curves("Share of right answers over the stream", {one.method: one.curve for one in lines}, most=1),
        curves("Searches per question over the stream", {one.method: one.search_curve for one in lines}),
        bars("Searches per question", {one.method: (one.searches,) * 3 for one in lines}, form=".2f"),
        bars(f"{summary.setup.prices.currency} per right answer", priced, form=".5f"),
        bars("Evidence judge agrees with the grade, percent of those it decided", agreement, most=100, form=".1f"),
    ]
    title = escape(f"Evaluation: {summary.setup.dataset}")
    parts = ["".join(plots)]
    for name, (head, rows) in sections(summary):
        heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
        body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
        slug = name.split(" (")[0].replace(" ", "-").casefold()
        parts.append(
            f'<h2>{escape(name)}</h2><table id="{slug}"><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>'
        )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body><h1>{title}</h1><p>{escape(NOTE)}</p>{''.join(parts)}</body></html>\n"
    )
