"""What the learned checkers of `benchmarks.checker` are worth, beside word overlap and the checks without a model.

    python -m benchmarks.checker_report FILE... [--data FOLDER]

AUROC with 95% bootstrap intervals over questions, on the held-out halves. A row `unseen` takes for each set the checker
that never saw its kind; `checks + unseen` adds its logit to that of the checks, with a weight fitted on the other sets.
"""

import argparse
import json
import math
import os
import random
import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.checker import SETS, in_train
from benchmarks.trust import auroc
from benchmarks.trust_baselines import overlap
from benchmarks.trust_sets import Sample, load
from trust.evidence import examine

DRAWS = 300
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5)
"""Of the checker's logit beside that of the checks."""
Scores = dict[str, list[float]]


def main() -> None:
    """Read the scores, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("MIA_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("files", type=Path, nargs="+")
    given = parser.parse_args()
    runs = [json.loads(path.read_text()) for path in given.files]
    samples = {name: group for name, group in load(given.data, 0).items() if name in (*SETS, "wiki")}
    test = {name: [one for one in group if name == "wiki" or not in_train(one)] for name, group in samples.items()}
    found: dict[str, Scores] = {
        "word overlap": {name: [overlap(one.case) for one in group] for name, group in test.items()},
        "checks": {name: [sure(one) for one in group] for name, group in test.items()},
    }
    for run in runs:
        title = f"{run['plan']}, {run['pairs']} pairs" + (f", {run['layers']} layers" if run["layers"] else "")
        found[title] = {name: [max(one, default=0.5) for one in group] for name, group in run["scores"].items()}
    found["unseen"] = unseen(found)
    found["checks + unseen"] = together(test, found["checks"], found["unseen"])
    show(test, found)


def sure(sample: Sample) -> float:
    """What the checks say; one half where they say nothing."""
    said = examine(sample.case).p_correct
    return 0.5 if said is None else said


def unseen(found: dict[str, Scores]) -> Scores:
    """For each set the mean of the checkers that never saw its kind; for the rest those that saw all."""
    made: Scores = {}
    for name in (*SETS, "wiki"):
        start = "all" if name == "wiki" else f"without {name}"
        rows = [scores[name] for title, scores in found.items() if title.startswith(start) and "layers" not in title]
        if rows:
            made[name] = [statistics.fmean(each) for each in zip(*rows, strict=True)]
    return made


def together(test: dict[str, list[Sample]], checks: Scores, learned: Scores) -> Scores:
    """Both logits, weighed as is best for the other sets."""
    made: Scores = {}
    for name in learned:
        rest = [one for one in learned if one != name]

        def worth(weight: float, rest: Sequence[str] = rest) -> float:
            return statistics.fmean(
                auroc([one.right for one in test[other]], mixed(checks[other], learned[other], weight))
                for other in rest
            )

        made[name] = mixed(checks[name], learned[name], max(WEIGHTS, key=worth))
    return made


def mixed(checks: Sequence[float], learned: Sequence[float], weight: float) -> list[float]:
    """The sum of the logits."""
    return [logit(one) + weight * logit(other) for one, other in zip(checks, learned, strict=True)]


def logit(p: float) -> float:
    """Of a probability, kept from infinity."""
    p = min(0.999, max(0.001, p))
    return math.log(p / (1 - p))


def interval(group: Sequence[Sample], scores: Sequence[float]) -> tuple[float, float]:
    """95%, drawing whole questions."""
    members: dict[str, list[int]] = {}
    for place, one in enumerate(group):
        members.setdefault(one.group, []).append(place)
    chance, names, draws = random.Random(0), list(members), []
    for _ in range(DRAWS):
        drawn = [place for name in chance.choices(names, k=len(names)) for place in members[name]]
        draws.append(auroc([group[n].right for n in drawn], [scores[n] for n in drawn]))
    draws.sort()
    return draws[int(0.025 * DRAWS)], draws[int(0.975 * DRAWS)]


def show(test: dict[str, list[Sample]], found: dict[str, Scores]) -> None:
    """A row per checker, a column per set, and the mean."""
    print(f"{'AUROC (95%)':34}" + "".join(f"{name:>20}" for name in test) + f"{'mean':>8}")
    for title, scores in found.items():
        cells, values = [], []
        for name, group in test.items():
            if name not in scores:
                cells.append("")
                continue
            low, high = interval(group, scores[name])
            values.append(auroc([one.right for one in group], scores[name]))
            cells.append(f"{values[-1]:.3f} ({low:.2f}-{high:.2f})")
        print(f"{title:34}" + "".join(f"{cell:>20}" for cell in cells) + f"{statistics.fmean(values):8.3f}")


if __name__ == "__main__":
    main()
