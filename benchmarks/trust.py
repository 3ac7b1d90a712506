"""How well answers are judged, beside baselines in the same run (attacks and the guard: benchmarks.trust_attacks).

    python -m benchmarks.trust [--data FOLDER] [--limit N] [--json FILE] [--minilm] [--endpoint URL --model NAME]

Without an endpoint the checks judge alone; with one, the panel. `--minilm` adds the cosine of MiniLM's vectors.

Sets: halueval_qa (a right answer and two hallucinated ones per question), boolq (the true and the flipped answer),
ramdocs (right and wrong answers among conflicting documents), reflexion (recorded search runs with known outcome),
world (our fictional encyclopedia: the gold answer and another name or number from the same pages). Balanced accuracy
counts an abstention as half right; "answered" is balanced accuracy on what was answered. Intervals: 95%, 1,000
bootstrap draws over questions. Baselines are thresholds on one number, and the best threshold is chosen on the data
itself, which flatters them.
"""

import argparse
import json
import os
import random
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio

from benchmarks.trust_baselines import best_threshold, cosine, length, overlap, tfidf
from benchmarks.trust_sets import Sample, cut, halueval, load
from mia_skill.core.config import EndpointConfig, TrustConfig
from mia_skill.core.errors import JudgeError
from mia_skill.core.openai_chat import OpenAIChat
from mia_skill.core.script import script
from mia_skill.core.verdict import Label, Verdict
from trust.evidence import examine
from trust.panel import Panel

DRAWS = 1000


@dataclass(frozen=True)
class Judged:
    """A sample with its verdict."""

    sample: Sample
    verdict: Verdict
    milliseconds: float


@dataclass(frozen=True)
class Called:
    """What was said of the answers of a set."""

    truth: tuple[bool, ...]
    calls: tuple[bool | None, ...]
    groups: tuple[str, ...]


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    default = os.environ.get("MIA_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--limit", type=int, default=0, help="questions per set; 0 for all")
    parser.add_argument("--sets", nargs="*", default=None)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--minilm", action="store_true")
    parser.add_argument("--endpoint", help="up to and including /v1: the panel judges")
    parser.add_argument("--model", default="default")
    given = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    calls: dict[str, Called] = {}
    for name, samples in load(given.data, given.limit).items():
        if given.sets and name not in given.sets:
            continue
        if given.endpoint:
            judged = anyio.run(by_panel, samples, given.endpoint, given.model)
        else:
            judged = [judge(one) for one in samples]
        figures[name], calls[name] = report(judged, minilm=given.minilm)
    print_table(figures, macro_interval(calls))
    print_no_evidence(given.data)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1))


# --- figures


def judge(sample: Sample) -> Judged:
    """The verdict and the processor time it took: nothing here waits, and other work on the machine is not its cost."""
    began = time.process_time()
    verdict = examine(sample.case)
    return Judged(sample, verdict, (time.process_time() - began) * 1000)


async def by_panel(samples: Sequence[Sample], endpoint: str, model: str) -> list[Judged]:
    """The panel's verdicts. A judge that fails gives no verdict; that counts as an abstention."""
    chat = OpenAIChat(EndpointConfig(base_url=endpoint, model=model, timeout_s=600))
    panel = Panel(chat, TrustConfig())
    made, failed = [], 0
    for sample in samples:
        began = time.perf_counter()
        try:
            verdict = await panel.judge(sample.case)
        except JudgeError:
            verdict, failed = Verdict(label=Label.ABSTAIN), failed + 1
        made.append(Judged(sample, verdict, (time.perf_counter() - began) * 1000))
    await chat.aclose()
    print(f"panel: {failed} of {len(samples)} without a verdict")
    return made


def report(judged: Sequence[Judged], *, minilm: bool) -> tuple[dict[str, float], "Called"]:
    """All figures of one set, and what they were made of."""
    truth = [one.sample.right for one in judged]
    calls = [call(one.verdict) for one in judged]
    scores = [one.verdict.p_correct if one.verdict.p_correct is not None else 0.5 for one in judged]
    groups = [one.sample.group for one in judged]
    answered = [n for n, one in enumerate(calls) if one is not None]
    wrong = [n for n, one in enumerate(truth) if not one]
    low, high = bootstrap(truth, calls, groups)
    times = sorted(one.milliseconds for one in judged)
    cases = [one.sample.case for one in judged]
    usage = [one.verdict.usage for one in judged]
    figures = {
        "n": len(judged),
        "right": sum(truth),
        "bacc": balanced(truth, calls),
        "low": low,
        "high": high,
        "coverage": len(answered) / len(judged),
        "answered": balanced([truth[n] for n in answered], [calls[n] for n in answered]),
        "accuracy": sum(truth[n] == calls[n] for n in answered) / max(1, len(answered)),
        "auroc": auroc(truth, scores),
        "false_correct": sum(calls[n] is True for n in wrong) / max(1, len(wrong)),
        "precision": precision(truth, calls),
        "majority": 0.5,
        "ece": ece(truth, scores),
        "length": best_threshold(truth, [length(one) for one in cases]),
        "overlap": best_threshold(truth, [overlap(one) for one in cases]),
        "tfidf": best_threshold(truth, tfidf(cases)),
        "overlap_auroc": auroc(truth, [overlap(one) for one in cases]),
        "calls": statistics.fmean(one.calls for one in usage),
        "tokens": statistics.fmean(one.prompt_tokens + one.completion_tokens for one in usage),
        "p50_ms": statistics.median(times),
        "p95_ms": times[int(len(times) * 0.95)],
    }
    if minilm:
        figures["minilm"] = best_threshold(truth, cosine(cases))
    return figures, Called(tuple(truth), tuple(calls), tuple(groups))


def call(verdict: Verdict) -> bool | None:
    """Right, wrong, or not said. An answer that is none is wrong."""
    return {Label.CORRECT: True, Label.INCORRECT: False, Label.NOT_ATTEMPTED: False}.get(verdict.label)


def balanced(truth: Sequence[bool], calls: Sequence[bool | None]) -> float:
    """Mean of the two recalls; an abstention counts half."""
    parts = []
    for kind in (True, False):
        mine = [one for fact, one in zip(truth, calls, strict=True) if fact is kind]
        if mine:
            parts.append(sum(0.5 if one is None else float(one is kind) for one in mine) / len(mine))
    return statistics.fmean(parts) if parts else 0.5


def precision(truth: Sequence[bool], calls: Sequence[bool | None]) -> float:
    """Share of the answers called correct that are."""
    said = [fact for fact, one in zip(truth, calls, strict=True) if one is True]
    return sum(said) / max(1, len(said))


def auroc(truth: Sequence[bool], scores: Sequence[float]) -> float:
    """Chance that a right answer scores above a wrong one; ties count half."""
    ranked = sorted(range(len(scores)), key=lambda n: scores[n])
    ranks = [0.0] * len(scores)
    start = 0
    while start < len(ranked):
        end = start
        while end < len(ranked) and scores[ranked[end]] == scores[ranked[start]]:
            end += 1
        for place in range(start, end):
            ranks[ranked[place]] = (start + end + 1) / 2
        start = end
    positive = sum(truth)
    negative = len(truth) - positive
    if not positive or not negative:
        return 0.5
    return (sum(ranks[n] for n, one in enumerate(truth) if one) - positive * (positive + 1) / 2) / (positive * negative)


def ece(truth: Sequence[bool], scores: Sequence[float]) -> float:
    """Expected calibration error over ten bins; right and wrong answers count alike, as in the fit."""
    weight = [0.5 / max(1, truth.count(one)) for one in truth]
    bins = [min(9, int(one * 10)) for one in scores]
    off = [
        abs(sum(weight[n] * (truth[n] - scores[n]) for n in range(len(truth)) if bins[n] == one)) for one in range(10)
    ]
    return sum(off)


def bootstrap(truth: Sequence[bool], calls: Sequence[bool | None], groups: Sequence[str]) -> tuple[float, float]:
    """95% interval of balanced accuracy, drawing whole questions."""
    return interval(draws(truth, calls, groups))


def macro_interval(sets: Mapping[str, "Called"]) -> tuple[float, float]:
    """95% interval of the mean over the sets, each drawn on its own."""
    drawn = [draws(one.truth, one.calls, one.groups) for one in sets.values()]
    return interval([statistics.fmean(row) for row in zip(*drawn, strict=True)])


def draws(truth: Sequence[bool], calls: Sequence[bool | None], groups: Sequence[str]) -> list[float]:
    """Balanced accuracy of 1,000 draws of questions."""
    members: dict[str, list[int]] = {}
    for n, group in enumerate(groups):
        members.setdefault(group, []).append(n)
    names = list(members)
    chance = random.Random(0)
    found = []
    for _ in range(DRAWS):
        drawn = [n for name in chance.choices(names, k=len(names)) for n in members[name]]
        found.append(balanced([truth[n] for n in drawn], [calls[n] for n in drawn]))
    return found


def interval(found: Sequence[float]) -> tuple[float, float]:
    """The middle 95%."""
    ordered = sorted(found)
    return ordered[int(0.025 * len(ordered))], ordered[int(0.975 * len(ordered))]


# --- print


COLUMNS = ("coverage", "answered", "accuracy", "auroc", "ece", "precision", "false_correct")
BASELINES = ("length", "overlap", "tfidf", "minilm", "overlap_auroc")
COST = ("calls", "tokens", "p50_ms", "p95_ms")


def print_table(figures: dict[str, dict[str, float]], macro: tuple[float, float]) -> None:
    """One line per set, and the macro mean."""
    shares = [one for one in (*COLUMNS, *BASELINES) if one in next(iter(figures.values()))]
    heads = " ".join(f"{one[:9]:>9}" for one in (*shares, *COST))
    print(f"{'set':10}{'n':>6} {'bAcc (95%)':>20} {heads}")
    keys = [key for key in next(iter(figures.values())) if key != "n"]
    lines = dict(figures)
    mean = {key: statistics.fmean(one[key] for one in figures.values()) for key in keys}
    lines["macro"] = mean | {"n": sum(one["n"] for one in figures.values()), "low": macro[0], "high": macro[1]}
    for name, one in lines.items():
        told = f"{one['bacc']:.3f} ({one['low']:.3f}-{one['high']:.3f})"
        rest = [f"{one[key]:9.3f}" for key in shares] + [f"{one[key]:9.1f}" for key in COST]
        print(f"{name:10}{one['n']:6.0f} {told:>20} {' '.join(rest)}")
    print("majority: 0.500 everywhere; baselines answer everything, with the best cut of the data itself")


def print_no_evidence(data: Path) -> None:
    """Every answer without evidence must be left undecided."""
    bare = [one.case.model_copy(update={"evidence": ()}) for one in cut(list(halueval(data)), 200)]
    labels = [examine(one).label for one in bare]
    kept = sum(label in (Label.ABSTAIN, Label.NOT_ATTEMPTED) for label in labels)
    print(f"without evidence: {kept}/{len(labels)} undecided")


if __name__ == "__main__":
    script(main)
