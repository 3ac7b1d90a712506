"""Whoever rewards a stream is tested too: what a lie rewarded is never learnt, and learning goes on after it."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from retrieval.standing import Rules
from training.policy_store import ScriptedLearner
from training.reward_function import Reward
from training.stream import StreamTrainer
from training.stream_service import stream_service
from training.watch import RewardWatch

Make = Callable[..., StreamTrainer]
YES = [1.0, 0.0]


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Make]:
    """Makes trainers over one folder; a second one is a restart."""
    opened: list[StreamTrainer] = []

    def made(**parts: Any) -> StreamTrainer:
        given = {"groups_per_update": 1, "width": 2, "judge_rules": Rules()} | parts
        opened.append(StreamTrainer(tmp_path / "s", ScriptedLearner(), **given))
        return opened[-1]

    yield made
    for one in opened:
        one.close()


async def rewarded(one: StreamTrainer, id_: str, rewards: Sequence[float | None] = YES) -> None:
    made = await one.sample(id_, f"is {id_}?")
    one.feedback(id_, made.ticket, rewards)


async def told(one: StreamTrainer, *right: bool) -> None:
    for each in right:
        await one.judge_canary(each)


async def test_what_was_rewarded_waits_for_two_canaries_and_is_learnt_then(trainer: Make) -> None:
    one = trainer()
    await rewarded(one, "a")
    assert not await one.update()
    await told(one, True, True)
    assert await one.update()
    assert (one.version, one.held) == (1, {})


async def test_what_a_lie_rewarded_is_never_learnt_and_the_weights_stay(trainer: Make) -> None:
    one = trainer()
    for number in range(4):
        await rewarded(one, f"lie {number}", [0.0, 1.0])
        await told(one, False)
    assert one.judge.alarm
    await rewarded(one, "another", [0.0, 1.0])
    await told(one, False)
    assert not await one.update(partial=True)
    assert (one.version, one.updates, one.doubted, one.waiting) == (0, 0, 5, 0)


async def test_an_alarm_goes_back_to_the_version_that_served_when_the_canaries_were_good(trainer: Make) -> None:
    one = trainer()
    await rewarded(one, "honest")
    await told(one, True, True)
    await one.update()
    await told(one, True)
    await rewarded(one, "proven by then", [0.0, 1.0])
    await told(one, True, True)
    await one.update()
    assert one.version == 2
    await told(one, False, False, False, False)
    assert (one.judge.alarm, one.version, one.rollbacks) == (True, 1, 1)


async def test_no_update_is_made_under_an_alarm_and_learning_goes_on_after_it(trainer: Make) -> None:
    one = trainer()
    await told(one, *[False] * 4)
    await told(one, True)
    await rewarded(one, "after")
    while one.judge.alarm:
        assert not await one.update(partial=True)
        await told(one, True)
    assert await one.update()
    assert one.version == 1


async def test_all_of_it_is_the_same_after_a_restart(trainer: Make) -> None:
    one = trainer()
    await rewarded(one, "a")
    await told(one, True, True)
    await one.update()
    await rewarded(one, "b")
    await told(one, True, False, False, False)
    await rewarded(one, "c")
    one.close()
    again = trainer()
    assert (again.judge, again.held, again.doubted) == (one.judge, one.held, one.doubted)
    assert (again.version, [group.key for group in again.ready]) == (one.version, [group.key for group in one.ready])


async def test_lying_rewards_do_not_move_the_reward_watch(trainer: Make) -> None:
    one = trainer(watch=RewardWatch(window=4), groups_per_update=1000)
    for number in range(8):
        await rewarded(one, f"honest {number}", [1.0, 0.9])
        await told(one, True)
    await told(one, True, True)
    for number in range(8):
        await rewarded(one, f"lie {number}", [0.1, 0.0])
        await told(one, False)
    assert (one.judge.alarm, one.rollbacks) == (True, 0)


async def test_a_trainer_that_nobody_watches_learns_at_once_even_from_a_journal_with_canaries(trainer: Make) -> None:
    one = trainer()
    await rewarded(one, "a")
    await told(one, *[False] * 4)
    one.close()
    free = trainer(judge_rules=None)
    await rewarded(free, "b")
    assert await free.update()


# -- over HTTP ------------------------------------------------------------------------------------------------------


class Lying:
    """A reward function that says the opposite while `lies`."""

    lies = False
    scored = 0

    async def __call__(self, _question: str, reply: str, gold: str) -> float | None:
        self.scored += 1
        return float((reply == gold) != self.lies)


async def client_of(one: StreamTrainer, reward: Reward, share: float = 0.5) -> httpx.AsyncClient:
    service = stream_service(one, reward=reward, judge_canaries=share)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=service), base_url="http://127.0.0.1:8765")


async def submit(client: httpx.AsyncClient, *ids: str, gold: str = "yes") -> list[dict[str, Any]]:
    golds = [{"data_id": one, "ground_truth": gold} for one in ids]
    (await client.post("/register_gts", json={"entries": golds})).raise_for_status()
    told = []
    for one in ids:
        body = {"rollout": {"data_id": one, "question": f"is {one}?"}}
        told.append((await client.post("/submit_sample", json=body)).raise_for_status().json())
    return told


async def test_a_reward_function_that_turns_round_is_found_by_the_gold_answers_it_is_given(trainer: Make) -> None:
    one, reward = trainer(), Lying()
    async with await client_of(one, reward) as client:
        await submit(client, *[f"q{number}" for number in range(12)])
        await client.post("/submit_sample", json={"finish": True})
        honest = one.version
        assert honest > 0
        reward.lies = True
        await submit(client, *[f"lie{number}" for number in range(30)])
        health = (await client.get("/health")).json()
        assert health["judge"]["alarm"]
        assert one.version <= honest
        reward.lies = False
        for number in range(60):
            await submit(client, f"again{number}")
        await client.post("/submit_sample", json={"finish": True})
        health = (await client.get("/health")).json()
    assert not health["judge"]["alarm"]
    assert health["never_learnt"] > 0
    assert one.version > honest
    assert (await one.sample("at last", "?")).texts[0] == "yes"


async def test_a_finished_stream_leaves_nothing_waiting(trainer: Make) -> None:
    one = trainer()
    async with await client_of(one, Lying(), share=0.01) as client:
        await submit(client, "a", "b")
        assert (await client.get("/health")).json()["held"] == 2
        assert (await client.post("/submit_sample", json={"finish": True})).json()["status"] == "step"
        assert (await client.get("/health")).json()["held"] == 0


async def test_clients_whose_word_is_against_gold_are_not_believed_even_where_gold_comes_late(trainer: Make) -> None:
    one = trainer(groups_per_update=1000)
    async with await client_of(one, Lying()) as client:
        for number in range(6):
            made = await one.sample(f"q{number}", "?")
            said = {"id": made.id, "ticket": made.ticket, "rewards": [0.0, 1.0]}
            assert (await client.post("/v1/feedback", json=said)).json() == {"status": "accepted"}
            assert one.judge.seen == number
            golds = [{"data_id": made.id, "ground_truth": "yes"}]
            await client.post("/register_gts", json={"entries": golds})
    assert (one.judge.alarm, one.judge.wrong) == (True, 6)
    assert one.ready == []


async def test_a_reward_function_that_gives_no_number_fails_no_canary(trainer: Make) -> None:
    async def masks(_question: str, reply: str, _gold: str) -> float | None:
        return 1.0 if reply == "yes" else None

    one = trainer()
    async with await client_of(one, masks) as client:
        await submit(client, *[f"q{number}" for number in range(8)])
    assert one.judge.seen == 0


async def test_a_share_of_zero_flies_none(trainer: Make) -> None:
    one, reward = trainer(judge_rules=None), Lying()
    async with await client_of(one, reward, share=0.0) as client:
        await submit(client, "a", "b")
    assert reward.scored == 4
    assert one.version == 2
