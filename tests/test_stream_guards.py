"""A stream that goes wrong: rewards that fall, poisoned feedback, canaries, trainers that die, clients that vanish."""

import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from click.testing import CliRunner

from mia_skill.cli.main import main
from mia_skill.core.errors import InputError, TrainingError
from training.groups import Group, Rollout, Tokens
from training.outside import OutsideLearner, own_command
from training.policy_store import Policy, ScriptedLearner, ScriptedPolicy
from training.reward_function import same_text
from training.stream import StreamTrainer
from training.stream_service import canary_of, reward_service, stream_service
from training.watch import RewardWatch

Make = Callable[..., StreamTrainer]


async def learn(one: StreamTrainer, id_: str, rewards: Sequence[float | None]) -> bool:
    made = await one.sample(id_, f"is {id_}?")
    one.feedback(id_, made.ticket, rewards)
    return await one.update()


async def says_yes(policy: Policy) -> float:
    return float((await policy.sample("?", 1))[0].text == "yes")


def test_rewards_that_fall_are_noticed_and_steady_or_rising_ones_are_not() -> None:
    for later, refuge in ((0.9, None), (0.86, None), (1.0, None), (0.2, 3)):
        watch = RewardWatch(window=8)
        for number in range(16):
            watch.saw(3 if number < 8 else 4, 0.9 if number < 8 else later)
        assert watch.refuge == refuge
    noisy = RewardWatch(window=8)
    for number in range(16):
        noisy.saw(1, float(number % 2))
    assert noisy.refuge is None


async def test_the_stream_goes_back_by_itself_to_the_version_of_the_good_rewards(trainer: Make) -> None:
    one = trainer(watch=RewardWatch(window=4, drop=0.1, z=2.0))
    for number in range(4):
        await learn(one, f"good{number}", [1.0, 0.9])
    good = one.groups["good3"].rollouts[0].version
    for number in range(4):
        assert await one.guard() is None
        await learn(one, f"bad{number}", [0.1, 0.0])
    assert (await one.guard(), one.version, one.rollbacks) == (good, good, 1)
    assert (await one.sample("next", "?")).version == good
    assert await one.guard() is None
    again = trainer(watch=RewardWatch(window=4, drop=0.1, z=2.0))
    assert (again.version, again.rollbacks, await again.guard()) == (good, 1, None)


async def test_samples_of_a_version_that_was_gone_back_from_teach_nobody(trainer: Make) -> None:
    one = trainer()
    await learn(one, "a", [1.0, 0.0])
    made = await one.sample("b", "?")
    assert made.version == 1
    await one.rollback(0)
    assert one.feedback("b", made.ticket, [0.0, 1.0]) == "late"
    assert (await one.update(), one.version, one.updates) == (False, 0, 1)


async def test_a_version_that_was_never_served_cannot_be_gone_to(trainer: Make) -> None:
    one = trainer(canary=says_yes)
    assert not await learn(one, "poison", [0.0, 1.0])
    with pytest.raises(Exception, match="never served"):
        await one.rollback(1)


async def test_many_small_losses_are_measured_against_the_best_score_and_not_the_last(trainer: Make) -> None:
    scores = iter((0.9, 0.85, 0.8, 0.75, 0.7, 0.65))

    async def sinking(_policy: Policy) -> float:
        return next(scores)

    one = trainer(canary=sinking, tolerance=0.12)
    told = [await learn(one, f"s{number}", [1.0, 0.0]) for number in range(4)]
    assert told == [True, True, False, False]
    assert (one.version, one.refused) == (2, 2)


async def test_a_poisoned_stream_never_serves_below_the_floor(trainer: Make) -> None:
    one = trainer(canary=says_yes)
    await learn(one, "honest", [1.0, 0.0])
    for number in range(8):
        await learn(one, f"poison{number}", [0.0, 1.0])
        assert await says_yes(one.policy) == 1.0


async def test_a_canary_that_falls_for_the_served_policy_brings_the_best_version_back(trainer: Make) -> None:
    broken: list[Policy] = []

    async def canary(policy: Policy) -> float:
        return 0.0 if policy in broken else 1.0

    one = trainer(canary=canary)
    await learn(one, "a", [1.0, 0.0])
    await learn(one, "b", [1.0, 0.0])
    broken.append(one.policy)
    one.scores[2] = 0.95
    assert (await one.guard(), one.version) == (1, 1)


async def test_rewards_that_are_not_numbers_or_not_this_policys_are_refused(trainer: Make) -> None:
    one = trainer()
    transport = httpx.ASGITransport(app=stream_service(one, hosts=["127.0.0.1"]))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        body = {"rollout": {"data_id": "a", "question": "?"}}
        made = (await http.post("/submit_sample", json=body)).json()
        for rewards, status in (("[NaN, 1]", 400), ("[1e999, 0]", 400), ("[1]", 400), ('["1; DROP", 0]', 400)):
            raw = f'{{"id": "a", "ticket": "{made["ticket"]}", "rewards": {rewards}}}'
            assert (await http.post("/v1/feedback", content=raw.encode())).status_code == status, rewards
        alien = {"rollout": {"data_id": "x", "question": "?", "model": "gpt-of-somebody"}}
        assert (await http.post("/submit_sample", json=alien)).status_code == 409
    assert (one.ready, "x" in one.groups) == ([], False)


async def test_a_sample_that_was_learnt_from_keeps_its_texts_and_lets_its_tokens_go(trainer: Make) -> None:
    class Exact(ScriptedPolicy):
        async def sample(self, prompt: str, n: int) -> tuple[Rollout, ...]:
            held = Tokens(ids=(1, 2), mask=(False, True), logprobs=(0.0, -0.5))
            return tuple(one.model_copy(update={"tokens": (held,)}) for one in await super().sample(prompt, n))

    def tokens(of: StreamTrainer, id_: str) -> list[int]:
        return [len(rollout.tokens) for rollout in of.groups[id_].rollouts]

    one = trainer()
    one.policy = Exact({"yes": 1.0, "no": 0.0})
    await one.sample("waits", "?")
    told = await one.sample("learnt", "?")
    one.feedback("learnt", told.ticket, [1.0, 0.0])
    await one.update()
    one.close()
    for stream in (one, trainer()):
        assert tokens(stream, "learnt") == [0, 0]
        assert tokens(stream, "waits") == [1, 1]
        assert (await stream.sample("learnt", "?")).texts == told.texts
        assert stream.waiting == 1


async def test_a_client_that_vanishes_while_it_waits_leaves_a_sample_it_can_ask_for_again(trainer: Make) -> None:
    begun = anyio.Event()

    class Slow(ScriptedPolicy):
        async def sample(self, prompt: str, n: int) -> Any:
            begun.set()
            if not one.groups:
                await anyio.sleep_forever()
            return await super().sample(prompt, n)

    one = trainer()
    await learn(one, "first", [1.0, 0.0])
    one.groups.clear()
    one.consumed.clear()
    one.policy = Slow({"yes": 1.0, "no": 0.0})
    async with anyio.create_task_group() as group:
        group.start_soon(one.sample, "gone", "?")
        await begun.wait()
        group.cancel_scope.cancel()
    assert one.waiting == 0
    one.policy = ScriptedPolicy({"yes": 1.0, "no": 0.0})
    assert (await one.sample("gone", "?")).texts == ("yes", "no")


async def test_an_update_that_fails_again_and_again_is_set_aside_and_the_stream_goes_on(trainer: Make) -> None:
    class Picky(ScriptedLearner):
        def update(self, policy: Policy, groups: Sequence[Group]) -> tuple[Policy, dict[str, float]]:
            if groups[0].key == "cursed":
                raise TrainingError("not finite")
            return super().update(policy, groups)

    one = trainer(Picky())
    for _ in range(3):
        with pytest.raises(TrainingError):
            await learn(one, "cursed", [1.0, 0.0])
    assert await learn(one, "good", [1.0, 0.0])
    again = trainer(Picky())
    assert (one.set_aside, again.set_aside, again.version, again.ready) == (1, 1, 1, [])


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed"),
        ("import sys; sys.exit('no memory left')", "no memory left"),
        ("import sys; sys.exit(3)", "ended with 3: it said nothing on stderr; try it by hand: "),
        ("pass", "wrote no policy"),
        ("import pathlib, sys; pathlib.Path(sys.argv[1]).mkdir()", "reading what the trainer wrote"),
    ],
)
async def test_a_trainer_process_that_dies_leaves_everything_as_it_was(
    trainer: Make, tmp_path: Path, ending: str, why: str
) -> None:
    outside = OutsideLearner(ScriptedLearner(), [sys.executable, "-c", ending, "{out}"], tmp_path / "o")
    one = trainer(outside)
    before = one.policy
    with pytest.raises(TrainingError, match=why):
        await learn(one, "a", [1.0, 0.0])
    assert (one.policy is before, one.version, len(one.ready)) == (True, 0, 1)
    assert (await one.sample("b", "?")).version == 0


async def test_a_trainer_that_hangs_is_ended(trainer: Make, tmp_path: Path) -> None:
    hang = [sys.executable, "-c", "import signal; signal.pause()"]
    one = trainer(OutsideLearner(ScriptedLearner(), hang, tmp_path / "o", limit_s=0.5))
    with pytest.raises(TrainingError, match="timed out"):
        await learn(one, "a", [1.0, 0.0])


def test_a_trainer_that_takes_too_long_is_asked_to_end_so_that_it_can_end_what_it_started(tmp_path: Path) -> None:
    script = "import pathlib, signal, sys; signal.sigwait({signal.SIGTERM}); pathlib.Path(sys.argv[1]).mkdir()"
    outside = OutsideLearner(ScriptedLearner(), [sys.executable, "-c", script, "{out}"], tmp_path / "o", limit_s=0.1)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # the trainer begins with it: none comes too early
    try:
        with pytest.raises(TrainingError, match="timed out"):
            outside.update(ScriptedLearner().start(), [])
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    assert list(tmp_path.glob("o/*/out"))


async def test_an_update_in_another_process_is_the_same_as_here(trainer: Make, tmp_path: Path) -> None:
    one = trainer(OutsideLearner(ScriptedLearner(), own_command("scripted"), tmp_path / "o"))
    assert await learn(one, "a", [0.0, 1.0])
    here, _ = ScriptedLearner().update(ScriptedLearner().start(), [one.groups["a"]])
    assert isinstance(one.policy, ScriptedPolicy)
    assert isinstance(here, ScriptedPolicy)
    assert one.policy.weights == here.weights


async def test_the_reward_service_scores_by_registered_answers_and_knows_no_others() -> None:
    app = reward_service(hosts=["127.0.0.1"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as http:
        entries = {"entries": [{"data_id": "d", "ground_truth": "Oslo"}]}
        assert (await http.post("/register_gts", json=entries)).json() == {"status": "success", "registered": 1}
        told = await http.post("/compute_gt_reward", json={"data_id": "d", "solution_str": " oslo "})
        assert told.json() == {"reward": 1.0}
        assert (await http.post("/compute_gt_reward", json={"data_id": "x", "solution_str": "o"})).status_code == 404
        assert (await http.get("/health")).json() == {"status": "ok", "registered": 1}


async def test_the_served_version_is_checked_on_demand_and_health_tells_of_going_back(trainer: Make) -> None:
    one = trainer(canary=says_yes)
    await learn(one, "a", [1.0, 0.0])
    one.policy = ScriptedPolicy({"no": 1.0, "yes": 0.0})
    transport = httpx.ASGITransport(app=stream_service(one, hosts=["127.0.0.1"]))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        one.scores[0] = 2.0
        told = (await http.post("/v1/check", json={})).json()
        assert told == {"status": "success", "went_back_to": 0, "version": 0}
        assert (await http.get("/health")).json()["rollbacks"] == 1
        assert "/v1/check" in (await http.get("/openapi.json")).json()["paths"]


def test_a_learner_that_needs_a_model_says_so(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--home", str(tmp_path), "stream", "serve", "--updater", "tiny", "--port", "0"])
    assert done.exit_code == 1
    assert "--model" in done.output


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ([], "training needs verl, and this Python has none; it has an environment of its own"),
        (["--rank", "8"], "leave --rank out"),
        (["--trainer", "true"], "leave --trainer out"),
    ],
)
def test_the_verl_updater_says_what_it_needs_before_anything_is_served(
    tmp_path: Path, more: list[str], told: str
) -> None:
    (tmp_path / "config.json").write_text("{}")
    serve = ["stream", "serve", "--updater", "verl", "--model", str(tmp_path), "--port", "0", *more]
    done = CliRunner().invoke(main, ["--home", str(tmp_path / "home"), *serve])
    assert done.exit_code == 1
    assert told in done.output


async def test_canaries_come_from_a_file_and_a_version_they_refuse_is_not_served(trainer: Make, tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"question": "is it?", "ground_truth": "yes"}\n')
    one = trainer(canary=canary_of(tmp_path / "c.jsonl", same_text))
    assert not await learn(one, "poison", [0.0, 1.0])
    assert (one.refused, one.scores[0]) == (1, 1.0)
    (tmp_path / "c.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match="ground_truth"):
        canary_of(tmp_path / "c.jsonl", same_text)
