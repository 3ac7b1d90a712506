"""`rollout.name=hf`: veRL's rollout served by transformers, where vLLM cannot be had: on a CPU, or as a fallback.

One Ray actor a replica holds a copy of the policy and answers in batches (`training.tiny.LocalSampler`); the adapter
in the training worker hands it the new weights after each update.
`training.onverl.rollouts` makes it known to veRL.
"""

import asyncio
import os
from collections.abc import Generator, Mapping
from typing import Any

import ray
import torch
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, TokenOutput

from training.decoder import PlainDecoder
from training.policy import Sampled
from training.tiny import LocalSampler, load

__all__ = ["TransformersAdapter", "TransformersReplica", "TransformersServer"]

GATHER_S = 0.004
"""Requests come one by one through Ray: those within so many seconds share a batch."""


class TransformersServer:
    """The rollout server: token ids in, token ids and log-probabilities out."""

    def __init__(self, path: str, response_length: int, batch: int) -> None:
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model, tokenizer = load(path, device)
        if device == "cuda":
            model = model.to(torch.bfloat16)
        self.model, self.most = model.eval(), response_length
        self.sampler = LocalSampler(PlainDecoder(self.model), tokenizer, batch=batch)
        self.version = 0
        self.open = asyncio.Event()
        self.open.set()

    async def generate(
        self, request_id: str, prompt_ids: list[int], sampling_params: Mapping[str, Any], **more: Any
    ) -> TokenOutput:
        """One reply. `top_p` and `top_k` are not supported: the policy itself is sampled."""
        await self.open.wait()
        await asyncio.sleep(GATHER_S)
        most = sampling_params.get("max_tokens") or sampling_params.get("max_new_tokens") or self.most
        made: Sampled = await self.sampler.generate(
            prompt_ids,
            temperature=float(sampling_params.get("temperature", 1.0)),
            max_tokens=int(most),
            stop=tuple(sampling_params.get("stop") or ()),
        )
        return TokenOutput(
            token_ids=list(made.token_ids),
            log_probs=list(made.logprobs),
            stop_reason="completed",
            num_preempted=0,
            extra_fields={"global_steps": self.version},
        )

    async def load_weights(self, weights: Mapping[str, torch.Tensor], version: int | None) -> list[str]:
        """Take over the policy's weights; the names that are not known here come back."""
        own = self.model.state_dict()
        with torch.no_grad():
            for name, value in weights.items():
                if name in own:
                    own[name].copy_(value)
        self.version = self.version if version is None else version
        return [name for name in weights if name not in own]

    async def abort_all_requests(self, reject_request: bool = False, reset_prefix_cache: bool = True) -> dict[str, Any]:
        """Begin nothing new. What is being written is finished: it takes one batch."""
        self.open.clear()
        return {"aborted_count": 0, "request_ids": []}

    async def resume_generation(self) -> None:
        self.open.set()

    async def wake_up(self, tags: list[str] | None = None) -> None:
        """There is no memory to give back and take again."""

    async def sleep(self) -> None:
        """As `wake_up`."""

    async def clear_kv_cache(self) -> None:
        """Caches live for one batch."""

    async def release_kv_cache(self) -> None:
        """As `clear_kv_cache`."""

    async def resume_kv_cache(self) -> None:
        """As `clear_kv_cache`."""

    async def start_profile(self, **more: Any) -> None:
        """There is no profiler."""

    async def stop_profile(self) -> None:
        """As `start_profile`."""


class TransformersReplica(RolloutReplica):  # type: ignore[misc]
    """Starts the server."""

    async def launch_servers(self) -> None:
        """One actor, on the GPU of its trainer where there is one."""
        server: Any = (
            ray.remote(TransformersServer)
            .options(
                name=server_name(self.replica_rank),
                num_cpus=0,
                max_concurrency=self.max_concurrency,
                runtime_env={"env_vars": {"RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1"}},
            )
            .remote(self.model_config.path, self.config.response_length, min(256, self.config.max_num_seqs))
        )
        await server.resume_generation.remote()
        self.servers = [server]
        self._server_handle = server
        self._server_address = "127.0.0.1:0"


class TransformersAdapter(BaseRollout):  # type: ignore[misc]
    """In the training worker: sends the weights."""

    def __init__(
        self, config: Any, model_config: Any, device_mesh: Any, *args: Any, replica_rank: int = -1, **kwargs: Any
    ) -> None:
        super().__init__(config, model_config, device_mesh)
        rank = int(os.environ["RANK"])
        self.leads = rank == 0 or replica_rank == -1
        self.replica_rank = rank if replica_rank == -1 else replica_rank
        self.sleep_level = 1

    async def resume(self, tags: list[str]) -> None:
        """Nothing was given back."""

    async def release(self) -> None:
        """There is nothing to give back."""

    @torch.no_grad()
    async def update_weights(
        self,
        weights: Generator[tuple[str, torch.Tensor], None, None],
        global_steps: int | None = None,
        wire_format: str = "named_tensors",
        **more: Any,
    ) -> None:
        """All weights, as they are named in the model's own files.

        Raises:
            ValueError: a weight has no place in the served model: another model, or an adapter that is not merged.
        """
        named = {name: value.detach().float().cpu().clone() for name, value in weights}
        server = ray.get_actor(server_name(self.replica_rank))
        unknown = await server.load_weights.remote(named, global_steps)
        if unknown:
            raise ValueError(
                f"the rollout's model has no {unknown[0]} ({len(unknown)} such): set model.lora.merge=true"
            )


def server_name(rank: int) -> str:
    return f"transformers_server_{rank}"
