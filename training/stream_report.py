"""What a world stream showed: shares of right answers with intervals over seeds, and what a right answer cost."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import orjson

__all__ = ["Line", "report"]

T_95 = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""Two-sided, by degrees of freedom from 1."""


@dataclass(frozen=True)
class Line:
    """One answered question."""

    way: str
    seed: int
    number: int
    right: bool
    answered: bool
    hops: int
    shape: str


def report(folder: Path) -> str:
    """A table over the result files of a folder; also written there. Ways are compared on the questions that all of
    them answered, seed by seed."""
    runs = [orjson.loads(file.read_bytes()) for file in sorted(folder.glob("ttl_*_*.json"))]
    if not runs:
        return "no results"
    seeds = sorted({run["seed"] for run in runs})
    common = {seed: min(len(run["lines"]) for run in runs if run["seed"] == seed) for seed in seeds}
    ways = list(dict.fromkeys(run["way"] for run in sorted(runs, key=lambda one: str(one["way"]))))
    ways.sort(key=lambda way: way != "static")
    asked = ", ".join(f"seed {seed}: {count}" for seed, count in common.items())
    text = [f"questions answered by every way: {asked}"]
    head = ("way", "right", "first half", "second half", "less static (95 % over seeds)", "maj@G", "unanswered")
    text.append("{:13} {:>7} {:>10} {:>11} {:>30} {:>7} {:>10}  tokens/right  searches/right  s".format(*head))
    text += [line_of(way, runs, common) for way in ways]
    told = "\n".join(text)
    (folder / "ttl_report.txt").write_text(told + "\n")
    return told


def line_of(way: str, runs: Sequence[dict[str, Any]], common: dict[int, int]) -> str:
    mine = {run["seed"]: run for run in runs if run["way"] == way}
    static = {run["seed"]: run for run in runs if run["way"] == "static"}
    rights = {seed: [line["right"] for line in run["lines"][: common[seed]]] for seed, run in mine.items()}
    all_right = [one for rows in rights.values() for one in rows]
    early = [one for rows in rights.values() for one in rows[: len(rows) // 2]]
    late = [one for rows in rights.values() for one in rows[len(rows) // 2 :]]
    gaps = [
        fmean(rows) - fmean(line["right"] for line in static[seed]["lines"][: common[seed]])
        for seed, rows in rights.items()
        if seed in static and rows
    ]
    silent = [not line["answered"] for seed, run in mine.items() for line in run["lines"][: common[seed]]]
    whole = [line["right"] for run in mine.values() for line in run["lines"]]
    won = max(1, sum(whole))
    voted = sum(step["majority_right"] for run in mine.values() for step in run["steps"]) / max(1, len(whole))
    tokens, searches = (sum(run[name] for run in mine.values()) / won for name in ("written", "searches"))
    seconds = max(run["seconds"] for run in mine.values())
    shares = f"{mean(all_right):7.3f} {mean(early):10.3f} {mean(late):11.3f} {interval(gaps):>30} {voted:7.3f}"
    return f"{way:13} {shares} {mean(silent):10.3f} {tokens:13.0f} {searches:15.1f} {seconds:4.0f}"


def mean(values: Sequence[float]) -> float:
    return fmean(values) if values else math.nan


def interval(gaps: Sequence[float]) -> str:
    """Mean with its t-interval over seeds; with one seed there is none."""
    if not gaps:
        return "-"
    if len(gaps) == 1:
        return f"{gaps[0]:+.3f} (one seed)"
    half = T_95[min(len(gaps), 10) - 2] * stdev(gaps) / math.sqrt(len(gaps))
    return f"{fmean(gaps):+.3f} ({fmean(gaps) - half:+.3f} to {fmean(gaps) + half:+.3f})"
