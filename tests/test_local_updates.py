"""Real updates on the CPU: a small random model is served, rewarded, trained and swapped (needs torch)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest
from small_llama import write_llama

from mia_skill.core.errors import ModelError, TrainingError
from training.groups import Group, Rollout
from training.learners import Choice, learner_of
from training.outside import OutsideLearner, own_command
from training.policy_store import Learner, Policy, PolicyStore, ScriptedPolicy
from training.replies import Writing
from training.stream import StreamTrainer
from training.stream_service import stream_service
from training.updaters import PolicyUpdater

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("default")]
HOW = Writing(max_tokens=12, context=512)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(tmp_path_factory.mktemp("model") / "llama")


Make = Callable[..., Any]


@pytest.fixture
def learner(model: Path, tmp_path: Path) -> Make:
    def made(**parts: Any) -> Learner:
        return learner_of(Choice("tiny", tmp_path / "work", model=model, lr=1e-2, how=HOW, **parts))

    return made


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Make]:
    opened: list[StreamTrainer] = []

    def made(learner: Learner, **parts: Any) -> StreamTrainer:
        opened.append(StreamTrainer(tmp_path / "stream", learner, **({"groups_per_update": 1, "width": 4} | parts)))
        return opened[-1]

    yield made
    for one in opened:
        one.close()


def weights(policy: Policy) -> dict[str, Any]:
    return {name: value.clone() for name, value in policy.model.state_dict().items()}  # type: ignore[attr-defined]


def moved(before: dict[str, Any], after: dict[str, Any]) -> float:
    return max(float((before[name] - after[name]).abs().max()) for name in before)


def loved(texts: Sequence[str]) -> list[float]:
    """Longer is better; of equals the later one, so that every group teaches."""
    return [float(len(text)) + 0.01 * at for at, text in enumerate(texts)]


async def learn(one: StreamTrainer, id_: str) -> bool:
    made = await one.sample(id_, f"say {id_}")
    one.feedback(id_, made.ticket, loved(made.texts))
    return await one.update()


@pytest.mark.parametrize("rank", [0, 4])
async def test_three_updates_move_the_weights_and_the_version_and_are_there_after_a_restart(
    learner: Make, trainer: Make, rank: int
) -> None:
    one = trainer(learner(rank=rank))
    start = weights(one.policy)
    for id_ in ("a", "b", "c"):
        assert await learn(one, id_)
    assert (one.version, one.metrics["rows"] > 0) == (3, True)
    assert moved(start, weights(one.policy)) > 1e-4
    assert (await one.sample("d", "?")).version == 3
    again = trainer(learner(rank=rank))
    assert (again.version, moved(weights(again.policy), weights(one.policy)) < 1e-6) == (3, True)
    await again.rollback(0)
    assert moved(weights(again.policy), start) < 1e-6


async def test_a_request_under_way_finishes_on_the_weights_it_began_with(learner: Make, trainer: Make) -> None:
    one = trainer(learner())
    old = one.policy
    before = weights(old)
    begun, go = anyio.Event(), anyio.Event()
    sampled = old.sample

    async def held(prompt: str, n: int) -> tuple[Rollout, ...]:
        if prompt == "slow":
            begun.set()
            await go.wait()
        return await sampled(prompt, n)

    old.sample = held
    async with anyio.create_task_group() as group:
        group.start_soon(one.sample, "s", "slow")
        await begun.wait()
        assert await learn(one, "b")
        assert (one.version, one.policy is old) == (1, False)
        go.set()
    assert (await one.sample("s", "slow")).version == 0
    assert moved(before, weights(old)) == 0.0


async def test_serving_goes_on_while_an_update_runs(learner: Make, trainer: Make) -> None:
    one = trainer(learner())
    made = await one.sample("a", "say a")
    one.feedback("a", made.ticket, loved(made.texts))
    served = []
    async with anyio.create_task_group() as group:
        group.start_soon(one.update)
        for number in range(3):
            served.append((await one.sample(f"n{number}", "?")).version)
    assert one.version == 1
    assert set(served) <= {0, 1}


async def together(policy: Policy, prompts: Sequence[str], n: int = 2) -> list[list[str]]:
    """The batches that the decoder begins, as the prompts in them, while all are asked for at once."""
    begun: list[list[str]] = []
    decoder, words = policy.sampler.decoder, policy.tokenizer  # type: ignore[attr-defined]
    start = decoder.start

    def watched(rows: Sequence[Sequence[int]], most: int) -> Any:
        texts = [words.decode(row) for row in rows]
        begun.append([next((one for one in prompts if f"\n{one}<" in text), "?") for text in texts])
        return start(rows, most)

    decoder.start = watched
    async with anyio.create_task_group() as group:
        for prompt in prompts:
            group.start_soon(policy.sample, prompt, n)
    return begun


async def test_requests_that_wait_are_answered_together(learner: Make) -> None:
    asked = [f"say {number}" for number in range(6)]
    batches = await together(learner().start(), asked)
    assert [sorted(one) for one in batches] == [sorted(2 * asked)]


async def test_no_more_is_written_at_once_than_fits(learner: Make) -> None:
    batches = await together(learner().start(), ["a", "b", "c", "d"], n=100)
    assert [sorted(set(one)) for one in batches] == [["a", "b"], ["c", "d"]]


async def test_a_prompt_that_is_too_long_fails_alone(learner: Make) -> None:
    policy = learner().start()
    told: dict[str, Any] = {}

    async def ask(prompt: str) -> None:
        try:
            told[prompt[:9]] = await policy.sample(prompt, 2)
        except ModelError as failure:
            told[prompt[:9]] = failure

    async with anyio.create_task_group() as group:
        for prompt in ("the first", "long " * 200, "the third"):
            group.start_soon(ask, prompt)
    assert (len(told["the first"]), len(told["the third"])) == (2, 2)
    assert isinstance(told["long long"], ModelError)


async def test_a_client_that_vanishes_takes_nobody_along(learner: Make) -> None:
    policy, told = learner().start(), list[int]()

    async def ask(prompt: str) -> None:
        told.append(len(await policy.sample(prompt, 2)))

    async with anyio.create_task_group() as group:
        group.start_soon(ask, "the one under way")
        async with anyio.create_task_group() as gone:
            gone.start_soon(ask, "whose client is gone")
            await anyio.lowlevel.checkpoint()
            gone.cancel_scope.cancel()
        group.start_soon(ask, "the next")
    assert told == [2, 2]
    assert len(await policy.sample("and later", 1)) == 1


async def test_rewards_make_what_they_reward_likelier(learner: Make, tmp_path: Path) -> None:
    import torch

    torch.manual_seed(0)
    updater = PolicyUpdater("tiny", learner(), PolicyStore(tmp_path, learner()))
    means = []
    for _ in range(10):
        written = await updater.policy.sample("Say it.", 16)
        rewards = [low_share(one) for one in written]
        means.append(sum(rewards) / len(rewards))
        told = tuple(one.model_copy(update={"reward": r}) for one, r in zip(written, rewards, strict=True))
        stats = await updater.update([Group(key="k", prompt="Say it.", rollouts=told)])
        assert stats.version == updater.version
    assert sum(means[-3:]) > sum(means[:3]) + 0.3


def low_share(one: Rollout) -> float:
    """Share of the written tokens in the lower half of the vocabulary."""
    written = [token for token, own in zip(one.tokens[0].ids, one.tokens[0].mask, strict=True) if own]
    return sum(token < 130 for token in written) / len(written)


async def test_a_group_that_cannot_be_trained_on_changes_nothing_and_is_set_aside_in_the_end(
    learner: Make, trainer: Make
) -> None:
    one = trainer(learner())
    before = weights(one.policy)
    bare = Group(key="bare", prompt="?", rollouts=(Rollout(text="a"), Rollout(text="b")))
    one._write(kind="sample", group=bare.model_dump(mode="json"))
    one.feedback("bare", one.tickets.of("bare"), [1.0, 0.0])
    for _ in range(3):
        with pytest.raises(TrainingError, match="without tokens"):
            await one.update()
    assert (one.set_aside, one.version, moved(before, weights(one.policy))) == (1, 0, 0.0)
    assert await learn(one, "good")


def test_a_policy_of_another_learner_is_refused(learner: Make) -> None:
    with pytest.raises(TrainingError, match="ScriptedPolicy"):
        learner().update(ScriptedPolicy({"a": 0.0}), ())


async def test_an_update_in_a_process_of_its_own_gives_a_policy_that_serves(
    learner: Make, trainer: Make, model: Path, tmp_path: Path
) -> None:
    command = own_command("tiny", "--model", str(model), "--lr", "0.01")
    one = trainer(OutsideLearner(learner(), command, tmp_path / "outside"))
    start = weights(one.policy)
    assert await learn(one, "a")
    assert (one.version, one.metrics["rows"] > 0, moved(start, weights(one.policy)) > 1e-4) == (1, True, True)


async def test_the_stream_learns_over_http_with_a_real_model(learner: Make, trainer: Make) -> None:
    one = trainer(learner(), groups_per_update=2)
    app = stream_service(one, reward=length_reward, hosts=["127.0.0.1"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as http:
        golds = [{"data_id": f"d{number}", "ground_truth": "-"} for number in range(4)]
        await http.post("/register_gts", json={"entries": golds})
        told = [
            (await http.post("/submit_sample", json={"rollout": {"data_id": f"d{n}", "question": f"{n}?"}})).json()
            for n in range(4)
        ]
    assert [answer["status"] for answer in told] == ["rollout", "step", "rollout", "step"]
    assert [answer["version"] for answer in told] == [0, 0, 1, 1]
    assert one.version == 2


async def length_reward(_question: str, reply: str, _gold: str) -> float:
    return len(reply) + len(set(reply)) / 100
