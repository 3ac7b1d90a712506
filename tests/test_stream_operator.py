"""What whoever runs a streaming trainer meets: clients that vanish, a reward function that fails, what /health says."""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx
import pytest

from mia_skill.core.asgi import Refusal
from mia_skill.core.errors import InputError, TrainingError
from training.groups import Group
from training.policy_store import Policy, ScriptedLearner
from training.reward_function import Reward, RewardFailed, file_reward, same_text, url_reward
from training.stream import StreamTrainer
from training.stream_service import stream_service

GOOD = [1.0, 0.0]
Make = Callable[..., StreamTrainer]


def client(one: StreamTrainer, reward: Reward = same_text) -> httpx.AsyncClient:
    app = stream_service(one, reward=reward, hosts=["127.0.0.1"])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1")


async def test_samples_that_nobody_ever_rewards_make_room_for_others_after_a_while(trainer: Make) -> None:
    now = [1000.0]
    one = trainer(most_waiting=2, patience_s=60.0, clock=lambda: now[0])
    silent = await one.sample("silent", "?")
    now[0] += 30
    fed = await one.sample("fed", "?")
    one.feedback("fed", fed.ticket, GOOD)
    with pytest.raises(Refusal, match="let go after 60 s") as caught:
        await one.sample("new", "?")
    assert caught.value.status == 429
    now[0] += 40
    again = trainer(most_waiting=2, patience_s=60.0, clock=lambda: now[0])
    assert (await again.sample("new", "?")).version == 0
    assert again.feedback("silent", silent.ticket, GOOD) == "late"
    assert (again.state["let_go"], [group.key for group in again.ready]) == (1, ["fed"])
    assert trainer().state["let_go"] == 1


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("def reward(question, reply, gold):\n    return 1 / 0\n", "division by zero"),
        ("def reward(question, reply, gold):\n    return 'good'\n", "gave 'good': a finite number is needed"),
        ("def reward(question, reply, gold):\n    return float('nan')\n", "a finite number is needed"),
        ("async def reward(question, reply, gold):\n    return {}['x']\n", "'x'"),
    ],
)
async def test_a_reward_function_that_fails_denies_nobody_an_answer_and_is_told_by_health(
    trainer: Make, tmp_path: Path, body: str, told: str
) -> None:
    (tmp_path / "mine.py").write_text(body)
    one = trainer()
    asked = {"rollout": {"data_id": "d", "question": "is it?"}}
    async with client(one, file_reward(tmp_path / "mine.py")) as http:
        await http.post("/register_gts", json={"entries": [{"data_id": "d", "ground_truth": "yes"}]})
        answer = await http.post("/submit_sample", json=asked)
        assert (answer.status_code, answer.json()["texts"], answer.json()["rewards"]) == (
            200,
            ["yes", "no"],
            [None] * 2,
        )
        health = (await http.get("/health")).json()
        assert (health["status"], health["unscored"], health["waiting"]) == ("degraded", 1, 1)
        assert "mine.py" in health["reward_failure"]
        assert told in health["reward_failure"]
        scored = await http.post("/compute_gt_reward", json={"data_id": "d", "solution_str": "x"})
        assert (scored.status_code, one.updates) == (502, 0)
    async with client(one) as mended:
        await mended.post("/register_gts", json={"entries": [{"data_id": "d", "ground_truth": "yes"}]})
        assert (await mended.post("/submit_sample", json=asked)).json()["rewards"] == GOOD
        health = (await mended.get("/health")).json()
        assert (health["status"], health["global_steps"], health["recent_reward"]) == ("ok", 1, 0.5)


async def test_a_reward_function_may_be_async_and_may_leave_a_reply_out(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "async def reward(question, reply, gold):\n    return reply == gold if reply else None\n"
    )
    mine = file_reward(tmp_path / "mine.py")
    assert [await mine("?", reply, "a") for reply in ("a", "b", "")] == [1.0, 0.0, None]


def test_a_reward_file_that_does_not_load_is_told_before_anything_is_served(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def reward(:\n")
    with pytest.raises(InputError, match="invalid syntax"):
        file_reward(tmp_path / "mine.py")
    with pytest.raises(InputError, match=r"none\.py"):
        file_reward(tmp_path / "none.py")


async def test_a_reward_service_that_is_down_is_told_and_never_quietly_nothing() -> None:
    with pytest.raises(RewardFailed, match="the reward service at"):
        await url_reward("http://127.0.0.1:9")("?", "a", "a")


async def test_a_sample_is_rewarded_once_however_often_it_is_sent(trainer: Make) -> None:
    said = iter([1.0, 0.0])

    async def moody(_question: str, _reply: str, _gold: str) -> float:
        return next(said)

    async with client(trainer(groups_per_update=2), moody) as http:
        await http.post("/register_gts", json={"entries": [{"data_id": "d", "ground_truth": "yes"}]})
        asked = {"rollout": {"data_id": "d", "question": "is it?"}}
        told = [(await http.post("/submit_sample", json=asked)).json()["rewards"] for _ in range(2)]
    assert told == [GOOD, GOOD]


async def test_an_update_that_fails_takes_nobodys_replies_away(trainer: Make) -> None:
    class Dies(ScriptedLearner):
        def update(self, policy: Policy, groups: Sequence[Group]) -> tuple[Policy, dict[str, float]]:
            raise TrainingError("out of memory")

    async with client(trainer(learner=Dies())) as http:
        await http.post("/register_gts", json={"entries": [{"data_id": id_, "ground_truth": "yes"} for id_ in "de"]})
        asked = {"data_id": "d", "question": "is it?"}
        told = (await http.post("/submit_sample", json={"rollout": asked})).json()
        assert (told["status"], told["texts"], told["failure"]) == ("rollout", ["yes", "no"], "out of memory")
        assert (await http.post("/submit_batch", json={"rollouts": [asked | {"data_id": "e"}]})).json()["failure"]
        health = (await http.get("/health")).json()
        assert (health["status"], health["failure"]) == ("degraded", "out of memory")


async def test_while_an_update_runs_other_samples_are_answered_over_http(trainer: Make) -> None:
    begun, go = threading.Event(), threading.Event()

    class Slowly(ScriptedLearner):
        def update(self, policy: Policy, groups: Sequence[Group]) -> tuple[Policy, dict[str, float]]:
            begun.set()
            assert go.wait(60)
            return super().update(policy, groups)

    told: list[dict[str, Any]] = []

    async def send(http: httpx.AsyncClient, id_: str) -> None:
        answer = await http.post("/submit_sample", json={"rollout": {"data_id": id_, "question": "is it?"}})
        told.append(answer.json())

    async with client(trainer(learner=Slowly())) as http, anyio.create_task_group() as group:
        golds = [{"data_id": id_, "ground_truth": "yes"} for id_ in ("first", "second", "third")]
        await http.post("/register_gts", json={"entries": golds})
        group.start_soon(send, http, "first")
        await anyio.to_thread.run_sync(begun.wait, 60)
        for id_ in ("second", "third"):
            await send(http, id_)
        assert [(one["id"], one["status"]) for one in told] == [("second", "rollout"), ("third", "rollout")]
        go.set()
    assert (told[-1]["id"], told[-1]["status"], told[-1]["serving"]) == ("first", "step", 1)


async def test_health_tells_what_is_served_what_is_under_way_and_what_is_kept(trainer: Make) -> None:
    async with client(trainer()) as http:
        await http.post("/register_gts", json={"entries": [{"data_id": "d", "ground_truth": "yes"}]})
        await http.post("/submit_sample", json={"rollout": {"data_id": "d", "question": "is it?"}})
        told = (await http.get("/health")).json()
    assert (told["model"], told["version"], told["latest"], told["kept_versions"]) == ("policy", 1, 1, [1])
    assert (told["samples"], told["under_way"], told["updating"], told["let_go"]) == (1, 0, False, 0)
    assert (told["most_waiting"], set(told["metrics"])) == (1024, {"spread"})
