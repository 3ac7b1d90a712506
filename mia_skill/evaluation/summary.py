"""The figures of an evaluation, computed from its traces and from nothing else."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mia_skill.core.config import PriceConfig
from mia_skill.core.proportion import wilson
from mia_skill.core.types import Usage, Value
from mia_skill.evaluation.plan import Setup, read_setup, trace_path
from mia_skill.evaluation.stats import bootstrap_difference, holm, mcnemar, running, sign_flip
from mia_skill.evaluation.trace import Lesson, Row, read_lines, rows_of

__all__ = ["Comparison", "Failure", "Line", "Summary", "compared", "summarise"]

CURVE_POINTS = 60
WINDOWS = 8
"""A learning curve looks back over one eighth of the stream."""


class Line(Value):
    """One method over all its seeds."""

    method: str
    asked: int
    no_sample: int
    """A part failed: not in the share of right answers."""
    ungraded: int
    """Answered, and the grader was out: not in the share either."""
    not_attempted: int
    right: int
    graded: int
    accuracy: float | None
    low: float
    high: float
    exact: float | None
    f1: float | None
    early: float | None
    """Share right in the first half of the stream."""
    late: float | None
    searches: float
    """Per sample."""
    late_searches: float
    """Per sample of the second half."""
    calls: float
    tokens: float
    seconds: float
    """Per sample, of answering."""
    model_seconds: float
    """Of them, waiting for models."""
    tool_seconds: float
    """Of them, waiting for searches and other tools."""
    learning_tokens: float
    """Per sample, of distilling."""
    money: float
    """Per sample, all in, without grading."""
    money_per_right: float | None
    agreement: float | None
    """How often evidence without gold and the grade say the same, where the evidence decided."""
    decided: int
    """Answers that the evidence decided."""
    followed: float
    """Share of samples that followed a remembered procedure (agent without a model)."""
    learn_errors: int
    curve: tuple[float, ...]
    search_curve: tuple[float, ...]


class Comparison(Value):
    """Two methods on the questions that both have a grade for."""

    one: str
    other: str
    pairs: int
    only_one: int
    only_other: int
    difference: float
    low: float
    high: float
    p: float
    holm: float = 1.0
    """`p`, corrected for all comparisons of the report (Holm)."""


class Failure(Value):
    """A row without a sample or grade."""

    method: str
    seed: int
    task: str
    error: str


class Summary(Value):
    """All of it."""

    setup: Setup
    lines: tuple[Line, ...]
    comparisons: tuple[Comparison, ...]
    failures: tuple[Failure, ...]


def summarise(folder: Path) -> Summary:
    """Reads every trace of a folder.

    Raises:
        InputError: the folder holds no evaluation, or a trace is damaged.
    """
    setup = read_setup(folder)
    rows: dict[str, list[Row]] = {}
    lines = []
    for method in setup.methods:
        own: list[Row] = []
        lessons: list[Lesson] = []
        for seed in setup.seeds:
            path = trace_path(folder, method, seed)
            own += rows_of(path)
            lessons += [line for line in read_lines(path) if isinstance(line, Lesson)]
        if own:
            rows[method] = own
            lines.append(line_of(method, own, lessons, setup.prices))
    base = next((one for one in ("none", *rows) if one in rows), None)
    pairs = [(one, base) for one in rows if base and one != base]
    pairs += [(one, "mia") for one in rows if "mia" in rows and one not in ("mia", base)]
    tests = [compared(rows[one], rows[other]) for one, other in pairs]
    corrected = holm([one.p for one in tests])
    failures = [
        Failure(method=row.method, seed=row.seed, task=row.task, error=row.error)
        for own in rows.values()
        for row in own
        if row.right is None
    ]
    return Summary(
        setup=setup,
        lines=tuple(lines),
        comparisons=tuple(one.model_copy(update={"holm": p}) for one, p in zip(tests, corrected, strict=True)),
        failures=tuple(failures),
    )


def line_of(method: str, rows: Sequence[Row], lessons: Sequence[Lesson], prices: PriceConfig) -> Line:
    """The figures of a method."""
    return Line.model_validate({"method": method, **merit(rows), **expense(rows, lessons, prices)})


def merit(rows: Sequence[Row]) -> dict[str, object]:
    """What came out right, and how often the evidence said the same."""
    samples = [row for row in rows if row.status == "sample"]
    graded = [row for row in rows if row.right is not None]
    right = sum(row.right is True for row in graded)
    half = middle(rows)
    low, high = wilson(right, len(graded))
    decided = [row for row in graded if row.evidence in ("correct", "incorrect")]
    agree = [row for row in decided if (row.evidence == "correct") == row.right]
    return {
        "asked": len(rows),
        "no_sample": len(rows) - len(samples),
        "ungraded": len(samples) - len(graded),
        "not_attempted": sum(row.grade == "not_attempted" for row in graded),
        "right": right,
        "graded": len(graded),
        "accuracy": share(row.right is True for row in graded),
        "low": low,
        "high": high,
        "exact": share(row.exact for row in samples),
        "f1": share(row.f1 for row in samples),
        "early": share(row.right is True for row in graded if row.position < half),
        "late": share(row.right is True for row in graded if row.position >= half),
        "agreement": len(agree) / len(decided) if decided else None,
        "decided": len(decided),
        "followed": sum(row.attempt is not None and row.attempt.followed for row in samples) / (len(samples) or 1),
        "curve": curve(graded, lambda row: float(row.right is True)),
    }


def expense(rows: Sequence[Row], lessons: Sequence[Lesson], prices: PriceConfig) -> dict[str, object]:
    """What it cost, per sample."""
    samples = [row for row in rows if row.status == "sample"]
    right = sum(row.right is True for row in rows)
    half = middle(rows)
    answering = total(row.usage for row in samples)
    learning = total(lesson.usage for lesson in lessons)
    money = prices.cost(answering) + prices.cost(learning)
    many = len(samples) or 1
    return {
        "searches": answering.searches / many,
        "late_searches": share(row.usage.searches for row in samples if row.position >= half) or 0.0,
        "calls": answering.calls / many,
        "tokens": (answering.prompt_tokens + answering.completion_tokens) / many,
        "seconds": answering.seconds / many,
        "model_seconds": sum(row.attempt.model_seconds for row in samples if row.attempt) / many,
        "tool_seconds": sum(row.attempt.tool_seconds for row in samples if row.attempt) / many,
        "learning_tokens": (learning.prompt_tokens + learning.completion_tokens) / many,
        "money": money / many,
        "money_per_right": money / right if right else None,
        "learn_errors": sum(bool(lesson.error) for lesson in lessons),
        "search_curve": curve(samples, lambda row: float(row.usage.searches)),
    }


def middle(rows: Sequence[Row]) -> float:
    """The place in the stream where its second half begins."""
    return (max(row.position for row in rows) + 1) / 2


def share(values: Iterable[float]) -> float | None:
    """The mean; None of nothing."""
    known = [float(value) for value in values]
    return sum(known) / len(known) if known else None


def total(usages: Iterable[Usage]) -> Usage:
    """Their sum."""
    spent = Usage()
    for one in usages:
        spent = spent + one
    return spent


def curve(rows: Sequence[Row], value: Callable[[Row], float]) -> tuple[float, ...]:
    """A figure over the stream: the mean over seeds at each position, then over the last eighth, thinned for a plot."""
    places: dict[int, list[float]] = {}
    for row in rows:
        places.setdefault(row.position, []).append(value(row))
    means = [sum(places[place]) / len(places[place]) for place in sorted(places)]
    smooth = running(means, max(1, len(means) // WINDOWS))
    step = max(1, -(-len(smooth) // CURVE_POINTS))
    return tuple(round(one, 4) for one in smooth[step - 1 :: step])


def compared(one: Sequence[Row], other: Sequence[Row]) -> Comparison:
    """Paired by question and seed; questions that one of them has no grade for are left out of both."""
    first = {(row.task, row.seed): row.right for row in one}
    second = {(row.task, row.seed): row.right for row in other}
    pairs: dict[str, list[tuple[bool, bool]]] = {}
    for key, right in first.items():
        theirs = second.get(key)
        if right is not None and theirs is not None:
            pairs.setdefault(key[0], []).append((right, theirs))
    both = [pair for group in pairs.values() for pair in group]
    only_one, only_other = sum(a and not b for a, b in both), sum(b and not a for a, b in both)
    difference, low, high = bootstrap_difference(pairs)
    return Comparison(
        one=one[0].method,
        other=other[0].method,
        pairs=len(both),
        only_one=only_one,
        only_other=only_other,
        difference=difference,
        low=low,
        high=high,
        p=mcnemar(only_one, only_other) if len(pairs) == len(both) else sign_flip(pairs),
    )
