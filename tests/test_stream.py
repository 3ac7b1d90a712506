"""The streaming trainer: nothing acknowledged is lost, no feedback counts twice, no version is served by half."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import httpx
import pytest

from mia_skill.core.asgi import Refusal
from mia_skill.core.errors import BankCorruptError, InputError, ModelUnreachableError
from training.groups import Group, Rollout
from training.journal import Journal
from training.policy_store import Policy, ScriptedLearner, ScriptedPolicy
from training.reward_function import file_reward
from training.stream import StreamTrainer
from training.stream_service import stream_service

GOOD = [1.0, 0.0]


Make = Callable[..., StreamTrainer]


async def learn(one: StreamTrainer, id_: str, rewards: Sequence[float | None] = GOOD) -> bool:
    made = await one.sample(id_, f"is {id_}?")
    one.feedback(id_, made.ticket, rewards)
    return await one.update()


async def test_an_update_changes_the_next_answer_and_its_version(trainer: Make) -> None:
    one = trainer()
    assert (await one.sample("a", "?")).version == 0
    assert await learn(one, "b", [0.0, 1.0])
    after = await one.sample("c", "?")
    assert (after.version, after.texts[0]) == (1, "no")


async def test_a_request_under_way_finishes_on_the_weights_it_began_with(trainer: Make) -> None:
    begun, go = anyio.Event(), anyio.Event()

    class Slow(ScriptedPolicy):
        async def sample(self, prompt: str, n: int) -> tuple[Rollout, ...]:
            if prompt == "slow":
                begun.set()
                await go.wait()
            return await super().sample(prompt, n)

    class Slowly(ScriptedLearner):
        def start(self) -> ScriptedPolicy:
            return Slow({"yes": 0.0, "no": 0.0})

    one = trainer(Slowly())
    async with anyio.create_task_group() as group:
        group.start_soon(one.sample, "s", "slow")
        await begun.wait()
        assert await learn(one, "b", [0.0, 1.0])
        go.set()
    old = await one.sample("s", "slow")
    assert (old.version, old.texts[0], one.version) == (0, "yes", 1)


async def test_duplicate_late_conflicting_and_forged_feedback_are_told_apart(trainer: Make) -> None:
    one = trainer()
    made = await one.sample("a", "?")
    assert one.feedback("a", made.ticket, GOOD) == "accepted"
    assert one.feedback("a", made.ticket, GOOD) == "duplicate"
    for id_, ticket, rewards, status in (
        ("a", made.ticket, [0.0, 1.0], 409),
        ("a", "forged", GOOD, 403),
        ("b", made.ticket, GOOD, 403),
    ):
        with pytest.raises(Refusal) as caught:
            one.feedback(id_, ticket, rewards)
        assert caught.value.status == status
    await one.update()
    assert one.feedback("a", made.ticket, GOOD) == "duplicate"
    assert one.updates == 1
    with pytest.raises(InputError):
        one.feedback("a", made.ticket, [1.0])


async def test_feedback_that_never_comes_holds_nothing_up_and_unjudged_replies_move_nothing(trainer: Make) -> None:
    one = trainer()
    await one.sample("silent", "?")
    assert not await one.update()
    assert await learn(one, "b", [None, 1.0])
    assert isinstance(one.policy, ScriptedPolicy)
    assert set(one.policy.weights.values()) == {0.0}


async def test_too_many_waiting_samples_are_refused_until_some_are_learnt(trainer: Make) -> None:
    one = trainer(most_waiting=1)
    made = await one.sample("a", "?")
    with pytest.raises(Refusal) as caught:
        await one.sample("b", "?")
    assert caught.value.status == 429
    one.feedback("a", made.ticket, GOOD)
    await one.update()
    assert (await one.sample("b", "?")).version == 1


async def test_an_update_that_dies_leaves_policy_and_groups_as_they_were(trainer: Make) -> None:
    class Dies(ScriptedLearner):
        def update(self, policy: Policy, groups: Sequence[Group]) -> tuple[Policy, dict[str, float]]:
            raise ModelUnreachableError("gone")

    one = trainer(Dies())
    before = one.policy
    with pytest.raises(ModelUnreachableError):
        await learn(one, "a")
    assert (one.policy is before, one.version, len(one.ready)) == (True, 0, 1)


async def test_a_version_that_the_canary_refuses_is_never_served(trainer: Make) -> None:
    async def canary(policy: Policy) -> float:
        return float((await policy.sample("?", 1))[0].text == "yes")

    one = trainer(canary=canary)
    assert not await learn(one, "poison", [0.0, 1.0])
    assert (one.version, one.refused, (await one.sample("b", "?")).texts[0]) == (0, 1, "yes")


async def test_a_rollback_holds_over_a_restart_and_later_versions_get_new_numbers(trainer: Make) -> None:
    one = trainer()
    for id_ in ("a", "b"):
        await learn(one, id_)
    await one.rollback(1)
    again = trainer()
    assert (again.version, again.updates) == (1, 2)
    await learn(again, "c")
    assert again.version == 3
    with pytest.raises(InputError):
        await again.rollback(9)


def test_a_torn_last_line_is_dropped_and_an_earlier_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "j"
    journal = Journal(path)
    for number in range(2):
        journal.append({"n": number})
    journal.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    cut = Journal(path)
    assert [one["n"] for one in cut.records()] == [0]
    cut.close()
    path.write_bytes(b"x" + whole[1:])
    with pytest.raises(BankCorruptError):
        Journal(path)


WORKER = Path(__file__).parents[1] / "benchmarks" / "stream_kills.py"
"""Samples, takes feedback and updates until it is killed, and prints what it acknowledged."""


def test_nothing_acknowledged_is_lost_when_the_server_is_killed_again_and_again(tmp_path: Path, trainer: Make) -> None:
    told: list[list[str]] = []
    for lines in (7, 12, 18):
        child = subprocess.Popen(
            [sys.executable, WORKER, "--work", tmp_path / "stream"],
            stdout=subprocess.PIPE,
            text=True,
            env=dict(os.environ),
        )
        assert child.stdout is not None
        told += [child.stdout.readline().split() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        told += [line.split() for line in child.stdout.read().splitlines()]
        child.wait()
        child.stdout.close()
        one = trainer(groups_per_update=2)
        for kind, number in (both for both in told if len(both) == 2):
            if kind == "version":
                assert one.latest >= int(number)
            else:
                group = one.groups[f"s{number}"]
                assert kind == "sampled" or group.rollouts[0].reward == 1.0
        assert len(one.consumed) == 2 * one.updates


def client(one: StreamTrainer) -> httpx.AsyncClient:
    app = stream_service(one, hosts=["127.0.0.1"])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1")


async def test_upstreams_flow_of_gold_samples_and_steps_works_over_http(trainer: Make) -> None:
    async with client(trainer(groups_per_update=2)) as http:
        entries = [{"data_id": f"d{n}", "ground_truth": "Yes"} for n in range(2)]
        assert (await http.post("/register_gts", json={"entries": entries})).json()["registered"] == 2
        body = {"rollout": {"data_id": "d0", "question": "is it?"}, "epoch": 0, "finish": False, "flush_partial": False}
        assert (await http.post("/submit_sample", json=body)).json()["status"] == "rollout"
        body["rollout"] = {"data_id": "d1", "question": "is it?"}
        step = (await http.post("/submit_sample", json=body)).json()
        assert (step["status"], step["version"], step["serving"]) == ("step", 0, 1)
        assert "spread" in step["metrics"]
        health = (await http.get("/health")).json()
        assert health["global_steps"] == 1
        assert {"total_training_steps", "train_batch_size", "rollout_n", "rollout_buffer_len"} <= set(health)
        scored = await http.post("/compute_gt_reward", json={"data_id": "d0", "solution_str": "yes"})
        assert scored.json() == {"reward": 1.0}
        images = {"entries": [{"data_id": "d0", "images": ["aGk="]}]}
        assert (await http.post("/streaming/register_images", json=images)).json()["status"] == "success"
        assert (await http.post("/save_checkpoint", json={})).json() == {"status": "success", "version": 1}
        assert "/v1/feedback" in (await http.get("/openapi.json")).json()["paths"]


async def test_bad_requests_are_refused_by_status_and_change_nothing(trainer: Make) -> None:
    one = trainer()
    async with client(one) as http:
        other = {"rollout": {"data_id": "d", "question": "?", "model": "another"}}
        await http.post("/register_gts", json={"entries": [{"data_id": "d", "ground_truth": "yes"}]})
        for path, body, status in (
            ("/submit_sample", {}, 400),
            ("/submit_sample", other, 409),
            ("/submit_sample", {"rollout": {"data_id": "", "question": "?"}}, 400),
            ("/compute_gt_reward", {"data_id": "unknown", "solution_str": "x"}, 404),
            ("/register_gts", {"entries": [{"data_id": "d", "ground_truth": "no"}]}, 409),
            ("/v1/rollback", {"version": 5}, 400),
            ("/nothing", {}, 404),
        ):
            assert (await http.post(path, json=body)).status_code == status, path
        assert (await http.get("/health", headers={"host": "evil.example"})).status_code == 421
        assert (await http.post("/v1/feedback", content=b"x" * (17 << 20))).status_code == 413
    assert (one.groups, one.version) == ({}, 0)


async def test_a_users_reward_function_is_one_small_file(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def reward(question, reply, gold):\n    return len(reply) / 10\n")
    assert await file_reward(tmp_path / "mine.py")("?", "yes", "") == 0.3
    (tmp_path / "none.py").write_text("x = 1\n")
    with pytest.raises(InputError):
        file_reward(tmp_path / "none.py")
