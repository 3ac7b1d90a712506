"""A policy that lives in this process: torch samples it and trains it (the tiny updater, full weights or LoRA)."""

import asyncio
import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from mia_skill.core.errors import TrainingError
from training.decoder import PlainDecoder
from training.groups import Rollout
from training.policy import Renderer
from training.policy_store import Policy
from training.replies import Writing, replies
from training.stepper import IDLE, Stepper
from training.tiny import Learner as Tiny
from training.tiny import LocalSampler, load

__all__ = ["LocalLearner", "LocalPolicy"]


ROWS = 256
"""Replies written in one go: later requests wait for them."""


@dataclass(eq=False)
class Asked:
    """One request, and what came of it."""

    prompt: str
    n: int
    replies: tuple[Rollout, ...] = ()
    failure: BaseException | None = None

    @property
    def done(self) -> bool:
        return bool(self.replies) or self.failure is not None


class LocalPolicy:
    """One version: a model of its own that nobody writes to. Sampling runs in a thread; whoever asks meanwhile is
    answered together in the next go, for a step of the decoder costs much the same for one row and for many."""

    def __init__(self, model: Any, tokenizer: Any, how: Writing) -> None:
        self.model, self.tokenizer, self.how = model.eval(), tokenizer, how
        self.sampler = LocalSampler(PlainDecoder(self.model), tokenizer, batch=ROWS)
        self._renderer = Renderer(tokenizer)
        self._busy = anyio.Lock()
        self._waiting: list[Asked] = []

    async def ready(self) -> None:
        """It is: the weights are in memory."""

    async def sample(self, prompt: str, n: int) -> tuple[Rollout, ...]:
        """`n` replies with their tokens.

        Raises:
            ModelError: the prompt fills the context, or the sampler failed.
        """
        asked = Asked(prompt, n)
        self._waiting.append(asked)
        try:
            async with self._busy:
                if not asked.done:
                    await anyio.to_thread.run_sync(self._write, self._next(asked))
        finally:
            if asked in self._waiting:
                self._waiting.remove(asked)
        if asked.failure is not None:
            raise asked.failure
        return asked.replies

    def _next(self, first: Asked) -> list[Asked]:
        """Who is answered now: `first`, and those after it that fit beside it."""
        taken, rows = [first], first.n
        for one in self._waiting:
            if one is not first and rows + one.n <= ROWS:
                taken.append(one)
                rows += one.n
        self._waiting = [one for one in self._waiting if one not in taken]
        return taken

    def _write(self, asked: Sequence[Asked]) -> None:
        """What fails for one (a prompt that is too long) fails for it alone."""

        async def every() -> list[tuple[Rollout, ...] | BaseException]:
            one_by_one = (replies(self.sampler, self._renderer, one.prompt, one.n, self.how) for one in asked)
            return await asyncio.gather(*one_by_one, return_exceptions=True)

        for one, told in zip(asked, asyncio.run(every()), strict=True):
            if isinstance(told, BaseException):
                one.failure = told
            else:
                one.replies = told

    def save(self, folder: Path) -> None:
        """A folder that transformers and vLLM load."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


@dataclass
class LocalLearner(Stepper[LocalPolicy]):
    """One GRPO step an update. The trainer's weights are its own; a policy is a copy made when the step is whole."""

    folder: Path
    """Of the model it starts from."""
    device: str = "cpu"
    lr: float = 1e-5
    lora_rank: int = 0
    """0 trains all weights."""
    how: Writing = field(default_factory=Writing)

    def start(self) -> LocalPolicy:
        """The model of the folder."""
        return self.load(self.folder)

    def load(self, folder: Path) -> LocalPolicy:
        """A saved one."""
        return LocalPolicy(*load(folder, self.device), self.how)

    def own(self, policy: Policy) -> LocalPolicy:
        if not isinstance(policy, LocalPolicy):
            raise TrainingError(f"a {type(policy).__name__} cannot be trained here: its weights are elsewhere")
        return policy

    def taken(self, policy: LocalPolicy) -> Tiny:
        if self._trainer is None or self._holds is not policy:
            model = copy.deepcopy(policy.model).float()
            self._trainer = Tiny(model, policy.tokenizer, lr=self.lr, lora_rank=self.lora_rank, **IDLE)
        return self._trainer

    def given(self, trainer: Tiny, before: LocalPolicy) -> LocalPolicy:
        return LocalPolicy(copied(trainer, before.model), trainer.tokenizer, self.how)


def copied(trainer: Tiny, like: Any) -> Any:
    """The trainer's weights, an adapter merged into them, in a model of their own."""
    model = copy.deepcopy(like)
    if trainer.lora:
        trainer.model.merge_adapter()
    model.load_state_dict(trainer.weights())
    if trainer.lora:
        trainer.model.unmerge_adapter()
    return model
