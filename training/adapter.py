"""LoRA adapters as folders that vLLM loads, and their hot swap in a running server (its dynamic adapter endpoints)."""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
import numpy as np
import orjson
from numpy.typing import NDArray

from mia_skill.core.errors import InputError, ModelReplyError, ModelUnreachableError, boundary
from mia_skill.core.writing import writing

__all__ = ["AdapterPool", "AdapterSwap", "adapter_name", "write_adapter"]

Tensor = NDArray[np.float32]
SAFE = re.compile(r"[^\w.-]")


def write_adapter(folder: Path, tensors: Mapping[str, Tensor], *, rank: int, alpha: float, base: str) -> None:
    """`adapter_config.json` and `adapter_model.safetensors` in a folder that is renamed into place when it is whole.

    Tensors are named as peft names them: `base_model.model.<module>.lora_A.weight` [rank, in], `lora_B` [out, rank].

    Raises:
        InputError: a value is not finite, or the folder is there already: a version is never written over.
        UnwritableError: it cannot be written.
    """
    if folder.exists() or not all(np.isfinite(one).all() for one in tensors.values()):
        raise InputError("an adapter is written once, and of finite numbers")
    targets = sorted({name.split(".lora_")[0].rpartition(".")[2] for name in tensors})
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base, "bias": "none"}
    told = config | {"r": rank, "lora_alpha": alpha, "lora_dropout": 0.0, "target_modules": targets}
    with writing("the adapter"):
        partial = folder.with_name(f"{folder.name}.partial")
        partial.mkdir(parents=True, exist_ok=True)
        (partial / "adapter_config.json").write_bytes(orjson.dumps(told))
        (partial / "adapter_model.safetensors").write_bytes(packed(tensors))
        partial.rename(folder)


def packed(tensors: Mapping[str, Tensor]) -> bytes:
    """The safetensors form: length of the header, header as JSON, the numbers."""
    header: dict[str, object] = {}
    at, parts = 0, []
    for name, tensor in tensors.items():
        body = np.ascontiguousarray(tensor, dtype="<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [at, at + len(body)]}
        at += len(body)
        parts.append(body)
    head = orjson.dumps(header)
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + b"".join(parts)


@dataclass
class AdapterPool:
    """The adapters that a server holds, by name; the one asked for longest ago is given back. A name stands for one
    content, so what a server knows already need not be loaded again."""

    client: httpx.AsyncClient
    """Its base address is the server's, without `/v1`."""
    most: int = 8
    held: dict[str, Path] = field(default_factory=dict)
    _lock: anyio.Lock = field(default_factory=anyio.Lock, repr=False)

    async def hold(self, name: str, folder: Path) -> None:
        """Have the server know the adapter of a folder by this name.

        Raises:
            ModelUnreachableError, ModelReplyError: it was not loaded.
        """
        async with self._lock:
            if name in self.held:
                self.held[name] = self.held.pop(name)
                return
            await load_adapter(self.client, name, folder, again=True)
            self.held[name] = folder
            while len(self.held) > self.most:
                oldest = next(iter(self.held))
                del self.held[oldest]
                await unload_adapter(self.client, oldest)

    def forget(self, name: str) -> None:
        """The server does not know it any more: it was started anew."""
        self.held.pop(name, None)


@dataclass
class AdapterSwap:
    """The adapter that each namespace is served with. The new one is loaded before its name is handed out, and the
    one before the last is unloaded after: a request under way finishes on what it began with."""

    client: httpx.AsyncClient
    """Its base address is the server's, without `/v1`."""
    base: str
    """Served name of the model without adapter."""
    current: dict[str, str] = field(default_factory=dict)
    before: dict[str, str] = field(default_factory=dict)
    _lock: anyio.Lock = field(default_factory=anyio.Lock, repr=False)

    def model(self, namespace: str) -> str:
        """The name to ask for: the namespace's adapter, or the base."""
        return self.current.get(namespace, self.base)

    async def swap(self, namespace: str, version: int, folder: Path) -> str:
        """Serve a namespace with the adapter in a folder.

        Raises:
            ModelUnreachableError, ModelReplyError: it was not loaded; the old one is served on.
        """
        name = adapter_name(namespace, f"v{version}")
        async with self._lock:
            await load_adapter(self.client, name, folder)
            old = self.before.get(namespace)
            self.before[namespace], self.current[namespace] = self.model(namespace), name
            if old not in (None, self.base):
                await unload_adapter(self.client, str(old))
        return name


def adapter_name(namespace: str, mark: str) -> str:
    """A served name that no other namespace has."""
    digest = hashlib.sha256(namespace.encode()).hexdigest()[:8]
    return f"{SAFE.sub('-', namespace)[:32]}-{digest}-{mark}"


async def load_adapter(client: httpx.AsyncClient, name: str, folder: Path, *, again: bool = False) -> None:
    """Have a vLLM server load an adapter; `again`: in the place of one that it knows by this name from before.

    Raises:
        ModelUnreachableError, ModelReplyError: it did not.
    """
    path, body = "/v1/load_lora_adapter", {"lora_name": name, "lora_path": located(folder)}
    answer = await post(client, path, body)
    if again and answer.status_code == httpx.codes.BAD_REQUEST and "already been loaded" in answer.text:
        await unload_adapter(client, name)
        answer = await post(client, path, body)
    refuse(path, answer)


async def unload_adapter(client: httpx.AsyncClient, name: str) -> None:
    """Have the server forget a name.

    Raises:
        ModelUnreachableError, ModelReplyError: it did not.
    """
    path = "/v1/unload_lora_adapter"
    answer = await post(client, path, {"lora_name": name})
    if answer.status_code != httpx.codes.NOT_FOUND:
        refuse(path, answer)


async def post(client: httpx.AsyncClient, path: str, body: dict[str, str]) -> httpx.Response:
    with boundary(ModelUnreachableError, f"{path} of the model server", httpx.TransportError):
        return await client.post(path, json=body)


def refuse(path: str, answer: httpx.Response) -> None:
    if answer.status_code != httpx.codes.OK:
        hint = "start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
        raise ModelReplyError(f"{path}: status {answer.status_code}; {hint}", raw=answer.text[:500])


def located(folder: Path) -> str:
    """Where the server finds it, whatever its own working folder."""
    return os.path.abspath(folder)
