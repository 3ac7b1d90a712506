"""AdamW's moments between two updates by veRL: those of the version that was made last, and of no other.

A step that begins elsewhere (after going back, or after a version that the canaries refused) begins with none, as
`training.stepper` has it for the learners of a serving process. They are as large as twice the weights, so one set is
kept and not one a version.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from safetensors import safe_open

__all__ = ["keep", "take"]

FILES = "optim_world_size_"
"""How veRL's own begin; each process has one, and they fit as many processes again."""
MARK = "of"


def mark_of(folder: Path) -> str:
    """Of the weights in a folder, by name and value: it is the same when they were loaded and saved again."""
    found = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118  it is no mapping
                value = tensors.get_tensor(name).float().contiguous().flatten()
                found[name] = hashlib.sha256(value.numpy().tobytes()).hexdigest()
    return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()


def fits(state: Path, parent: Path) -> bool:
    """Are these the moments of the version in `parent`, for as many processes as there are now?"""
    ranks = torch.distributed.get_world_size()
    there = all((state / f"{FILES}{ranks}_rank_{rank}.pt").is_file() for rank in range(ranks))
    return there and (state / MARK).is_file() and (state / MARK).read_text() == mark_of(parent)


def take(worker: Any, state: Path, parent: Path, lr: float) -> bool:
    """Give veRL's worker the moments of `parent`, where they were kept; the learning rate is the one of today."""
    told = [torch.distributed.get_rank() == 0 and fits(state, parent)]
    torch.distributed.broadcast_object_list(told)
    if told[0]:
        worker.load_checkpoint(str(state))
        for group in worker.engine.optimizer.param_groups:
            group["lr"] = lr
    return told[0]


def keep(state: Path, made: Path) -> None:
    """Move the moments that veRL wrote into the folder of a new version to where the next update finds them."""
    fresh = made.with_name(f"{made.name}.moments")  # not beside `state`: an update of a killed server may still run
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    for file in list(made.glob(f"{FILES}*")):
        shutil.move(file, fresh / file.name)
    (fresh / MARK).write_text(mark_of(made))
    shutil.rmtree(state, ignore_errors=True)
    state.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(fresh, state)
