"""A policy that a running vLLM serves: its base model, or one adapter of it. Token ids go in, token ids come out."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from mia_skill.core.errors import ModelReplyError, ModelStatusError, ModelUnreachableError, boundary
from training.adapter import AdapterPool, adapter_name
from training.groups import Rollout
from training.policy import Finish, Renderer, Sampled
from training.replies import Writing, replies

__all__ = ["ServedPolicy", "VllmSampler", "digest_of"]

COMPLETIONS = "/v1/completions"
WEIGHTS = "adapter_model.safetensors"


@dataclass(frozen=True)
class VllmSampler:
    """A `Sampler` over the completions route of a vLLM server."""

    client: httpx.AsyncClient
    """Its base address is the server's, without `/v1`."""
    model: str

    async def generate(
        self, prompt_ids: Sequence[int], *, temperature: float, max_tokens: int, stop: Sequence[str]
    ) -> Sampled:
        """One continuation.

        Raises:
            ModelUnreachableError, ModelStatusError, ModelReplyError: there is none.
        """
        body: dict[str, Any] = {"model": self.model, "prompt": list(prompt_ids), "max_tokens": max_tokens}
        body |= {"temperature": temperature, "logprobs": 0, "return_token_ids": True}
        if stop:
            body |= {"stop": list(stop), "include_stop_str_in_output": True}
        with boundary(ModelUnreachableError, "asking the model server", httpx.TransportError):
            answer = await self.client.post(COMPLETIONS, json=body)
        if answer.status_code != httpx.codes.OK:
            raise ModelStatusError(
                f"{COMPLETIONS} answered {answer.status_code}: {answer.text[:300]}", status=answer.status_code
            )
        return sampled_of(answer)


def sampled_of(answer: httpx.Response) -> Sampled:
    """
    Raises:
        ModelReplyError: ids or log-probabilities are missing, or one of them is cut off.
    """
    try:
        choice = answer.json()["choices"][0]
        ids = tuple(int(one) for one in choice["token_ids"])
        logprobs = tuple(float(one) for one in choice["logprobs"]["token_logprobs"])
        told = str(choice["finish_reason"])
    except (LookupError, TypeError, ValueError) as cause:
        raise ModelReplyError(f"{COMPLETIONS}: {cause!r}", raw=answer.text[:500]) from None
    if len(ids) != len(logprobs):
        raise ModelReplyError(
            f"{len(ids)} token ids came with {len(logprobs)} log-probabilities", raw=answer.text[:500]
        )
    finish: Finish = "length" if told == "length" else "stop" if told == "stop" else "aborted"
    return Sampled(ids, logprobs, finish)


@dataclass(frozen=True)
class ServedPolicy:
    """One version: a name that the server knows, or can be told from the folder."""

    pool: AdapterPool
    renderer: Renderer
    model: str
    """Served name: of the adapter, or of the base model."""
    folder: Path | None = None
    """Of the adapter; None is the base model."""
    how: Writing = field(default_factory=Writing)

    async def ready(self) -> None:
        """Have the server load it.

        Raises:
            ModelUnreachableError, ModelReplyError: it did not.
        """
        if self.folder is not None:
            await self.pool.hold(self.model, self.folder)

    async def sample(self, prompt: str, n: int) -> tuple[Rollout, ...]:
        """`n` replies. A server that was started anew is told the adapter again.

        Raises:
            ModelError: it failed.
        """
        await self.ready()
        sampler = VllmSampler(self.pool.client, self.model)
        try:
            return await replies(sampler, self.renderer, prompt, n, self.how)
        except ModelStatusError as cause:
            if self.folder is None or cause.status != httpx.codes.NOT_FOUND:
                raise
        self.pool.forget(self.model)
        await self.ready()
        return await replies(sampler, self.renderer, prompt, n, self.how)

    def save(self, folder: Path) -> None:
        """The adapter's files; nothing for the base model."""
        if self.folder is not None:
            shutil.copytree(self.folder, folder, dirs_exist_ok=True)


def digest_of(folder: Path, namespace: str) -> str:
    """The served name of an adapter: of its namespace and its weights, so that no two contents share one."""
    mark = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()[:12]
    return adapter_name(namespace, mark)
