"""The test of a judge by canaries, simulated: false alarms, delay, what slips through, what waits, what is lost.

    python -m benchmarks.judge_canaries [--streams 200] [--judgments 20000] [--share 0.1]

Each judgment is followed by a canary with probability `--share`; the judge gets a share of them right. Honest streams
are honest throughout; in lying ones the judge is right in 95 % of the canaries for a third of the stream and then in a
smaller share, of canaries and judgments alike, for 400 canaries. Of that time: judgments learnt before the alarm, and
the share learnt of all (a judge that is often right is believed again at times). "wait" is how many judgments a lesson
waits (median, 95th percentile).
"""

import argparse
import random
from dataclasses import dataclass, field

from retrieval.standing import Rules, Standing, told

HONEST = (1.0, 0.97, 0.95, 0.92, 0.9)
LYING = (0.0, 0.3, 0.5, 0.6, 0.7)
GOOD = 0.95


@dataclass
class Played:
    """One stream."""

    alarms: int = 0
    canaries: int = 0
    delay: int | None = None
    """Canaries of the lying time until the alarm."""
    taught: int = 0
    """Judgments of the lying time that were learnt."""
    early: int = 0
    """Those of them that were learnt before the alarm."""
    lied: int = 0
    lost: int = 0
    """Judgments of the honest time that never were."""
    waits: list[int] = field(default_factory=list)


def play(judgments: int, share: float, lying: float | None, honest: float, rules: Rules, seed: int) -> Played:
    """A stream of judgments and canaries."""
    rng, one, made = random.Random(seed), Standing(), Played()
    onset = judgments if lying is None else judgments // 3
    held: list[tuple[int, int]] = []
    in_lie = 0
    for at in range(judgments):
        held.append((at, one.seen))
        made.lied += at >= onset
        if rng.random() >= share:
            continue
        accuracy = honest if at < onset or lying is None else lying
        in_lie += at >= onset
        now = told(one, rng.random() < accuracy, rules)
        made.canaries += 1
        if now.alarms > one.alarms:
            made.alarms += at < onset
            if at >= onset and made.delay is None:
                made.delay = in_lie
        one, left = now, []
        for given, seen in held:
            fate = one.fate(seen)
            if fate is None:
                left.append((given, seen))
            elif fate:
                made.taught += given >= onset
                made.early += given >= onset and made.delay is None
                made.waits.append(at - given)
            else:
                made.lost += given < onset
        held = left
        if made.delay is not None and in_lie > 400:
            break
    return made


def quantile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Print two tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--judgments", type=int, default=20_000)
    parser.add_argument("--share", type=float, default=0.1)
    parser.add_argument("--proof", type=int, default=Rules().proof)
    given = parser.parse_args()
    rules = Rules(proof=given.proof)
    print(f"{rules}; share {given.share}, {given.streams} streams of {given.judgments} judgments")
    print("honest: right of canaries   false alarms /1000 canaries   judgments lost   wait (median, 95 %)")
    for honest in HONEST:
        streams = [play(given.judgments, given.share, None, honest, rules, seed) for seed in range(given.streams)]
        alarms, canaries = sum(one.alarms for one in streams), sum(one.canaries for one in streams)
        waits = [wait for one in streams for wait in one.waits]
        lost = sum(one.lost for one in streams) / (given.streams * given.judgments)
        rate = 1000 * alarms / canaries
        print(f"{honest:26.2f} {rate:29.3f} {lost:16.2%} {quantile(waits, 0.5):10} {quantile(waits, 0.95):6}")
    print(
        "lying: right of canaries    delay in canaries (median, 95 %)   learnt before the alarm (mean, 95 %)   of all"
    )
    for lying in LYING:
        streams = [play(given.judgments, given.share, lying, GOOD, rules, seed) for seed in range(given.streams)]
        delays = [10**6 if one.delay is None else one.delay for one in streams]
        early = [one.early for one in streams]
        part = sum(one.taught for one in streams) / sum(one.lied for one in streams)
        print(
            f"{lying:25.2f} {quantile(delays, 0.5):19} {quantile(delays, 0.95):12} "
            f"{sum(early) / len(early):22.1f} {quantile(early, 0.95):12} {part:14.2%}"
        )


if __name__ == "__main__":
    main()
