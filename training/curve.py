"""The curves of a run as one HTML file that needs nothing else, and as event files for TensorBoard.

python -m training.curve RUN/log.jsonl --page curve.html --tensorboard FOLDER
"""

import argparse
from html import escape
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from mia_skill.core.require import require
from mia_skill.core.script import script

__all__ = ["draw", "write_curve", "write_events"]

PAGE = """<!doctype html><meta charset="utf-8"><title>Training curves</title>
<style>body{{font:14px sans-serif;max-width:60em;margin:2em auto}}svg{{border:1px solid #ccc;width:100%}}</style>
<h1>Training curves</h1>{charts}<h2>Report</h2><pre>{report}</pre>"""
WIDE, HIGH = 800, 180
FIRST = ("reward", "right")
"""What is looked at first; the other figures follow as they come."""
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
    return [orjson.loads(line) for line in log.read_bytes().splitlines()]


def write_curve(log: Path, page: Path) -> None:
    """Draw every figure of every step that `log.jsonl` holds."""
    lines = lines_of(log)
    charts = "".join(chart(kind, name, series(lines, kind, name)) for kind, name in drawn(lines))
    report: dict[str, Any] = next((line for line in reversed(lines) if line["kind"] == "report"), {})
    text = escape(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    page.write_text(PAGE.format(charts=charts, report=text), encoding="utf-8")


def drawn(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Kinds and their figures, in the order of the page."""
    found = [
        (line["kind"], name)
        for line in lines
        if "step" in line
        for name, value in line.items()
        if is_number(value) and name not in UNDRAWN
    ]
    kinds = list(dict.fromkeys(kind for kind, _ in found))
    return sorted(dict.fromkeys(found), key=lambda one: (kinds.index(one[0]), one[1] not in FIRST))


def is_number(value: object) -> bool:
    """A figure that was not one was written as null."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def series(lines: list[dict[str, Any]], kind: str, name: str) -> list[tuple[float, float]]:
    return [(line["step"], line[name]) for line in lines if line["kind"] == kind and is_number(line.get(name))]


def chart(kind: str, name: str, points: list[tuple[float, float]]) -> str:
    """One polyline, between 0 and 1 or as far as the figure goes."""
    last = max(x for x, _ in points) or 1
    low, high = min(0.0, *(y for _, y in points)), max(1.0, *(y for _, y in points))
    path = " ".join(f"{x / last * WIDE:.1f},{HIGH - (y - low) / (high - low) * HIGH:.1f}" for x, y in points)
    ends = f"{points[0][1]:.3g} to {points[-1][1]:.3g} in {len(points)} points, {low:.3g} to {high:.3g} high"
    return (
        f'<h3>{escape(kind)}: {escape(name)} ({ends})</h3><svg viewBox="0 0 {WIDE} {HIGH}">'
        f'<polyline fill="none" stroke="#0366d6" stroke-width="2" points="{path}"/></svg>'
    )


def main() -> None:
    """Draw a run again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path)
    parser.add_argument("--page", type=Path, help="HTML file to write")
    parser.add_argument("--tensorboard", type=Path, help="folder for event files")
    given = parser.parse_args()
    if given.page:
        write_curve(given.log, given.page)
    if given.tensorboard:
        write_events(given.log, given.tensorboard)


if __name__ == "__main__":
    script(main)
