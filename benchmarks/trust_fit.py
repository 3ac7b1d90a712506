"""Fit the weights, the curve and the band of the judgment without a model, and measure them on held-out questions.

    python -m benchmarks.trust_fit [--data FOLDER] [--refit] [--write | --to FILE]

Questions are halved by a hash of their text: one half fits, the other measures. Every set counts alike, and in it right
and wrong answers count alike, so probabilities speak of even odds. Logistic regression (L2, Newton's method) for the
weights of what is common; the named checks keep the weights below, for they are rare in these sets and precise by test.
Then an isotonic curve (pool adjacent violators), and for each wanted precision the lowest score that has it.
Leave-one-set-out: fitted on all other sets, measured on one. Without `--refit` the weights in use stay, and only curve
and bands are fitted. `--write` stores the fit of BOTH halves, with the error that the held-out half showed.
"""

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.trust import auroc
from benchmarks.trust_sets import load
from trust.calibrate import Fit, digest_of, fits
from trust.decide import doubt
from trust.estimate import comparison, features
from trust.facts import Facts, gather_facts
from trust.question import Kind

TARGET = Path(__file__).resolve().parents[1] / "trust" / "data" / "calibration.json"
FIXED = {"contradicted": -3.0, "names_lost": -1.6, "comparison": 2.4, "wrong_kind": -0.6, "altered": -0.8}
FREE = (
    "one",
    "present",
    "context",
    "margin",
    "reach",
    "ahead",
    "first",
    "behind",
    "voices",
    "shared",
    "silent",
    "absent_addressed",
    "empty",
)
RIDGE = 8.0
ACCEPT, REJECT = 0.65, 0.4
WANTED = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
BINS = 10
HELD_OUT = "wiki"
"""A set that nothing is fitted on: only shown."""


@dataclass(frozen=True)
class Row:
    """One answer with its features."""

    name: str
    group: str
    right: bool
    free: tuple[float, ...]
    fixed: float
    doubtful: bool

    @property
    def fits(self) -> bool:
        """Of the half that fits."""
        return fitting(self.group)


def fitting(group: str) -> bool:
    """Is this question of the half that fits?"""
    return sha256(group.encode()).digest()[0] % 2 == 0


def main() -> None:
    """Fit, measure, print, store."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    default = os.environ.get("MIA_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--refit", action="store_true", help="take the weights fitted here, not those in use")
    parser.add_argument("--limit", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="into this installation: what all its judgments use")
    parser.add_argument("--to", type=Path, help="into a file of one's own, for the setting trust.calibration")
    parser.add_argument("--backend", choices=("evidence", "endpoint", "host"), default="evidence")
    parser.add_argument("--endpoint", default="", help="address of the model that reviews, for --backend endpoint|host")
    parser.add_argument("--model", default="", help="its name there")
    given = parser.parse_args()
    target: Path | None = given.to or (TARGET if given.write else None)
    if given.backend != "evidence":
        if not (given.endpoint and given.model):
            parser.error("--backend endpoint|host needs --endpoint URL and --model NAME")
        from benchmarks.panel_fit import fit_panel

        sets = load(given.data, given.limit or 20)
        fit_panel(sets, given.backend, given.endpoint, given.model, target)
        return
    rows = [row for name, samples in load(given.data, given.limit).items() for row in rows_of(name, samples)]
    outside = [one for one in rows if one.name == HELD_OUT]
    rows = [one for one in rows if one.name != HELD_OUT]
    names = sorted({one.name for one in rows})
    held = [one for one in rows if not one.fits]
    half = [one for one in rows if one.fits]
    weights = regress(rows) if given.refit else stored()
    show(half, held)
    error = curve_of(half, held, regress(half) if given.refit else stored())
    for name in names:
        alone = regress([one for one in rows if one.name != name])
        part = [one for one in rows if one.name == name]
        print(f"  left out {name:10} n={len(part):5} auroc {area(part, alone):.3f} (stored {area(part, stored()):.3f})")
    print(f"  never fitted {HELD_OUT} n={len(outside)} auroc {area(outside, weights):.3f}")
    if target is not None:
        store(rows, weights, error, len(held), names, target)


def show(half: Sequence[Row], held: Sequence[Row]) -> None:
    """Does fitting the weights anew help on what was held out?"""
    weights = regress(half)
    print(f"{len(half)} answers fit, {len(held)} are held out")
    print("fitted weights:", {name: round(float(one), 2) for name, one in zip(FREE, weights, strict=True)})
    print(f"held out: macro auroc {macro(held, weights):.3f}, with the weights in use {macro(held, stored()):.3f}")


def curve_of(half: Sequence[Row], held: Sequence[Row], weights: Any) -> float:
    """Print what the curve and the bands of one half are worth on the other; the calibration error."""
    error = ece(held, weights, isotonic(half, weights))
    print(f"held out: ece {error:.3f}, without the curve {ece(held, weights, ()):.3f}")
    for wanted, accept in bands(half, weights):
        tpr, fpr = rates(held, weights, accept)
        had = tpr / max(1e-9, tpr + fpr)
        told = f"held out {had:.3f}, right accepted {tpr:.3f}, wrong {fpr:.3f}"
        print(f"  wanted {wanted:.2f}: accept from {accept:.2f}; {told}")
    return error


def rows_of(name: str, samples: Sequence[Any]) -> list[Row]:
    """The answers of a set about which there is anything to weigh."""
    made = []
    for sample in samples:
        facts = gather_facts(sample.case)
        if not facts.findings or not facts.clean or facts.declined or undecided(facts):
            continue
        found = features(facts)
        free = tuple(found[one] for one in FREE)
        fixed = sum(FIXED[one] * found[one] for one in FIXED)
        made.append(Row(name, sample.group, sample.right, free, fixed, bool(doubt(facts))))
    return made


def undecided(facts: Facts) -> bool:
    """A question with two answers, and nothing that speaks for one."""
    return facts.asked.kind in (Kind.YES_NO, Kind.CHOICE) and not comparison(facts)


def balance(rows: Sequence[Row]) -> Any:
    """Weights with which every set, and both outcomes in it, count alike; mean 1."""
    count: dict[tuple[str, bool], int] = {}
    for one in rows:
        count[one.name, one.right] = count.get((one.name, one.right), 0) + 1
    raw = np.array([1 / count[one.name, one.right] for one in rows])
    return raw * len(rows) / raw.sum()


def regress(rows: Sequence[Row]) -> Any:
    """Weights of the free features, the fixed ones given."""
    x, y = np.array([one.free for one in rows]), np.array([float(one.right) for one in rows])
    offset, share = np.array([one.fixed for one in rows]), balance(rows)
    penalty = np.diag([0.0 if name == "one" else RIDGE for name in FREE])
    weights = np.zeros(len(FREE))
    for _ in range(25):
        p = 1 / (1 + np.exp(-(x @ weights + offset)))
        gradient = x.T @ (share * (y - p)) - penalty @ weights
        hessian = (x * (share * p * (1 - p))[:, None]).T @ x + penalty + 1e-6 * np.eye(len(FREE))
        weights = weights + np.linalg.solve(hessian, gradient)
    return weights


def stored() -> Any:
    """The weights in use."""
    return np.array([fits()["evidence"].weights.get(name, 0.0) for name in FREE])


def scores(rows: Sequence[Row], weights: Any) -> Any:
    """Raw scores, 0.02 to 0.98."""
    total = np.array([one.free for one in rows]) @ weights + np.array([one.fixed for one in rows])
    return np.clip(1 / (1 + np.exp(-total)), 0.02, 0.98)


def isotonic(rows: Sequence[Row], weights: Any) -> tuple[tuple[float, float], ...]:
    """The rising curve through the outcomes, from 60 bins of the scores."""
    raw, share = scores(rows, weights), balance(rows)
    blocks: list[list[float]] = []  # weight, sum of outcomes, sum of scores
    for group in np.array_split(np.argsort(raw, kind="stable"), 60):
        if not len(group):
            continue
        outcomes = sum(share[n] * rows[n].right for n in group)
        blocks.append([float(share[group].sum()), float(outcomes), float((share[group] * raw[group]).sum())])
        while len(blocks) > 1 and blocks[-2][1] / blocks[-2][0] >= blocks[-1][1] / blocks[-1][0]:
            last = blocks.pop()
            blocks[-1] = [one + other for one, other in zip(blocks[-1], last, strict=True)]
    made: list[tuple[float, float]] = []
    for weight, outcomes, total in blocks:
        x, y = round(total / weight, 4), round(min(0.98, max(0.02, outcomes / weight)), 4)
        if not made or (x > made[-1][0] and y >= made[-1][1]):
            made.append((x, y))
    return tuple(made)


def ece(rows: Sequence[Row], weights: Any, curve: Sequence[tuple[float, float]]) -> float:
    """Expected calibration error over ten bins, every set and outcome counting alike."""
    raw, share = scores(rows, weights), balance(rows)
    p = np.interp(raw, [x for x, _ in curve], [y for _, y in curve]) if curve else raw
    right = np.array([float(one.right) for one in rows])
    bins = np.minimum((p * BINS).astype(int), BINS - 1)
    off = [abs((share * (right - p))[bins == one].sum()) for one in range(BINS)]
    return float(sum(off) / share.sum())


def area(rows: Sequence[Row], weights: Any) -> float:
    """AUROC of one set."""
    return auroc([one.right for one in rows], list(map(float, scores(rows, weights))))


def macro(rows: Sequence[Row], weights: Any) -> float:
    """Mean AUROC of the sets."""
    names = sorted({one.name for one in rows})
    return float(np.mean([area([one for one in rows if one.name == name], weights) for name in names]))


def rates(rows: Sequence[Row], weights: Any, accept: float) -> tuple[float, float]:
    """Share of right and of wrong answers that would be called correct, mean over the sets."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for name in sorted({one.name for one in rows}):
        part = [one for one in rows if one.name == name]
        said = scores(part, weights) >= accept
        for kind, shares in found.items():
            mine = [bool(said[n]) and not one.doubtful for n, one in enumerate(part) if one.right is kind]
            shares.append(sum(mine) / max(1, len(mine)))
    return float(np.mean(found[True])), float(np.mean(found[False]))


def bands(rows: Sequence[Row], weights: Any) -> tuple[tuple[float, float], ...]:
    """For each wanted precision, at even odds, the lowest score that has it; those that none has are left out."""
    steps = [step / 100 for step in range(50, 96)]
    had = [rates(rows, weights, one) for one in steps]
    made = []
    for wanted in WANTED:
        found = [one for one, (tpr, fpr) in zip(steps, had, strict=True) if tpr and tpr / (tpr + fpr) >= wanted]
        if found:
            made.append((wanted, found[0]))
    return tuple(made)


def store(rows: Sequence[Row], weights: Any, error: float, held: int, names: Sequence[str], target: Path) -> None:
    """Write the fit of all rows."""
    fit = Fit(
        name="+".join(names),
        weights={**{name: round(float(one), 3) for name, one in zip(FREE, weights, strict=True)}, **FIXED},
        points=isotonic(rows, weights),
        accept=ACCEPT,
        reject=REJECT,
        bands=bands(rows, weights),
        ece=round(error, 4),
        n=held,
    )
    put("evidence", fit, target)


def put(backend: str, fit: Fit, target: Path) -> None:
    """Store the fit of one backend; those of the others stay as they are."""
    known = json.loads(target.read_text(encoding="utf-8")) if target.is_file() else {}
    known[backend] = {"fit": fit.model_dump(mode="json"), "sha256": digest_of(fit)}
    target.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    print(f"written: {backend} in {target.name}")


if __name__ == "__main__":
    main()
