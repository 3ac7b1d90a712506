"""The curves of a run as one HTML file that needs nothing else."""

from html import escape
from pathlib import Path
from typing import Any

import orjson

__all__ = ["write_curve"]

PAGE = """<!doctype html><meta charset="utf-8"><title>Training curves</title>
<style>body{{font:14px sans-serif;max-width:60em;margin:2em auto}}svg{{border:1px solid #ccc;width:100%}}</style>
<h1>Training curves</h1>{charts}<h2>Report</h2><pre>{report}</pre>"""
WIDE, HIGH = 800, 180
SHOWN = (("cold", "right"), ("executor", "reward"), ("executor", "right"), ("planner", "reward"), ("planner", "right"))


def write_curve(log: Path, page: Path) -> None:
    """Draw what `log.jsonl` holds."""
    lines = [orjson.loads(line) for line in log.read_bytes().splitlines()]
    charts = "".join(chart(kind, name, series(lines, kind, name)) for kind, name in SHOWN)
    report: dict[str, Any] = next((line for line in reversed(lines) if line["kind"] == "report"), {})
    text = escape(orjson.dumps(report, option=orjson.OPT_INDENT_2).decode())
    page.write_text(PAGE.format(charts=charts, report=text), encoding="utf-8")


def series(lines: list[dict[str, Any]], kind: str, name: str) -> list[tuple[float, float]]:
    return [(line["step"], line[name]) for line in lines if line["kind"] == kind and name in line]


def chart(kind: str, name: str, points: list[tuple[float, float]]) -> str:
    """One polyline between 0 and 1."""
    last = max((x for x, _ in points), default=0) or 1
    path = " ".join(f"{x / last * WIDE:.1f},{HIGH - max(0.0, min(1.0, y)) * HIGH:.1f}" for x, y in points)
    ends = f"{points[0][1]:.2f} to {points[-1][1]:.2f} in {len(points)} points" if points else "no points"
    return (
        f'<h3>{kind}: {name} ({ends})</h3><svg viewBox="0 0 {WIDE} {HIGH}">'
        f'<polyline fill="none" stroke="#0366d6" stroke-width="2" points="{path}"/></svg>'
    )
