"""The client of a streaming trainer: long streams, servers that are full, and what came of it all."""

from pathlib import Path

import httpx
import orjson
import pytest

from mia_skill.core.errors import TrainingError
from training.groups import Rollout
from training.policy import ContextFull
from training.policy_store import ScriptedLearner
from training.stream import StreamTrainer
from training.stream_client import Sender
from training.stream_forms import Golds
from training.stream_service import stream_service


def rows(count: int) -> list[dict[str, str]]:
    return [{"data_id": f"d{n}", "question": f"is it {n}?", "ground_truth": "no"} for n in range(count)]


def unseen(_one: int) -> None:
    """Nobody looks at the progress."""


async def never(_pause: float) -> None:
    raise AssertionError("nobody has to wait here")


async def test_a_server_that_is_full_is_asked_again_when_it_says_so() -> None:
    asked: list[str] = []
    pauses: list[float] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path == "/health":
            return httpx.Response(200, json={"global_steps": 0, "version": 0})
        if asked.count("/submit_sample") in (1, 2) and request.url.path == "/submit_sample":
            return httpx.Response(429, headers={"retry-after": "7"})
        return httpx.Response(200, json={"rewards": [1.0, 0.0]})

    async def wait(pause: float) -> None:
        pauses.append(pause)

    shown: list[int] = []
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://127.0.0.1") as client:
        done = await Sender(client, 4, shown.append, wait).send(rows(1))
    assert pauses == [7.0, 7.0]
    assert shown == [1]
    assert (done.samples, done.rewards, done.unscored) == (1, (0.5,), 0)


async def test_a_connection_that_breaks_is_tried_again_and_one_that_stays_broken_ends_it_with_the_way_on() -> None:
    asked: list[str] = []
    most = [2]

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path == "/submit_sample" and asked.count("/submit_sample") <= most[0]:
            raise httpx.ReadError("the server hung up")
        return httpx.Response(200, json={"global_steps": 0, "version": 0, "rewards": [1.0]})

    pauses: list[float] = []

    async def wait(pause: float) -> None:
        pauses.append(pause)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://127.0.0.1") as client:
        assert (await Sender(client, 1, unseen, wait).send(rows(1))).rewards == (1.0,)
        assert len(pauses) == 2
        most[0] = 1000
        with pytest.raises(TrainingError, match="then send again"):
            await Sender(client, 1, unseen, wait).send(rows(1))


async def test_a_stream_longer_than_what_a_server_takes_at_once_is_sent_whole(tmp_path: Path) -> None:
    most = next(one.max_length for one in Golds.model_fields["entries"].metadata if hasattr(one, "max_length"))
    trainer = StreamTrainer(tmp_path, ScriptedLearner(), groups_per_update=5000, width=1)
    registered: list[int] = []

    class Counting(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            if request.url.path == "/submit_sample":
                return httpx.Response(200, json={"rewards": [1.0]})
            answer = await super().handle_async_request(request)
            if request.url.path == "/register_gts":
                assert answer.status_code == 200
                registered.append(int(orjson.loads(await answer.aread())["registered"]))
            return answer

    service = stream_service(trainer, hosts=["127.0.0.1"])
    async with httpx.AsyncClient(transport=Counting(app=service), base_url="http://127.0.0.1") as client:
        done = await Sender(client, 64, unseen, never).send(rows(most + 1))
    trainer.close()
    assert sum(registered) == done.samples == most + 1


async def test_the_line_tells_of_samples_that_nobody_could_reward(tmp_path: Path) -> None:
    trainer = StreamTrainer(tmp_path, ScriptedLearner(), groups_per_update=1, width=2)

    async def nothing(_question: str, _reply: str, _gold: str) -> None:
        """Leaves every reply out."""

    service = stream_service(trainer, reward=nothing, hosts=["127.0.0.1"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=service), base_url="http://127.0.0.1") as client:
        done = await Sender(client, 2, unseen, never).send(rows(3))
    trainer.close()
    assert done.line.startswith("3 samples, 0 updates, ")
    assert done.line.endswith("version 0 is served, 3 without a reward")


async def test_a_question_that_is_too_long_is_counted_and_the_others_are_streamed(tmp_path: Path) -> None:
    trainer = StreamTrainer(tmp_path, ScriptedLearner(), groups_per_update=1, width=2)
    sample = trainer.policy.sample

    async def short(prompt: str, n: int) -> tuple[Rollout, ...]:
        if prompt == "is it 1?":
            raise ContextFull("9 tokens fill the context of 8")
        return await sample(prompt, n)

    trainer.policy.sample = short  # type: ignore[method-assign]
    service = stream_service(trainer, hosts=["127.0.0.1"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=service), base_url="http://127.0.0.1") as client:
        refused = await client.post("/submit_sample", json={"rollout": {"data_id": "d1", "question": "is it 1?"}})
        done = await Sender(client, 1, unseen, never).send(rows(3)[1:])
    trainer.close()
    assert (refused.status_code, refused.json()["error"][:42]) == (413, "the question is too long: 9 tokens fill th")
    assert (done.samples, done.unscored, done.told["too_long"]) == (1, 0, 1)
    assert done.line.endswith(", 1 too long for the model")


async def test_a_server_that_is_stopped_meanwhile_is_asked_again_like_a_connection_that_broke() -> None:
    answers = [httpx.Response(503, headers={"retry-after": "1"}), httpx.Response(200, json={"rewards": [1.0]})]

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/submit_sample" and answers:
            return answers.pop(0)
        return httpx.Response(200, json={"global_steps": 0, "version": 0})

    pauses: list[float] = []

    async def wait(pause: float) -> None:
        pauses.append(pause)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://127.0.0.1") as client:
        assert (await Sender(client, 1, unseen, wait).send(rows(1))).rewards == (1.0,)
    assert pauses == [1.0]
