"""A stretch of a stream is rewarded wrongly while weights learn: what does it damage, and what keeps the damage out?

    python -m benchmarks.lying_reward [--samples 1200] [--seeds 4] [--lie 0.25] [--canaries 0.1] [--model FOLDER]

The streaming trainer with the tiny updater (all weights, GRPO) behind its HTTP routes; without `--model` a Llama of two
layers that knows nothing. A reply earns the share of its characters that are the letter of its gold answer. From the
first third on, for a share `--lie` of the stream, the reward function says the opposite. Ways: honest (it never lies),
wrong (it lies, nobody looks), guarded (the same with canaries of known reward: `--judge-canaries`), honest and guarded.
Printed is the true reward of what was served, before, during and after the stretch, with 95 % intervals over seeds.
"""

import argparse
import asyncio
import random
import statistics
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from runpy import run_path

import httpx

from benchmarks.wrong_judge import interval
from mia_skill.core.require import require
from mia_skill.core.script import script
from retrieval.standing import Rules
from training.learners import Choice, learner_of
from training.replies import Writing
from training.stream import StreamTrainer
from training.stream_service import stream_service

WAYS = {"honest": (False, False), "wrong": (True, False), "guarded": (True, True), "honest, guarded": (False, True)}
"""Whether the reward lies, and whether it is watched."""
LETTERS = ("e", "t")
COMMON = 0.8
"""Share of the questions whose gold answer is the first letter."""


@dataclass(frozen=True)
class Options:
    """Sizes of a stream."""

    samples: int = 1200
    seeds: int = 4
    lie: float = 0.25
    canaries: float = 0.1
    groups: int = 4
    width: int = 8
    tokens: int = 12
    lr: float = 5e-3
    model: Path = Path()

    @property
    def stretch(self) -> range:
        """Samples that are rewarded wrongly."""
        return range(self.samples // 3, self.samples // 3 + round(self.lie * self.samples))


@dataclass
class Liar:
    """The reward function; it lies when it is told to."""

    lies: bool = False

    async def __call__(self, _question: str, reply: str, gold: str) -> float:
        true = earned(reply, gold)
        return 1.0 - true if self.lies else true


@dataclass
class Played:
    """One stream."""

    earned: list[float] = field(default_factory=list)
    """True reward of each sample, the mean of its replies."""
    updates: int = 0
    rollbacks: int = 0
    noticed_after: int | None = None
    """Samples of the stretch until the alarm."""


def earned(reply: str, gold: str) -> float:
    """The share of its characters that are the gold letter."""
    return reply.count(gold) / len(reply) if reply else 0.0


async def play(way: str, options: Options, seed: int) -> Played:
    """One way on one seed."""
    require("torch", extra="rl").manual_seed(seed)
    lied, watched = WAYS[way]
    rng, made, reward = random.Random(seed), Played(), Liar()
    with tempfile.TemporaryDirectory() as name:
        how = Writing(max_tokens=options.tokens, context=512)
        choice = Choice("tiny", Path(name) / "work", model=options.model, lr=options.lr, how=how)
        trainer = StreamTrainer(
            Path(name) / "stream", learner_of(choice), groups_per_update=options.groups, width=options.width,
            judge_rules=Rules() if watched else None,
        )  # fmt: skip
        service = stream_service(trainer, reward=reward, judge_canaries=options.canaries if watched else 0.0)
        transport = httpx.ASGITransport(app=service)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            for number in range(options.samples):
                reward.lies = lied and number in options.stretch
                gold = LETTERS[rng.random() >= COMMON]
                await ask(client, str(number), gold)
                made.earned.append(
                    statistics.mean(earned(one.text, gold) for one in trainer.groups[str(number)].rollouts)
                )
                while await trainer.update():
                    pass
                await trainer.guard(canary=False)
                if trainer.judge.alarm and number in options.stretch and made.noticed_after is None:
                    made.noticed_after = number - options.stretch.start
        made.updates, made.rollbacks = trainer.updates, trainer.rollbacks
        trainer.close()
    return made


async def ask(client: httpx.AsyncClient, id_: str, gold: str) -> None:
    """One question with its gold answer."""
    entries = [{"data_id": id_, "ground_truth": gold}]
    (await client.post("/register_gts", json={"entries": entries})).raise_for_status()
    body = {"rollout": {"data_id": id_, "question": f"say {gold}"}}
    (await client.post("/submit_sample", json=body)).raise_for_status()


def show(way: str, options: Options, parts: dict[str, range]) -> None:
    """One line."""
    made = [asyncio.run(play(way, options, seed)) for seed in range(options.seeds)]
    cells = [interval([statistics.mean(one.earned[part.start : part.stop]) for one in made]) for part in parts.values()]
    after = [one.noticed_after for one in made if one.noticed_after is not None]
    told = f"{statistics.mean(after):.0f} ({len(after)}/{options.seeds})" if after else "-"
    counts = (
        f"{statistics.mean(one.updates for one in made):9.0f}{statistics.mean(one.rollbacks for one in made):11.1f}"
    )
    print(f"{way:16}" + "".join(f"{cell:>18}" for cell in cells) + counts + f"{told:>16}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("samples", "seeds", "lie", "canaries", "lr"):
        value = getattr(Options(), name)
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--model", type=Path)
    given = vars(parser.parse_args())
    with tempfile.TemporaryDirectory() as folder:
        given["model"] = given["model"] or run_path("tests/small_llama.py")["write_llama"](Path(folder) / "llama")
        options = Options(**given)
        begin, end = options.stretch.start, options.stretch.stop
        last = options.samples - (options.samples - end) // 3
        parts = {"before": range(begin), "rewarded wrongly": range(begin, end), "after": range(end, options.samples)}
        parts["last third of it"] = range(last, options.samples)
        print(f"{options.samples} samples, {options.seeds} seeds, rewarded wrongly: {begin} to {end}")
        print(f"{'way':16}" + "".join(f"{name:>18}" for name in parts) + "  updates  rollbacks   noticed after")
        for way in WAYS:
            show(way, options, parts)


if __name__ == "__main__":
    script(main)
