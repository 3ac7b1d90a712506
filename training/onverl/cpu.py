"""What a run without a GPU needs in each of veRL's processes (`actor_rollout_ref.model.external_lib`)."""

import os
from collections.abc import Mapping

import torch.distributed
from verl.workers.engine import EngineRegistry
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead

import training.onverl.loops  # noqa: F401  registers the loops and the rollout `hf`

__all__ = ["CpuEngine", "join_group"]


@EngineRegistry.register(model_type="language_model", backend=["fsdp2"], device="cpu")
class CpuEngine(FSDPEngineWithLMHead):  # type: ignore[misc]
    """veRL's own engine, also for this device."""


def join_group(environment: Mapping[str, str]) -> None:
    """The process group of a training worker: veRL asks for "cpu:gloo,cpu:gloo", which torch refuses."""
    worker = all(environment.get(name) for name in ("WG_PREFIX", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"))
    if worker and not torch.distributed.is_initialized():
        torch.distributed.init_process_group(
            "gloo",
            rank=int(environment["RANK"]),
            world_size=int(environment["WORLD_SIZE"]),
            init_method=f"tcp://{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}",
        )


join_group(os.environ)
