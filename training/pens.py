"""Who writes in test-time learning with weights: a Planner that may learn, and a frozen Executor, in this process."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from mia_skill.agents.executor import Finder
from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import InputError, TrainingError, boundary
from mia_skill.core.require import require
from training.groups import Group, UpdateStats, stats_of
from training.policy import Renderer, TokenPolicy
from training.replies import played_of
from training.token_student import TokenStudent

__all__ = ["Desk", "InPlace", "Pens", "pens_of", "placed", "seeded", "student_of"]

EDGE = 128
"""Tokens beyond the context: replies of a batch are as long as the longest that one of them may have."""


@dataclass(frozen=True)
class Desk:
    """Whose weights write, and how much."""

    planner: Path
    executor: Path | None = None
    """The frozen Executor's weights; by default the Planner's."""
    device: str = "cpu"
    """Empty: a GPU where there is one (`placed`)."""
    lr: float = 1e-4
    rank: int = 16
    """Of the adapter that learns; 0 trains all weights."""
    context: int = 1024
    tokens: int = 128

    @property
    def length(self) -> int:
        """Tokens that a cache must hold."""
        return self.context + max(EDGE, self.tokens)


class InPlace:
    """The tiny learner between two batches: nobody samples while it learns, so no version is copied."""

    name = "tiny"

    def __init__(self, learner: Any) -> None:
        self.learner, self.version = learner, 0

    async def update(self, groups: Sequence[Group], /) -> UpdateStats:
        """One GRPO step."""
        stats = self.learner.update(played_of(groups))
        self.version += bool(stats.rows)
        figures = {name: float(getattr(stats, name)) for name in ("rows", "entropy", "drift", "grad_norm", "seconds")}
        return stats_of(groups, version=self.version, metrics=figures)

    def keep(self, file: Path) -> None:
        """What has learnt, with its optimizer, renamed into place when it is whole. Of an adapter nothing but it.

        Raises:
            TrainingError: it cannot be written (a full disk); the one before it is still there.
        """
        import torch

        model, partial_ = self.learner.model, file.with_suffix(".partial")
        learns = {name for name, weight in model.named_parameters() if weight.requires_grad}
        named = {name: weight for name, weight in model.state_dict().items() if not self.learner.lora or name in learns}
        told = {"version": self.version, "model": named, "optimizer": self.learner.optimizer.state_dict()}
        with boundary(TrainingError, f"writing {file}", OSError, RuntimeError):
            torch.save(told, partial_)
            partial_.replace(file)

    def restore(self, file: Path) -> None:
        """Go on from what was kept.

        Raises:
            InputError: it is of another model.
        """
        import torch

        learner = self.learner
        with boundary(InputError, f"{file}, a checkpoint of another model", RuntimeError, ValueError, KeyError):
            kept = torch.load(file, map_location=learner.model.device, weights_only=True)
            learner.model.load_state_dict(kept["model"], strict=not learner.lora)
            learner.optimizer.load_state_dict(kept["optimizer"])
        self.version = kept["version"]
        learner.sync()

    def save(self, folder: Path) -> None:
        """A folder that vLLM loads, renamed into place when it is whole: an adapter in PEFT's form, or a model.

        Raises:
            TrainingError: it cannot be written (a full disk).
        """
        partial_ = folder.with_name(f"{folder.name}.partial")
        with boundary(TrainingError, f"writing {folder}", OSError, RuntimeError):
            if self.learner.lora:
                self.learner.model.save_pretrained(partial_)
            else:
                self.learner.save(partial_)
            partial_.rename(folder)


@dataclass(frozen=True)
class Pens:
    """Who writes: the Planner, which may learn, and the frozen Executor."""

    planner: Any
    executor: Any
    learner: Any = None


def placed(desk: Desk) -> Desk:
    """With a device.

    Raises:
        MissingExtraError: torch is not installed.
    """
    torch = require("torch", extra="rl")
    return replace(desk, device=desk.device or ("cuda" if torch.cuda.is_available() else "cpu"))


def seeded(seed: int) -> None:
    """Where the drawing of plans begins. Two runs of one seed still differ, as those of the world stream do."""
    import torch

    torch.manual_seed(seed)


def pens_of(desk: Desk, rows: int, learns: bool) -> Pens:
    """Load the weights.

    Raises:
        MissingExtraError: torch, transformers or, for an adapter, peft is not installed.
    """
    from training.tiny import Learner, load

    if learns and desk.rank:
        require("peft", extra="rl")
    executor = sampler_of(desk.executor or desk.planner, desk, rows)
    if not learns:
        return Pens(sampler_of(desk.planner, desk, rows), executor)
    learner = Learner(
        *load(desk.planner, desk.device), lr=desk.lr, lora_rank=desk.rank, sample_batch=rows,
        context=desk.length, tokens_per_batch=2048,
    )  # fmt: skip
    return Pens(learner.sampler, executor, learner)


def sampler_of(folder: Path, desk: Desk, rows: int) -> Any:
    """One that only writes: its weights are not kept a second time in float32."""
    from training.decoder import GraphDecoder, PlainDecoder
    from training.tiny import LocalSampler, load

    model, tokenizer = load(folder, "cpu")
    decoder: Any
    if desk.device == "cpu":
        decoder = PlainDecoder(model.eval())
    elif model.config.model_type == "llama":
        decoder = GraphDecoder(model.config, desk.device, rows=rows, length=desk.length)
        decoder.load(model.state_dict())
    else:
        decoder = PlainDecoder(model.bfloat16().to(desk.device).eval())
    return LocalSampler(decoder, tokenizer, batch=rows)


def student_of(
    desk: Desk, pens: Pens, finder: Finder, limits: BudgetConfig, *, draws: bool, k: int = 1, room: int | None = None
) -> TokenStudent:
    """Who plans and executes. It answers with the likeliest plan; `draws`: the others of a question are samples."""
    renderers = {id(one): Renderer(one.tokenizer) for one in (pens.planner, pens.executor)}

    def pen(sampler: Any, warm: float) -> TokenPolicy:
        words = renderers[id(sampler)]
        return TokenPolicy(sampler, words, temperature=warm, context=desk.context, max_tokens=desk.tokens)

    likeliest, other = partial(pen, pens.planner, 0.0), partial(pen, pens.executor, 0.0)
    if not draws:
        return TokenStudent(likeliest, other, finder, limits, k, room=room)
    return TokenStudent(partial(pen, pens.planner, 1.0), other, finder, limits, k, served=likeliest, room=room)
