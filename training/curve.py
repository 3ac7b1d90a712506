"""The curves of a run as one HTML file that needs nothing else, and as event files for TensorBoard.

python -m training.curve RUN/log.jsonl --page curve.html --tensorboard FOLDER
"""

import argparse
import sys
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from mia_skill.core.errors import InputError
from mia_skill.core.require import require
from mia_skill.core.script import script

__all__ = ["draw", "write_curve", "write_events"]

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Training curves</title>
<style>body{{font:14px sans-serif;max-width:60em;margin:2em auto}}svg{{width:100%}}h3{{margin-bottom:.3em}}
td,th{{text-align:left;padding:.2em 1em .2em 0}}text{{font:11px sans-serif;fill:#555}}</style>
<h1>Training curves</h1>{tests}{charts}<h2>Report</h2><details><summary>as it was written</summary><pre>{report}</pre>
</details></html>"""
WIDE, HIGH, LEFT, FOOT = 800, 180, 36, 20
FIRST = ("reward", "right")
"""What is looked at first; the other figures of a stage follow as they come."""
UNDRAWN = ("step", "at_s", "hops")


def draw(log: Path) -> None:
    """`curve.html` beside the log; where TensorBoard is installed, its event files too."""
    write_curve(log, log.with_name("curve.html"))
    if find_spec("tensorboard") is not None:
        write_events(log, log.with_name("tensorboard"))


def write_events(log: Path, folder: Path) -> None:
    """Every number of every step, as `KIND/NAME` over the steps. Event files of an earlier call are replaced.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """
    writing = require("tensorboard.summary.writer.event_file_writer", extra="tensorboard")
    events = require("tensorboard.compat.proto.event_pb2", extra="tensorboard")
    summaries = require("tensorboard.compat.proto.summary_pb2", extra="tensorboard")
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    writer = writing.EventFileWriter(str(folder))
    for line in lines_of(log):
        if "step" not in line:
            continue
        numbers = {name: value for name, value in line.items() if isinstance(value, int | float) and name != "step"}
        values = [
            summaries.Summary.Value(tag=f"{line['kind']}/{name}", simple_value=value) for name, value in numbers.items()
        ]
        when = float(line.get("at_s", line["step"]))
        writer.add_event(events.Event(step=line["step"], wall_time=when, summary=summaries.Summary(value=values)))
    writer.close()


def lines_of(log: Path) -> list[dict[str, Any]]:
    """The log.

    Raises:
        InputError: it cannot be read, or is no log of a run.
    """
    try:
        lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    except OSError as cause:
        raise InputError(f"cannot read {log}: {cause.strerror}") from None
    except orjson.JSONDecodeError as cause:
        raise InputError(f"{log} is no log of a run, which is lines of JSON: {cause}") from None
    if not all(isinstance(line, dict) and "kind" in line for line in lines):
        raise InputError(f"{log} is no log of a run: each of its lines needs a `kind`")
    return lines


def write_curve(log: Path, page: Path) -> None:
    """Draw what `log.jsonl` holds: tests with their intervals, then every figure of every step.

    Raises:
        InputError: the log cannot be read, or the page cannot be written.
    """
    lines = lines_of(log)
    charts = "".join(chart(lines, kind, name) for kind, name in drawn(lines))
    report: dict[str, Any] = next((line for line in reversed(lines) if line["kind"] == "report"), {})
    text = escape(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    try:
        page.write_text(PAGE.format(tests=tests_of(report), charts=charts, report=text), encoding="utf-8")
    except OSError as cause:
        raise InputError(f"cannot write {page}: {cause.strerror}") from None


def tests_of(report: dict[str, Any]) -> str:
    """Each test of the report as a row with its share of right answers and the 95 % interval, as a bar too."""
    shown = {
        name: one for name, one in report.items() if isinstance(one, dict) and {"right", "low", "high"} <= set(one)
    }
    if not shown:
        return ""
    rows = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}<td>{one['right']:.3f}<td>{one['low']:.3f} to {one['high']:.3f}"
        f"<td>{bar(one['right'], one['low'], one['high'])}"
        for name, one in shown.items()
    )
    asked = next(iter(shown.values())).get("runs", "?")
    return f"<h2>Tests ({asked} questions)</h2><table><tr><th>test<th>right<th>95 %<th>0 to 1{rows}</table>"


def bar(right: float, low: float, high: float) -> str:
    """A share with its interval, on a line from 0 to 1."""
    at, first, last = (300 * one for one in (right, low, high))
    return (
        '<svg viewBox="0 0 300 14" style="width:300px"><path stroke="#ccc" d="M0 7H300"/>'
        f'<path stroke="#0366d6" stroke-width="6" opacity=".35" d="M{first:.1f} 7H{last:.1f}"/>'
        f'<circle cx="{at:.1f}" cy="7" r="4" fill="#0366d6"/></svg>'
    )


def drawn(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Kinds and their figures, in the order of the page. Looks are dots in the charts of their role."""
    found = [
        (line["kind"], name)
        for line in lines
        if "step" in line and line["kind"] != "look"
        for name, value in line.items()
        if is_number(value) and name not in UNDRAWN
    ]
    kinds = list(dict.fromkeys(kind for kind, _ in found))
    return sorted(dict.fromkeys(found), key=lambda one: (kinds.index(one[0]), one[1] not in FIRST))


def is_number(value: object) -> bool:
    """A figure that was none was written as null."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def series(lines: list[dict[str, Any]], kind: str, name: str, role: str | None = None) -> list[tuple[float, float]]:
    return [
        (line["step"], line[name])
        for line in lines
        if line["kind"] == kind and is_number(line.get(name)) and (role is None or line.get("role") == role)
    ]


def chart(lines: list[dict[str, Any]], kind: str, name: str) -> str:
    """One polyline, between 0 and 1 or as far as the figure goes; beside the share of right answers, dots for the
    looks at unseen questions."""
    points, looks = series(lines, kind, name), series(lines, "look", name, kind)
    last = max((x for x, _ in (*points, *looks)), default=0) or 1
    low, high = min(0.0, *(y for _, y in points)), max(1.0, *(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / last * (WIDE - LEFT - 8), 8 + (HIGH - 8) * (high - y) / (high - low)

    path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in points)
    dots = "".join('<circle cx="{:.1f}" cy="{:.1f}" r="4" fill="#d15704"/>'.format(*place(x, y)) for x, y in looks)
    grid = "".join(rule(y, place(0, y)[1]) for y in (low + part * (high - low) / 4 for part in range(5)))
    form = ".2f" if (low, high) == (0, 1) else ".3g"
    ends = f"{points[0][1]:{form}} to {points[-1][1]:{form}} in {len(points)} points"
    told = f"; dots: looks at unseen questions, best {max(y for _, y in looks):.2f}" if looks else ""
    at = HIGH + FOOT - 4
    foot = f'<text x="{LEFT}" y="{at}">step 0</text><text x="{WIDE - 60}" y="{at}">step {last:g}</text>'
    return (
        f'<h3>{escape(kind)}: {escape(name)} ({ends}{told})</h3><svg viewBox="0 0 {WIDE} {HIGH + FOOT}">{grid}'
        f'<polyline fill="none" stroke="#0366d6" stroke-width="2" points="{path}"/>{dots}{foot}</svg>'
    )


def rule(value: float, at: float) -> str:
    """A line of the grid with its value."""
    return f'<path stroke="#ddd" d="M{LEFT} {at:.1f}H{WIDE}"/><text x="4" y="{at + 4:.1f}">{value:.3g}</text>'


def main() -> None:
    """Draw a run again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--page", type=Path, help="HTML file to write")
    parser.add_argument("--tensorboard", type=Path, help="folder for event files")
    given = parser.parse_args()
    if not (given.page or given.tensorboard):
        parser.error("say what to make: --page FILE, --tensorboard FOLDER or both")
    if given.page:
        write_curve(given.log, given.page)
    if given.tensorboard:
        write_events(given.log, given.tensorboard)
    sys.stderr.write(f"written: {' '.join(str(one) for one in (given.page, given.tensorboard) if one)}\n")


if __name__ == "__main__":
    script(main)
