"""A vLLM server under load, alone and while a Planner's LoRA adapter is trained and swapped in beside it. No network.

    python -m benchmarks.learn_while_serving --url http://127.0.0.1:8100 --model FOLDER [--device cuda] [--seconds 20]

Clients in a process of their own ask without pause, each request for whatever adapter is current. In the second half
this process samples, rewards, takes GRPO steps on the adapter and has the server load it, over and over. Printed: what
was served in both halves, what an update is made of, and the seconds from its end to the first answer of the new
version. The reward is the share of vowels: any reward that differs between replies moves the weights.
"""

import argparse
import asyncio
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import orjson

PROMPTS = ("Plan in three steps how to find who founded a town.", "Name three rivers.", "How is glass made?")


async def load(url: str, current: Path, seconds: float, clients: int, tokens: int) -> dict[str, float]:
    """What `clients` that never pause get in that time. A refused request is counted and not tried again."""
    end, took, written, refused = time.monotonic() + seconds, [], 0, 0
    names: set[str] = set()
    limits = httpx.Limits(max_connections=clients)

    async def one(client: httpx.AsyncClient, number: int) -> None:
        nonlocal written, refused
        while time.monotonic() < end:
            began, name = time.monotonic(), served(current)
            body = {"model": name, "prompt": PROMPTS[number % 3], "max_tokens": tokens, "temperature": 1.0}
            answer = await client.post("/v1/completions", json=body | {"ignore_eos": True})
            if answer.status_code != httpx.codes.OK:
                refused += 1
                continue
            names.add(name)
            took.append(time.monotonic() - began)
            written += answer.json()["usage"]["completion_tokens"]

    began = time.monotonic()
    async with httpx.AsyncClient(base_url=url, timeout=120, trust_env=False, limits=limits) as client:
        await asyncio.gather(*(one(client, number) for number in range(clients)))
    wall = time.monotonic() - began
    cuts = statistics.quantiles(took, n=20) if len(took) > 1 else [math.nan] * 19
    figures = {"requests_s": len(took) / wall, "tokens_s": written / wall, "refused": refused, "versions": len(names)}
    return figures | {"requests": len(took), "median_s": statistics.median(took or [math.nan]), "p95_s": cuts[18]}


def started(url: str, current: Path, given: argparse.Namespace) -> "subprocess.Popen[bytes]":
    """The clients."""
    command = [sys.executable, "-m", "benchmarks.learn_while_serving", "--url", url, "--load", str(current)]
    command += ["--seconds", str(given.seconds), "--clients", str(given.clients), "--tokens", str(given.tokens)]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


def told(process: "subprocess.Popen[bytes]") -> dict[str, float]:
    """What they measured."""
    out, _ = process.communicate()
    figures: dict[str, float] = orjson.loads(out)
    return figures


async def learn(
    updater: Any, current: Path, busy: "subprocess.Popen[bytes] | Once", groups: int
) -> list[dict[str, float]]:
    """Updates until the clients end: seconds of each part of one."""
    from training.groups import Group

    rows = []
    while busy.poll() is None:
        at = [time.monotonic()]
        wrote = await asyncio.gather(*(updater.policy.sample(PROMPTS[n % 3], 4) for n in range(groups)))
        at.append(time.monotonic())
        made = [
            Group(key=str(n), prompt=PROMPTS[n % 3], rollouts=tuple(rewarded(one, k) for k, one in enumerate(replies)))
            for n, replies in enumerate(wrote)
        ]
        stats = await updater.update(made)
        at.append(time.monotonic())
        serve(current, updater.policy.model)
        await updater.policy.sample("Say one word.", 1)
        at.append(time.monotonic())
        parts = {name: at[n + 1] - at[n] for n, name in enumerate(("sample_s", "update_s", "first_answer_s"))}
        rows.append(parts | {"step_s": stats.metrics["seconds"], "drift": stats.metrics["drift"]})
    return rows


def served(current: Path) -> str:
    """The name to ask for."""
    return current.read_text()


def serve(current: Path, name: str) -> None:
    """Have the clients ask for another one, from their next request on."""
    current.with_suffix(".partial").write_text(name)
    current.with_suffix(".partial").replace(current)


def rewarded(one: Any, place: int) -> Any:
    """The share of vowels; the place makes equals differ."""
    share = sum(letter in "aeiou" for letter in one.text) / max(1, len(one.text))
    return one.model_copy(update={"reward": share + place / 1000})


async def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Both halves."""
    from training.adapter import AdapterPool
    from training.lora import AdapterLearner
    from training.policy_store import PolicyStore
    from training.replies import Writing
    from training.updaters import PolicyUpdater

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with httpx.AsyncClient(base_url=given.url, timeout=300, trust_env=False) as client:
            base = (await client.get("/v1/models")).json()["data"][0]["id"]
            how = Writing(max_tokens=given.tokens, context=2048)
            pool = AdapterPool(client, most=4)
            learner = AdapterLearner(
                given.model, pool, base, folder / "work", f"bench{int(time.time())}", given.device, 1e-4, 8, how
            )
            updater = PolicyUpdater("lora", learner, PolicyStore(folder / "kept", learner))
            current = folder / "current"
            serve(current, base)
            first = await learn(updater, current, Once(), given.groups)  # loads model and adapter, so it is not counted
            serve(current, base)
            rest = await asyncio.to_thread(told, started(given.url, current, given))
            serve(current, updater.policy.model)
            steady = await asyncio.to_thread(told, started(given.url, current, given))
            clients = started(given.url, current, given)
            rows = await learn(updater, current, clients, given.groups)
            moving = told(clients)
    kept = moving["tokens_s"] / steady["tokens_s"]
    return {"base": rest, "adapter": steady, "learning": moving, "throughput_kept": kept, "first": first, "rows": rows}


class Once:
    """A process that has one round to live."""

    def __init__(self) -> None:
        self._polls = 0

    def poll(self) -> int | None:
        """None at first."""
        self._polls += 1
        return None if self._polls == 1 else 0


def show(got: dict[str, Any]) -> None:
    """The table."""
    for name in ("base", "adapter", "learning"):
        one = got[name]
        rates = f"{one['requests_s']:8.2f} requests/s {one['tokens_s']:9.1f} tokens/s"
        times = f"median {one['median_s']:.3f} s  p95 {one['p95_s']:.3f} s"
        print(f"{name:9} {rates}  {times}  versions {one['versions']:.0f}  refused {one['refused']:.0f}")
    print(f"throughput kept while learning: {got['throughput_kept']:.3f} of that with one adapter")
    for name in ("sample_s", "update_s", "step_s", "first_answer_s", "drift"):
        values = [row[name] for row in got["rows"]] or [math.nan]
        print(f"{name:15} median {statistics.median(values):.3f}  max {max(values):.3f}  ({len(got['rows'])} updates)")


def main() -> None:
    """Print the table, or the load's figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--groups", type=int, default=8, help="Groups of four replies an update.")
    parser.add_argument("--out", type=Path, help="Also write the figures here, as JSON.")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.load:
        figures = asyncio.run(load(given.url, given.load, given.seconds, given.clients, given.tokens))
        sys.stdout.buffer.write(orjson.dumps(figures))
        return
    if given.model is None:
        parser.error("--model is needed: the folder that the server serves")
    got = asyncio.run(measure(given))
    if given.out:
        given.out.write_bytes(orjson.dumps(got, option=orjson.OPT_INDENT_2))
    show(got)


if __name__ == "__main__":
    main()
