"""Old versions of a policy go: a bounded number stays, and never one goes that is or may yet be served."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from mia_skill.core.errors import InputError
from retrieval.standing import Rules
from training.groups import Group, Rollout
from training.policy_store import Policy, PolicyStore, ScriptedLearner, ScriptedPolicy
from training.stream import StreamTrainer
from training.watch import RewardWatch

Make = Callable[..., StreamTrainer]


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Make]:
    """Makes trainers over one folder; a second one is a restart."""
    opened: list[StreamTrainer] = []

    def made(learner: Any = None, **parts: Any) -> StreamTrainer:
        given = {"groups_per_update": 1, "width": 2, "keep_versions": 4} | parts
        opened.append(StreamTrainer(tmp_path, learner or ScriptedLearner(), **given))
        return opened[-1]

    yield made
    for one in opened:
        one.close()


def kept(folder: Path) -> list[int]:
    return sorted(int(place.name) for place in (folder / "versions").iterdir())


async def learn(one: StreamTrainer, *ids: str, rewards: Sequence[float] = (1.0, 0.0)) -> None:
    for id_ in ids:
        made = await one.sample(id_, f"is {id_}?")
        one.feedback(id_, made.ticket, rewards)
        await one.update()


def names(count: int, mark: str = "s") -> list[str]:
    return [f"{mark}{number}" for number in range(count)]


async def test_after_many_updates_a_bounded_number_is_kept_and_the_served_one_is_among_them(
    trainer: Make, tmp_path: Path
) -> None:
    one = trainer(watch=RewardWatch(window=2))
    await learn(one, *names(40))
    assert one.version == 40
    assert len(kept(tmp_path)) == 4
    assert kept(tmp_path)[-1] == 40


async def test_a_version_that_was_let_go_is_named_among_those_there_are(trainer: Make) -> None:
    one = trainer(watch=RewardWatch(window=2))
    await learn(one, *names(20))
    with pytest.raises(InputError, match=r"version 1 is not kept: there is .*20"):
        await one.rollback(1)
    assert one.version == 20


async def test_after_going_back_the_version_served_then_stays_whatever_follows(trainer: Make, tmp_path: Path) -> None:
    one = trainer(watch=RewardWatch(window=2))
    await learn(one, *names(3))
    await one.rollback(2)
    one._learner.update = lambda policy, _groups: (policy, {})  # type: ignore[method-assign]
    await learn(one, *names(10, "later"))
    assert one.version == 2
    assert 2 in kept(tmp_path)


async def test_the_version_of_a_request_under_way_stays_until_it_is_answered(trainer: Make, tmp_path: Path) -> None:
    begun, go = anyio.Event(), anyio.Event()

    class Slow(ScriptedPolicy):
        async def sample(self, prompt: str, n: int) -> tuple[Rollout, ...]:
            if prompt == "slow?":
                begun.set()
                await go.wait()
            return await super().sample(prompt, n)

    class Learner(ScriptedLearner):
        def update(self, policy: Policy, groups: Sequence[Group]) -> tuple[Policy, dict[str, float]]:
            made, figures = super().update(policy, groups)
            assert isinstance(made, ScriptedPolicy)
            return Slow(made.weights), figures

    one = trainer(Learner(), watch=RewardWatch(window=2))
    await learn(one, *names(1))
    async with anyio.create_task_group() as group:
        group.start_soon(one.sample, "slow", "slow?")
        await begun.wait()
        await learn(one, *names(20, "more"))
        assert 1 in kept(tmp_path)
        go.set()
    await learn(one, "last")
    assert 1 not in kept(tmp_path)


async def test_falling_rewards_go_back_to_a_version_that_is_kept_near_the_one_of_the_good_rewards(
    trainer: Make, tmp_path: Path
) -> None:
    one = trainer(watch=RewardWatch(window=16), keep_versions=6)
    await learn(one, *names(40), rewards=(1.0, 0.9))
    await learn(one, *names(16, "bad"), rewards=(0.1, 0.0))
    watch = one._watch
    wanted = watch.refuge
    assert wanted is not None
    went = await one.guard()
    assert went is not None
    assert wanted - 12 <= went <= wanted
    assert went in kept(tmp_path)


async def test_the_best_by_the_canary_and_the_one_of_good_judge_canaries_stay(trainer: Make, tmp_path: Path) -> None:
    scores = iter([0.0, 0.5, 0.9] + [0.85] * 100)

    async def canary(_policy: Policy) -> float:
        return next(scores)

    one = trainer(canary=canary, watch=RewardWatch(window=2), judge_rules=Rules())
    for number in range(20):
        made = await one.sample(f"s{number}", "?")
        one.feedback(made.id, made.ticket, [1.0, 0.0])
        await one.judge_canary(True)
        if number == 0:
            await one.judge_canary(True)
        await one.update()
    best = max(one.scores, key=lambda version: one.scores[version])
    assert best < 5
    assert best in kept(tmp_path)
    assert one._sound in kept(tmp_path)


async def test_a_restart_serves_the_same_version_after_pruning(trainer: Make) -> None:
    one = trainer(watch=RewardWatch(window=2))
    await learn(one, *names(15))
    one.close()
    again = trainer(watch=RewardWatch(window=2))
    assert again.version == 15
    assert (await again.sample("x", "?")).version == 15


KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from training.policy_store import PolicyStore, ScriptedLearner, ScriptedPolicy

where = sys.argv[2]
store = PolicyStore(Path(sys.argv[1]), ScriptedLearner())
for number in range(1, 8):
    store.keep(number, ScriptedPolicy({"yes": float(number)}))
rmtree, replace = shutil.rmtree, os.replace

def die(*_given, **_more):
    os.kill(os.getpid(), signal.SIGKILL)

def half(place, **more):
    if Path(place).suffix == ".gone" and Path(place).exists():
        next(Path(place).iterdir()).unlink()
        die()
    rmtree(place, **more)

if where == "before":
    os.replace = die
else:
    shutil.rmtree = half
store.prune(3, {1, 7}, 0)
"""


@pytest.mark.parametrize(("where", "left"), [("before", 7), ("half", 6)])
def test_a_kill_in_the_middle_of_pruning_leaves_whole_versions_only(tmp_path: Path, where: str, left: int) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path), where]
    assert subprocess.run(command, env=os.environ, check=False).returncode == -signal.SIGKILL
    store = PolicyStore(tmp_path, ScriptedLearner())
    assert len(store.versions) == left
    assert {1, 7} <= set(store.versions)
    for version in store.versions:
        policy = store.load(version)
        assert isinstance(policy, ScriptedPolicy)
        assert policy.weights == {"yes": float(version)}
    assert all(place.name.isdigit() for place in (tmp_path / "versions").iterdir())
    store.prune(3, {1, 7}, 0)
    assert len(store.versions) == 3


async def test_a_disk_that_refuses_to_delete_undoes_no_update(trainer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    one = trainer(watch=RewardWatch(window=2))
    await learn(one, *names(4))

    def refuses(*_given: object) -> None:
        raise PermissionError(13, "denied")

    monkeypatch.setattr("training.policy_store.os.replace", refuses_to_delete(refuses))
    await learn(one, "fifth")
    assert one.version == 5
    assert "deleting old versions" in one.failure


def refuses_to_delete(refuses: Callable[..., None]) -> Callable[[Path, Path], None]:
    """`os.replace` that works for all but what is to be deleted."""
    replace = os.replace

    def chosen(source: Path, target: Path) -> None:
        (refuses if Path(target).suffix == ".gone" else replace)(source, target)

    return chosen
