"""The cold start as a run of its own: a model imitates the world's expert, so that GRPO has something to reward."""

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mia_skill.core.errors import InputError
from training.coldstart import Example, expert_examples
from training.guards import Guard, GuardLimits, RunStopped
from training.model_folder import check_model
from training.policy import Conversation, Renderer
from training.rollout import Role
from training.task import WorldShelf, world_tasks

__all__ = ["Imitation", "imitate"]


@dataclass(frozen=True)
class Imitation:
    """Who imitates, where, and for how long."""

    model: Path
    out: Path
    worlds: tuple[int, ...]
    roles: tuple[Role, ...] = ("executor", "planner")
    """Whose conversations are imitated."""
    size: int = 400
    hops: tuple[int, ...] = (1, 2)
    examples: int = 400
    """Of each world, at most."""
    steps: int = 80
    batch: int = 32
    lr: float = 5e-5
    enough: float = 0.05
    """Loss in nats a token at which it ends early: the form is learnt, and more would narrow the policy."""
    device: str = "cpu"
    seed: int = 0


def imitate(asked: Imitation, say: Callable[[str], None]) -> Path:
    """Train and save. The folder written is one that transformers, vLLM and veRL load.

    Raises:
        InputError: the model cannot be used, the folder holds something already, or the worlds hold no example.
        RunStopped: the loss is not a number; nothing is saved.
        TrainingError: the model could not be written.
    """
    from training.tiny import Learner, load

    if asked.out.exists() and any(asked.out.iterdir()):
        raise InputError(f"{asked.out} holds something already: give --out a new folder")
    if not list(asked.model.glob("*.gguf")):
        check_model(asked.model)
    model, tokenizer = load(asked.model, asked.device)
    learner = Learner(model, tokenizer, lr=asked.lr)
    learner.renderer.check()
    talks = conversations(asked, learner.renderer)
    say(f"{len(talks)} conversations of an expert")
    rng, guard = random.Random(asked.seed), Guard(GuardLimits(least_entropy=None, most_entropy=None))
    for step in range(1, asked.steps + 1):
        stats = learner.imitate(rng.sample(talks, min(asked.batch, len(talks))))
        # An expert's tokens carry log-probability 0, so the drift is the loss.
        say(f"step {step} of {asked.steps}: loss {stats.drift:.3f} nats a token, {stats.seconds:.1f} s")
        if why := guard.look({"loss": stats.drift, "grad_norm": stats.grad_norm}):
            raise RunStopped(f"{why}: nothing was saved; lower --lr")
        if stats.drift < asked.enough:
            break
    learner.save(asked.out)
    return asked.out


def conversations(asked: Imitation, renderer: Renderer) -> list[Conversation]:
    """What the expert wrote in the worlds. Raises: InputError: nothing."""
    made: list[Example] = []
    for seed in asked.worlds:
        tasks, questions, world = world_tasks(seed, asked.size, hops=asked.hops, limit=asked.examples)
        made += asyncio.run(expert_examples(tasks, questions, WorldShelf(world), renderer, seed=asked.seed))
    talks = [talk for one in made for talk in of_roles(one, asked.roles)]
    if not talks:
        raise InputError(f"worlds of {asked.size} hold no such example: make them larger, or allow other hops")
    return talks


def of_roles(example: Example, roles: Sequence[Role]) -> list[Conversation]:
    kept: dict[str, Any] = {"executor": example.executor, "planner": example.planner}
    return [talk for role in roles for talk in kept[role]]
