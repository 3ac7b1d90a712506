"""Adapter hot swap in a running vLLM: seconds from update to serving, and throughput while swapping. No network.

    python benchmarks/lora_swap.py --url http://127.0.0.1:8100 --model FOLDER [--swaps 10] [--requests 24]

`mia models print` shows how to start the server. Adapters are random, of rank 8, on the attention of every layer.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import anyio
import httpx
import numpy as np
import orjson

from training.adapter import AdapterSwap, Tensor, write_adapter

RANK = 8


def tensors(model: Path, seed: int) -> dict[str, Tensor]:
    """A random adapter of `q_proj` and `v_proj`."""
    config = orjson.loads((model / "config.json").read_bytes())
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    size = config.get("head_dim") or hidden // heads
    rng = np.random.default_rng(seed)
    made: dict[str, Tensor] = {}
    for layer in range(config["num_hidden_layers"]):
        for module, out in (("q_proj", heads * size), ("v_proj", config["num_key_value_heads"] * size)):
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            made[f"{name}.lora_A.weight"] = rng.normal(0, 0.2, (RANK, hidden)).astype(np.float32)
            made[f"{name}.lora_B.weight"] = rng.normal(0, 0.2, (out, RANK)).astype(np.float32)
    return made


async def ask(client: httpx.AsyncClient, model: str) -> str:
    body = {"model": model, "prompt": "The capital of France is", "max_tokens": 16, "temperature": 0}
    answer = await client.post("/v1/completions", json=body)
    return str(answer.raise_for_status().json()["choices"][0]["text"])


async def throughput(swap: AdapterSwap, count: int) -> float:
    """Requests a second, four at a time."""
    began = time.monotonic()
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await ask(swap.client, swap.model("bench"))

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(worker)
    return count / (time.monotonic() - began)


async def measure(url: str, model: Path, swaps: int, requests: int) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=300, trust_env=False) as client:
        served = (await client.get("/v1/models")).json()["data"][0]["id"]
        swap, seconds, texts = AdapterSwap(client, served), [], {await ask(client, served)}
        mark = int(time.time())
        with tempfile.TemporaryDirectory() as folder:

            async def one(number: int) -> None:
                began = time.monotonic()
                place = Path(folder) / f"v{number}"
                write_adapter(place, tensors(model, number), rank=RANK, alpha=16, base=str(model))
                await swap.swap("bench", mark + number, place)
                texts.add(await ask(client, swap.model("bench")))
                seconds.append(time.monotonic() - began)

            for number in range(swaps):
                await one(number)
            alone = list(seconds)
            still = await throughput(swap, requests)
            stop = anyio.Event()

            async def swapping() -> None:
                number = swaps
                while not stop.is_set():
                    await one(number)
                    number += 1

            async with anyio.create_task_group() as group:
                group.start_soon(swapping)
                moving = await throughput(swap, requests)
                stop.set()
        print(
            f"update to first answer: median {statistics.median(alone):.2f} s, max {max(alone):.2f} s ({swaps} swaps)"
        )
        print(f"requests/s at rest {still:.2f}, while swapping on and on {moving:.2f} ({len(seconds) - swaps} swaps)")
        print(f"different answers of the versions: {len(texts)}")


def main() -> None:
    """Print three lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--swaps", type=int, default=10)
    parser.add_argument("--requests", type=int, default=24)
    given = parser.parse_args()
    anyio.run(measure, given.url, given.model, given.swaps, given.requests)


if __name__ == "__main__":
    main()
