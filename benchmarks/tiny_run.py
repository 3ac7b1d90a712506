"""What `benchmarks.verl_run tiny` runs: GRPO by training/tiny.py, told line by line, no veRL."""

import argparse
import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import orjson
import torch

from mia_skill.core.config import BudgetConfig
from mia_skill.core.proportion import wilson
from training.policy import TokenPolicy
from training.rollout import Rollout, Setting, roll_out
from training.task import Task, WorldShelf
from training.tiny import Learner, grpo_step, load

__all__ = ["Run"]

LIMITS = BudgetConfig(steps=4, searches=10, tokens=1_000_000, seconds=86_400)


@dataclass
class Run:
    """One run of the Executor, with the flags of `benchmarks.verl_run`."""

    options: argparse.Namespace
    train: Sequence[Task]
    held_out: Sequence[Task]
    shelves: Mapping[str, WorldShelf]
    learner: Learner = field(init=False)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        own = load(self.options.model, device)
        self.learner = Learner(*own, lr=self.options.lr, context=self.context + 128)
        self.began = perf_counter()

    @property
    def context(self) -> int:
        """Tokens of a conversation."""
        return int(self.options.prompt + self.options.response)

    async def course(self) -> None:
        """Steps until the number or the time is reached; a look at the held-out questions first, last and between."""
        options = self.options
        await self.look(0)
        for step in range(1, options.steps + 1):
            await self.step(step)
            over = perf_counter() - self.began > options.seconds
            if step % max(1, options.test_every) == 0 or step == options.steps or over:
                await self.look(step)
            if over:
                break

    async def step(self, number: int) -> None:
        """One."""
        options, rng = self.options, random.Random(number)
        chosen = rng.sample(self.train, options.batch)
        groups, stats, played = await grpo_step(
            self.learner, chosen, self.play, rollouts=options.n, updates=options.updates, rng=rng
        )
        made = [one for group in groups for one in group]
        kept = [one.reward for one in made if one.reward is not None]
        told = {"reward": sum(kept) / max(1, len(kept)), "lost": len(made) - len(kept), "play_s": played}
        told |= {"right": right(made) / len(made), "update_s": sum(one.seconds for one in stats)}
        self.tell(kind="step", step=number, tokens=sum(one.tokens for one in stats), **told)

    async def look(self, step: int) -> None:
        """Greedily, as veRL's validation does."""
        made = await asyncio.gather(*(self.play(task, 0.0) for task in self.held_out))
        low, high = wilson(right(made), len(made))
        self.tell(kind="held_out", step=step, right=right(made) / len(made), low=low, high=high, runs=len(made))

    async def play(self, task: Task, warm: float = 1.0) -> Rollout:
        """One rollout."""
        learner = self.learner
        policy = TokenPolicy(learner.sampler, learner.renderer, temperature=warm, context=self.context)
        policy.max_tokens = self.options.reply
        return await roll_out(task, Setting("executor", self.shelves[task.corpus], policy, limits=LIMITS))

    def tell(self, **fields: Any) -> None:
        """A line."""
        print(orjson.dumps({"at_s": round(perf_counter() - self.began, 2), **fields}).decode(), flush=True)


def right(made: Sequence[Rollout]) -> int:
    """How many."""
    return sum(bool(one.right) for one in made)
