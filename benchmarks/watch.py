"""The reward watch of the stream against known truths: false alarms on steady rewards, and how soon a fall is noticed.

    python -m benchmarks.watch [--streams 400] [--samples 1000]

A sample's reward is the mean of four replies that are right or wrong by chance. Looked at after every sample.
"""

import argparse
import random
import statistics

from training.watch import RewardWatch


def first_alarm(before: float, after: float, samples: int, seed: int) -> int | None:
    """The sample, counted from the fall in the middle, at which the watch speaks; before it, a negative number."""
    rng, watch, half = random.Random(seed), RewardWatch(), samples // 2
    for number in range(samples):
        share = before if number < half else after
        watch.saw(number, sum(rng.random() < share for _ in range(4)) / 4)
        if watch.refuge is not None:
            return number - half
    return None


def main() -> None:
    """Print one line a truth."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=400)
    parser.add_argument("--samples", type=int, default=1000)
    given = parser.parse_args()
    for before, after in ((0.6, 0.6), (0.6, 0.8), (0.6, 0.5), (0.6, 0.4), (0.6, 0.2)):
        told = [first_alarm(before, after, given.samples, seed) for seed in range(given.streams)]
        early = sum(one is not None and one < 0 for one in told)
        late = [one for one in told if one is not None and one >= 0]
        soon = f"{statistics.median(late):.0f}" if late else "-"
        print(
            f"{before} to {after}: spoke before the change in {early} of {given.streams} streams, "
            f"after it in {len(late)}, median after {soon} samples"
        )


if __name__ == "__main__":
    main()
