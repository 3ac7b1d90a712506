"""The client of a streaming trainer: many questions at a time, each known to the server by its id."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from time import perf_counter
from typing import Any

import httpx
import orjson

from mia_skill.core.errors import InputError, TrainingError
from mia_skill.core.shown_address import shown_address

__all__ = ["Sender", "Sent", "read_questions"]

FIELDS = ("data_id", "question", "ground_truth")
OF_WORLDS = ("id", "text", "answer")
"""The same, as `mia world` names them."""
AT_ONCE = 1000
"""Gold answers registered together, right before their questions: a server takes and keeps a bounded number."""
TRIES = 5
"""After a connection that broke: a server that is started anew is back by then, or is not coming."""
PATIENCE_S = 600.0
"""Of one question, with a server that has no room: then whoever should give feedback to it is gone, and not late."""


def read_questions(file: Path) -> list[dict[str, str]]:
    """JSON lines of data_id, question and ground_truth, or those that `mia world` writes.

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
        texts = [fields for fields in (FIELDS, OF_WORLDS) if isinstance(row, dict) and all_texts(row, fields)]
        if not texts:
            raise InputError(f"{file}, line {number}: an object with the texts {', '.join(FIELDS)} is needed")
        rows.append({name: row[field] for name, field in zip(FIELDS, texts[0], strict=True)})
    if not rows:
        raise InputError(f"{file} holds no question")
    return rows


def all_texts(row: Mapping[str, object], fields: Sequence[str]) -> bool:
    """Does it hold them all?"""
    return all(isinstance(row.get(name), str) for name in fields)


@dataclass(frozen=True)
class Sent:
    """What came of a stream."""

    updates: int
    version: int
    """That is served after it."""
    seconds: float
    rewards: tuple[float, ...]
    """Of each sample that was rewarded, the mean of its replies, in the order of the answers."""
    samples: int
    unscored: int
    """Samples that were answered and not rewarded: the reward function failed, or left them out."""
    too_long: int = 0
    """Questions that fill the model's context: not answered."""

    @property
    def told(self) -> dict[str, object]:
        """All of it, for programs."""
        mean = fmean(self.rewards) if self.rewards else None
        speed = {"seconds": self.seconds, "samples_per_s": self.samples / self.seconds}
        counts = {"samples": self.samples, "updates": self.updates, "version": self.version, "unscored": self.unscored}
        counts["too_long"] = self.too_long
        return {**counts, **speed, "mean_reward": mean}

    @property
    def line(self) -> str:
        """All of it, to be read."""
        told = f"{self.samples} samples, {self.updates} updates, {self.samples / self.seconds:.1f} samples/s"
        told += f", version {self.version} is served"
        if self.rewards:
            half = (len(self.rewards) + 1) // 2
            later = self.rewards[half:] or self.rewards
            told += f", mean reward {fmean(self.rewards[:half]):.3f} in the first half and {fmean(later):.3f} after"
        told += f", {self.unscored} without a reward" if self.unscored else ""
        return told + (f", {self.too_long} too long for the model" if self.too_long else "")


@dataclass
class Sender:
    """Streams questions to one server. `told` gets a 1 for each that was answered; `sleep` is a seam for tests."""

    client: httpx.AsyncClient
    clients: int
    """Questions under way at a time: the server samples together what waits together."""
    told: Callable[[int], object]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _rewards: list[float] = field(default_factory=list, init=False)
    _too_long: int = field(default=0, init=False)

    async def send(self, rows: Sequence[Mapping[str, str]]) -> Sent:
        """Register the gold answers, stream the questions, finish.

        Raises:
            TrainingError: the server is not there, or refused; what it has answered is kept by it.
        """
        with plainly(str(self.client.base_url)):
            began, before = perf_counter(), await self._health()
            for start in range(0, len(rows), AT_ONCE):
                await self._part(rows[start : start + AT_ONCE])
            await self._post("/submit_sample", {"finish": True})
            after = await self._health()
        return Sent(
            updates=int(after["global_steps"]) - int(before["global_steps"]),
            version=int(after["version"]),
            seconds=max(perf_counter() - began, 1e-9),
            rewards=tuple(self._rewards),
            samples=len(rows) - self._too_long,
            unscored=len(rows) - self._too_long - len(self._rewards),
            too_long=self._too_long,
        )

    async def _part(self, rows: Sequence[Mapping[str, str]]) -> None:
        golds = [{"data_id": one["data_id"], "ground_truth": one["ground_truth"]} for one in rows]
        await self._post("/register_gts", {"entries": golds})
        left = iter(rows)

        async def worker() -> None:
            for row in left:
                body = {"rollout": {"data_id": row["data_id"], "question": row["question"]}}
                answer = await self._sample(body)
                known = [float(one) for one in answer.get("rewards") or () if one is not None]
                self._rewards += [fmean(known)] if known else []
                self.told(1)

        await asyncio.gather(*(worker() for _ in range(min(self.clients, len(rows)))))

    async def _sample(self, body: Mapping[str, object]) -> dict[str, Any]:
        """One question; one that is too long is counted, for it would end the stream each time it is sent."""
        try:
            return await self._post("/submit_sample", body)
        except httpx.HTTPStatusError as cause:
            if cause.response.status_code != httpx.codes.REQUEST_ENTITY_TOO_LARGE:
                raise
            self._too_long += 1
            return {}

    async def _post(self, path: str, body: Mapping[str, object]) -> dict[str, Any]:
        """The answer; a server that is full is asked again when it says so, and one that hung up a few times: every
        request may be sent twice."""
        waited, broken = 0.0, 0
        while True:
            try:
                answer = await self.client.post(path, json=body)
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and "retry-after" in answer.headers:
                    answer.raise_for_status()  # it was stopped meanwhile
            except (httpx.TransportError, httpx.HTTPStatusError):
                broken += 1
                if broken > TRIES:
                    raise
                await self.sleep(1.0)
                continue
            if answer.status_code != httpx.codes.TOO_MANY_REQUESTS or waited >= PATIENCE_S:
                told: dict[str, Any] = answer.raise_for_status().json()
                return told
            later = answer.headers.get("retry-after", "")
            pause = float(later) if later.isdecimal() else 1.0
            await self.sleep(pause)
            waited += pause

    async def _health(self) -> dict[str, Any]:
        told: dict[str, Any] = (await self.client.get("/health")).raise_for_status().json()
        return told


@contextmanager
def plainly(url: str) -> Iterator[None]:
    """What httpx raises, as ours, with what to do."""
    url = shown_address(url)
    try:
        yield
    except httpx.HTTPStatusError as cause:
        raise TrainingError(f"{url} answered {cause.response.status_code}: {cause.response.text[:300]}") from cause
    except httpx.TransportError as cause:
        start = "start it with `mia stream serve`, then send again: what was answered is known to it"
        raise TrainingError(f"no streaming trainer answers at {url} ({cause}): {start}") from cause
