"""The demo over many seeds: what memory, and a user's feedback, are worth to its agent on average.

    python -m benchmarks.demo_seeds [--seeds 20] [--questions 75] [--size 1500] [--recur 25]

Seeds 1 to N, each another world and another stream; the demo's own default (7) is one of them. Every pass is the real
one: a server process and an MCP client. The interval is a bootstrap over seeds of the difference in the share of right
answers, 10,000 draws, in points.
"""

import argparse
import sys
from collections.abc import Sequence
from statistics import mean

import numpy as np

from mia_skill.demo.stage import RECUR, DemoResult, run_demo

DRAWS = 10_000


def main() -> None:
    """Run, print a line a seed, and the averages."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--questions", type=int, default=75)
    parser.add_argument("--size", type=int, default=1500)
    parser.add_argument("--recur", type=int, default=RECUR)
    given = parser.parse_args()
    results = []
    for seed in range(1, given.seeds + 1):
        result = run_demo(
            {}, questions=given.questions, size=given.size, seed=seed, recur=given.recur, watch=lambda *_: None
        )
        results.append(result)
        sys.stdout.write(line(result) + "\n")
        sys.stdout.flush()
    print("\n".join(averages(results)))


def line(result: DemoResult) -> str:
    """One seed: right answers, searches, and how many came by a remembered workflow, pass by pass."""
    right = " / ".join(str(one.right) for one in result.passes)
    searches = " / ".join(str(one.searches) for one in result.passes)
    recalled = " / ".join(str(one.plans_from_memory) for one in result.passes)
    return (
        f"seed {result.seed:3}: right {right} of {result.passes[0].questions}; searches {searches}; recalled {recalled}"
    )


def averages(results: Sequence[DemoResult]) -> list[str]:
    """Every pass against the first."""
    shares = np.array([[one.right / one.questions for one in result.passes] for result in results])
    late = np.array([[one.right_late / (one.questions - one.questions // 2) for one in r.passes] for r in results])
    lines = []
    for number, one in enumerate(results[0].passes):
        told = f"{one.name:26} right {100 * shares[:, number].mean():5.1f} %"
        told += f", second half {100 * late[:, number].mean():5.1f} %"
        told += f", {mean(r.passes[number].searches / r.passes[number].questions for r in results):.2f} searches"
        if number:
            told += f"; against the first {difference(shares[:, number] - shares[:, 0])}"
            told += f", second half {difference(late[:, number] - late[:, 0])}"
        lines.append(told)
    return lines


def difference(gains: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    """The mean in points with its interval."""
    chance = np.random.default_rng(0)
    drawn = chance.choice(gains, (DRAWS, len(gains))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{100 * gains.mean():+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


if __name__ == "__main__":
    main()
