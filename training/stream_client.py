"""The client of a streaming trainer: many questions at a time, each known to the server by its id."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import orjson

from mia_skill.core.errors import InputError, TrainingError

__all__ = ["read_questions", "send"]

FIELDS = ("data_id", "question", "ground_truth")


def read_questions(file: Path) -> list[dict[str, str]]:
    """JSON lines of data_id, question and ground_truth.

    Raises:
        InputError: a line is no such object, or no line is; the message names the first bad one.
    """
    rows = []
    for number, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as cause:
            raise InputError(f"{file}, line {number}: no JSON: {cause}") from cause
        if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in FIELDS):
            raise InputError(f"{file}, line {number}: an object with the texts {', '.join(FIELDS)} is needed")
        rows.append({name: row[name] for name in FIELDS})
    if not rows:
        raise InputError(f"{file} holds no question")
    return rows


async def send(
    rows: Sequence[Mapping[str, str]], client: httpx.AsyncClient, clients: int, told: Callable[[int], object]
) -> int:
    """Register the gold answers, stream the questions, finish. Returns the updates that were made meanwhile.

    `clients` questions are under way at a time: the server samples together what waits together. `told` gets a 1 for
    each that was answered.

    Raises:
        TrainingError: the server is not there, or refused; what it has answered is kept by it.
    """
    with plainly(str(client.base_url)):
        before = await updates(client)
        golds = [{"data_id": one["data_id"], "ground_truth": one["ground_truth"]} for one in rows]
        (await client.post("/register_gts", json={"entries": golds})).raise_for_status()
        left = iter(rows)

        async def worker() -> None:
            for row in left:
                body = {"rollout": {"data_id": row["data_id"], "question": row["question"]}}
                (await client.post("/submit_sample", json=body)).raise_for_status()
                told(1)

        await asyncio.gather(*(worker() for _ in range(min(clients, len(rows)))))
        (await client.post("/submit_sample", json={"finish": True})).raise_for_status()
        return await updates(client) - before


async def updates(client: httpx.AsyncClient) -> int:
    """That the server has made so far."""
    answer = (await client.get("/health")).raise_for_status().json()
    return int(answer["global_steps"])


@contextmanager
def plainly(url: str) -> Iterator[None]:
    """What httpx raises, as ours, with what to do."""
    try:
        yield
    except httpx.HTTPStatusError as cause:
        raise TrainingError(f"{url} answered {cause.response.status_code}: {cause.response.text[:300]}") from cause
    except httpx.TransportError as cause:
        start = "start it with `mia stream serve`, then send again: what was answered is known to it"
        raise TrainingError(f"no streaming trainer answers at {url}: {start}") from cause
