"""A policy that lives in this process: torch samples it and trains it (the tiny updater, full weights or LoRA)."""

import asyncio
import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import anyio
import anyio.to_thread

from mia_skill.core.errors import TrainingError, boundary
from training.decoder import PlainDecoder
from training.groups import Group, Rollout
from training.policy import Renderer
from training.policy_store import Policy
from training.replies import Writing, played_of, replies
from training.rollout import Rollout as Played
from training.tiny import Learner as Tiny
from training.tiny import LocalSampler, load

__all__ = ["IDLE", "LocalLearner", "LocalPolicy", "step"]


IDLE: dict[str, Any] = {"sample_batch": 64, "context": 128}
"""Of a trainer that only trains: its own sampler is never asked, so its cache is as small as it gets."""


class LocalPolicy:
    """One version: a model of its own that nobody writes to. Sampling runs in a thread, one request after another."""

    def __init__(self, model: Any, tokenizer: Any, how: Writing) -> None:
        self.model, self.tokenizer, self.how = model.eval(), tokenizer, how
        self.sampler = LocalSampler(PlainDecoder(self.model), tokenizer)
        self._renderer = Renderer(tokenizer)
        self._busy = anyio.Lock()

    async def ready(self) -> None:
        """It is: the weights are in memory."""

    async def sample(self, prompt: str, n: int) -> tuple[Rollout, ...]:
        """`n` replies with their tokens."""
        async with self._busy:
            return await anyio.to_thread.run_sync(self._written, prompt, n)

    def _written(self, prompt: str, n: int) -> tuple[Rollout, ...]:
        return asyncio.run(replies(self.sampler, self._renderer, prompt, n, self.how))

    def save(self, folder: Path) -> None:
        """A folder that transformers and vLLM load."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


@dataclass
class LocalLearner:
    """One GRPO step an update. The trainer's weights are its own; a policy is a copy made when the step is whole."""

    folder: Path
    """Of the model it starts from."""
    device: str = "cpu"
    lr: float = 1e-5
    lora_rank: int = 0
    """0 trains all weights."""
    how: Writing = field(default_factory=Writing)
    _trainer: Tiny | None = field(default=None, init=False, repr=False)
    _holds: Policy | None = field(default=None, init=False, repr=False)
    """The policy whose weights the trainer has; None after a step that broke off."""
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def start(self) -> LocalPolicy:
        """The model of the folder."""
        return self.load(self.folder)

    def load(self, folder: Path) -> LocalPolicy:
        """A saved one."""
        return LocalPolicy(*load(folder, self.device), self.how)

    def update(self, policy: Policy, groups: Sequence[Group]) -> tuple[Policy, dict[str, float]]:
        """One step from `policy`.

        Raises:
            TrainingError: the policy is not of this learner, a rollout has no tokens, or the step is not finite.
        """
        with self._lock:
            if not isinstance(policy, LocalPolicy):
                raise TrainingError(f"a {type(policy).__name__} cannot be trained here: its weights are elsewhere")
            played = played_of(groups)
            trainer = self._trainer_of(policy)
            self._holds = None
            figures = step(trainer, played)
            if not figures["rows"]:
                self._holds = policy
                return policy, figures
            made = LocalPolicy(copied(trainer, policy.model), trainer.tokenizer, self.how)
            self._holds = made
            return made, figures

    def _trainer_of(self, policy: LocalPolicy) -> Tiny:
        """The trainer with the weights of `policy`: of its last step, or taken over with a fresh optimizer."""
        if self._trainer is None or self._holds is not policy:
            model = copy.deepcopy(policy.model).float()
            self._trainer = Tiny(model, policy.tokenizer, lr=self.lr, lora_rank=self.lora_rank, **IDLE)
        return self._trainer


def copied(trainer: Tiny, like: Any) -> Any:
    """The trainer's weights, an adapter merged into them, in a model of their own."""
    model = copy.deepcopy(like)
    if trainer.lora:
        trainer.model.merge_adapter()
    model.load_state_dict(trainer.weights())
    if trainer.lora:
        trainer.model.unmerge_adapter()
    return model


def step(trainer: Tiny, played: list[list[Played]]) -> dict[str, float]:
    """One GRPO step, and what it did.

    Raises:
        TrainingError: it failed, or its gradient is not finite: look at what led to it.
    """
    with boundary(TrainingError, "the update", RuntimeError, ValueError):  # out of memory is a RuntimeError
        stats = trainer.update(played)
    if not math.isfinite(stats.grad_norm):
        raise TrainingError("the gradient is not finite: lower the learning rate, or look at the rewards")
    names = ("rows", "tokens", "entropy", "drift", "clipped", "grad_norm", "seconds")
    return {name: float(getattr(stats, name)) for name in names}
