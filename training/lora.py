"""The LoRA updater: the Planner's updates as adapters of one base model that a running vLLM serves."""

import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from mia_skill.core.errors import TrainingError
from training.adapter import AdapterPool
from training.policy import Renderer
from training.policy_store import Policy
from training.replies import Writing
from training.served import WEIGHTS, ServedPolicy, digest_of
from training.stepper import IDLE, Stepper
from training.tiny import Learner as Tiny
from training.tiny import load

__all__ = ["AdapterLearner"]

SPARE = 2
"""Adapter folders kept beyond those the server holds."""


@dataclass
class AdapterLearner(Stepper[ServedPolicy]):
    """Trains adapters here, has the server serve them. One learner serves many namespaces: it takes over whatever
    policy it is handed, and only the adapter is copied."""

    folder: Path
    """Of the base model, the same that the server serves."""
    pool: AdapterPool
    base: str
    """Served name of the base model."""
    work: Path
    """Where new adapters are written; the server must be able to read it."""
    namespace: str = "default"
    device: str = "cpu"
    lr: float = 1e-4
    rank: int = 8
    how: Writing = field(default_factory=Writing)
    _made: list[Path] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)  # versions that count are kept elsewhere

    def start(self) -> ServedPolicy:
        """The base model."""
        return ServedPolicy(self.pool, self._renderer(), self.base, how=self.how)

    def load(self, folder: Path) -> ServedPolicy:
        """A saved adapter; a folder without one is the base model."""
        if not (folder / WEIGHTS).is_file():
            return self.start()
        return ServedPolicy(self.pool, self._renderer(), digest_of(folder, self.namespace), folder, self.how)

    def own(self, policy: Policy) -> ServedPolicy:
        if not isinstance(policy, ServedPolicy):
            raise TrainingError(f"a {type(policy).__name__} has no adapter that could be trained")
        return policy

    def taken(self, policy: ServedPolicy) -> Tiny:
        trainer = self.trainer
        if self._holds is not policy:
            take(trainer, policy.folder)
        return trainer

    def given(self, trainer: Tiny, before: ServedPolicy) -> ServedPolicy:
        return self.load(self._written(trainer))

    @property
    def trainer(self) -> Tiny:
        """The model with its adapter, loaded when first needed."""
        if self._trainer is None:
            model, tokenizer = load(self.folder, self.device)
            self._trainer = Tiny(model, tokenizer, lr=self.lr, lora_rank=self.rank, **IDLE)
        return self._trainer

    def _renderer(self) -> Renderer:
        from transformers import AutoTokenizer

        return Renderer(self._trainer.tokenizer if self._trainer else AutoTokenizer.from_pretrained(self.folder))

    def _written(self, trainer: Tiny) -> Path:
        """A PEFT folder of the adapter. Those that no server holds any more are removed."""
        place = self.work / uuid.uuid4().hex[:16]
        trainer.model.save_pretrained(place)
        self._made.append(place)
        while len(self._made) > self.pool.most + SPARE:
            shutil.rmtree(self._made.pop(0), ignore_errors=True)
        return place


def take(trainer: Tiny, folder: Path | None) -> None:
    """Give the trainer the adapter of a folder, or none, and forget what the optimizer knew of another."""
    import torch
    from peft import load_peft_weights, set_peft_model_state_dict

    trainer.optimizer.state.clear()
    trainer.optimizer.zero_grad(set_to_none=True)
    if folder is not None:
        set_peft_model_state_dict(trainer.model, load_peft_weights(str(folder), device="cpu"))
    else:
        with torch.no_grad():
            for name, weight in trainer.model.named_parameters():
                if "lora_B" in name:
                    weight.zero_()
    trainer.sync()
