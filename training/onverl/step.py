"""The step of `training.onverl.update`: veRL's training worker, handed rows that were sampled elsewhere.

veRL's are the FSDP engine, the chunked log-probabilities, the clipped loss (with its second bound, three times the
advantage, where that is negative), AdamW and the writer of the folder. Ours are the advantages and what each rollout
weighs (`training.tiny.rows_of`), and the log-probabilities of the policy that wrote, which are the old ones. The worker
is driven without Ray, one process a GPU, as veRL's own supervised trainer does it.
"""

import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial as bound
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.distributed
from hydra import compose, initialize_config_module
from safetensors import SafetensorError
from verl.trainer.config import CheckpointConfig
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.device import get_device_name, get_nccl_backend, get_torch_device
from verl.workers.config import TrainingWorkerConfig
from verl.workers.engine_workers import TrainingWorker
from verl.workers.utils.losses import ppo_loss

from mia_skill.core.errors import TrainingError, boundary
from training.groups import Group
from training.launch import flash_settings, head_settings
from training.onverl.moments import keep, take
from training.replies import played_of
from training.tiny import BETAS, Row, rows_of

__all__ = ["Settings", "step"]

ALONE = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
"""What torchrun would say to one process; veRL's worker asks for all of it."""
FOREIGN = (RuntimeError, ValueError, AssertionError, OSError, SafetensorError)
"""How veRL, torch and a full disk fail; out of memory is a RuntimeError."""
HF_FOLDER = "huggingface"
"""Where veRL's writer puts what transformers loads."""


@dataclass(frozen=True)
class Settings:
    """What an update is told."""

    machine: str = "one_gpu"
    """A file of `config/`: the method is the same in each."""
    lr: float = 1e-6
    clip: float = 0.2
    tokens_per_batch: int = 32_768
    """Of one GPU at a time; a longer row is a batch of its own."""
    state: Path | None = None
    """Where AdamW's moments are kept between updates; None: each begins with none."""


def step(parent: Path, groups: Sequence[Group], place: Path, settings: Settings) -> dict[str, float]:
    """One step from the weights of `parent`, written to `place`; without an advantage anywhere they are copied.

    Raises:
        TrainingError: it failed, or its gradient is not finite; a rollout with a reward has no tokens.
    """
    began = perf_counter()
    played = played_of(groups)
    rows = rows_of(played)
    rollouts = sum(map(len, played))
    figures = {"rows": float(len(rows)), "tokens": float(sum(row.talk.written for row in rows))}
    if not rows:
        if os.environ.get("RANK", "0") == "0":
            with boundary(TrainingError, f"copying {parent}", OSError):
                shutil.copytree(parent, place, dirs_exist_ok=True)
        return figures
    with boundary(TrainingError, "veRL's step", *FOREIGN), joined():
        longest = max(len(row.talk.ids) for row in rows)
        worker = worker_of(parent, settings, max(settings.tokens_per_batch, longest))
        known = settings.state is not None and take(worker, settings.state, parent, settings.lr)
        told = trained(worker, rows, rollouts)
        if not math.isfinite(told["grad_norm"]):
            raise TrainingError("the gradient is not finite: lower the learning rate, or look at the rewards")
        write(worker, place, settings.state)
    return {**figures, **told, "moments": float(known), "seconds": perf_counter() - began}


@contextmanager
def joined() -> Iterator[None]:
    """The process group: torchrun's, or one of this process alone, which needs no port."""
    own: dict[str, Any] = {}
    if "RANK" not in os.environ:
        own = {"store": torch.distributed.HashStore(), "rank": 0, "world_size": 1}
        os.environ.update(ALONE)
    get_torch_device().set_device(int(os.environ["LOCAL_RANK"]))
    kind = get_device_name()
    torch.distributed.init_process_group("gloo" if kind == "cpu" else f"cpu:gloo,{kind}:{get_nccl_backend()}", **own)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def config_of(parent: Path, settings: Settings, tokens: int) -> Any:
    """The part of a run's settings that an actor has: those of `mia train`, and what the update was told."""
    found = [*flash_settings(settings.machine), *head_settings(parent)]
    with initialize_config_module("training.onverl.config", version_base=None):
        config = compose(config_name=settings.machine, overrides=found).actor_rollout_ref
    config.model.path = str(parent)
    if settings.machine != "cpu":
        config.model.external_lib = None  # our agent loops write nothing here
    config.actor.optim.lr = settings.lr
    config.actor.optim.betas = list(BETAS)
    config.actor.optim.weight_decay = 0.0
    config.actor.clip_ratio = config.actor.clip_ratio_low = config.actor.clip_ratio_high = settings.clip
    config.actor.ppo_max_token_len_per_gpu = tokens
    return config


def worker_of(parent: Path, settings: Settings, tokens: int) -> TrainingWorker:
    """veRL's worker with the model and an optimizer without moments, made as veRL's hybrid worker makes its actor."""
    config = config_of(parent, settings, tokens)
    actor = omega_conf_to_dataclass(config.actor)
    actor.model_config = omega_conf_to_dataclass(config.model)
    actor.engine.use_dynamic_bsz = True
    actor.engine.max_token_len_per_gpu = tokens
    worker = TrainingWorker(
        TrainingWorkerConfig(
            model_type="language_model",
            model_config=actor.model_config,
            engine_config=actor.engine,
            optimizer_config=actor.optim,
            checkpoint_config=CheckpointConfig(
                save_contents=["hf_model", *(["optimizer"] if settings.state else [])], load_contents=["optimizer"]
            ),
        )
    )
    worker.reset()
    worker.set_loss_fn(bound(ppo_loss, config=actor))
    return worker


def trained(worker: TrainingWorker, rows: Sequence[Row], rollouts: int) -> dict[str, float]:
    """One optimizer step on all rows, each process with its share."""
    ranks = torch.distributed.get_world_size()
    mine = share(rows, torch.distributed.get_rank(), ranks)
    size = len(mine) * ranks
    told = tu.get(worker.train_mini_batch(batch_of(mine, rollouts, size)), "metrics")
    names = {"grad_norm": "grad_norm", "actor/pg_clipfrac": "clipped", "actor/ppo_kl": "kl", "actor/pg_loss": "loss"}
    return {ours: float(first(told[theirs])) for theirs, ours in names.items() if theirs in told}


def first(value: Any) -> Any:
    """veRL lists a figure for each of its batches, and there is one."""
    return value[0] if isinstance(value, list) else value


def share(rows: Sequence[Row], rank: int, ranks: int) -> list[Row]:
    """Every `ranks`-th row by length. All shares are of one size: copies without advantage fill up and move nothing."""
    ordered = sorted(rows, key=lambda row: -len(row.talk.ids))
    ordered += [Row(ordered[-1].talk, 0.0, ordered[-1].weight)] * (-len(ordered) % ranks)
    return ordered[rank::ranks]


def batch_of(rows: Sequence[Row], rollouts: int, size: int) -> Any:
    """Rows in veRL's form. veRL takes the mean over a row's own tokens, then over `global_batch_size`: the advantage
    carries what differs from that, such as rollouts of two conversations and groups of unlike sizes."""
    columns: dict[str, list[Any]] = {name: [] for name in ("input_ids", "position_ids", "prompts", "responses")}
    columns |= {name: [] for name in ("response_mask", "loss_mask", "old_log_probs", "advantages")}
    for row in rows:
        ids, begin = torch.tensor(row.talk.ids), row.talk.mask.index(True)
        mask = torch.tensor(row.talk.mask[begin:], dtype=torch.int64)
        worth = row.advantage * row.weight * row.talk.written * rollouts
        told = (ids, torch.arange(len(ids)), ids[:begin], ids[begin:], mask, mask)
        old = torch.tensor(row.talk.logprobs[begin:], dtype=torch.float32)
        for column, value in zip(columns.values(), (*told, old, mask * float(worth)), strict=True):
            column.append(value)
    nested = {name: torch.nested.as_nested_tensor(column, layout=torch.jagged) for name, column in columns.items()}
    told_all = {"global_batch_size": rollouts, "mini_batch_size": size, "temperature": 1.0, "calculate_entropy": False}
    return tu.get_tensordict(nested, told_all | {"epochs": 1, "dataloader_kwargs": {"shuffle": False}})


def write(worker: TrainingWorker, place: Path, state: Path | None) -> None:
    """The folder that transformers and vLLM load, by veRL's own writer; the moments beside it go to `state`."""
    worker.save_checkpoint(str(place))
    if torch.distributed.get_rank() == 0:
        for file in list((place / HF_FOLDER).iterdir()):
            file.rename(place / file.name)
        (place / HF_FOLDER).rmdir()
        (place / "fsdp_config.json").unlink()
        if state is not None:
            keep(state, place)
