"""One update by veRL: the step that `training.tiny` makes, in a process of its own, on one process or two."""

import math
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from random_llama import saved
from small_llama import write_llama

from mia_skill.core.errors import ConfigError, TrainingError
from training.groups import Group, Rollout, Tokens
from training.launch import MACHINES, Machine
from training.learners import Choice, learner_of
from training.onverl.update import main, update_command
from training.outside import OutsideLearner, write_groups
from training.replies import Writing, played_of

pytestmark = [pytest.mark.verl, pytest.mark.filterwarnings("default")]
LR = 1e-3
HOW = Writing(max_tokens=12, context=512)
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model") / "llama")


@pytest.fixture(autouse=True)
def from_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))


def learner(model: Path, work: Path, processes: int = 1) -> OutsideLearner:
    made = learner_of(Choice("verl", work / "work", model=model, lr=LR, gpus=processes, how=HOW))
    assert isinstance(made, OutsideLearner)
    return made


async def sampled(policy: Any, key: str, rewards: Sequence[float | None], talks: int = 1) -> Group:
    """Rollouts of `talks` conversations, whose log-probabilities are those of a policy that has moved on since."""
    shaken = random.Random(key)
    told = [await policy.sample(f"say {key} {talk}", len(rewards)) for talk in range(talks)]
    made = []
    for at, reward in enumerate(rewards):
        tokens = tuple(aged(one[at].tokens[0], shaken) for one in told)
        made.append(Rollout(text=told[0][at].text, reward=reward, tokens=tokens))
    return Group(key=key, prompt=f"say {key}", rollouts=tuple(made))


def aged(tokens: Tokens, shaken: random.Random) -> Tokens:
    moved = [one + shaken.uniform(-0.4, 0.4) * mine for one, mine in zip(tokens.logprobs, tokens.mask, strict=True)]
    return tokens.model_copy(update={"logprobs": tuple(moved)})


async def mixed(policy: Any) -> list[Group]:
    """Groups of unlike sizes, one of conversations of two parts, one with a sample that nobody could judge."""
    return [
        await sampled(policy, "a", [0.1, 0.9, 0.4, 0.0]),
        await sampled(policy, "b", [1.0, 0.0], talks=2),
        await sampled(policy, "c", [1.0, None, 0.0]),
        await sampled(policy, "d", [0.5, 0.5]),
    ]


def written(work: Path) -> list[Path]:
    """The folders that updates left."""
    return list(work.glob("outside/*/out"))


def flat(weights: dict[str, Any]) -> Any:
    import torch

    return torch.cat([value.flatten() for name, value in sorted(weights.items()) if name != "lm_head.weight"])


async def stepped(model: Path, work: Path) -> tuple[Any, Any, Any, dict[str, float], Any]:
    """One step from the same rollouts by both: where it began, tiny's learner, veRL's policy, what each says of it."""
    from training.tiny import Learner, load

    outside = learner(model, work)
    start: Any = outside.start()
    groups = await mixed(start)
    made, figures = outside.update(start, groups)
    tiny = Learner(*load(model, "cpu"), lr=LR, sample_batch=64, context=128)
    return start, tiny, made, figures, tiny.update(played_of(groups))


async def test_a_step_by_verl_is_the_step_of_tiny(model: Path, tmp_path: Path) -> None:
    """Two AdamW steps from zero moments move a weight by lr x g / (|g| + 1e-8): the same but where a gradient is so
    near to zero that the rounding of another order of sums counts. The gradient's direction is compared by its norm
    before clipping and by the cosine of what moved, the weights to a hundredth of the learning rate."""
    import torch

    start, tiny, made, figures, stats = await stepped(model, tmp_path)
    before, here, there = (flat(one) for one in (start.model.state_dict(), tiny.weights(), made.model.state_dict()))
    assert (figures["rows"], figures["tokens"]) == (stats.rows, stats.tokens)
    assert stats.rows == 10
    assert stats.clipped > 0.1
    assert figures["grad_norm"] == pytest.approx(stats.grad_norm, rel=1e-4)
    assert float(torch.cosine_similarity(there - before, here - before, dim=0)) > 0.9999
    assert float(((there - here).abs() < LR / 100).float().mean()) > 0.999
    assert float((there - before).abs().max()) == pytest.approx(LR, rel=0.01)


async def test_an_output_layer_with_weights_of_its_own_is_trained_too(tmp_path: Path) -> None:
    import torch

    start, tiny, made, figures, stats = await stepped(write_llama(tmp_path / "llama"), tmp_path)
    heads = [one["lm_head.weight"] for one in (start.model.state_dict(), tiny.weights(), made.model.state_dict())]
    before, here, there = (one.flatten() for one in heads)
    assert figures["grad_norm"] == pytest.approx(stats.grad_norm, rel=1e-4)
    assert float(torch.cosine_similarity(there - before, here - before, dim=0)) > 0.999


async def test_two_steps_on_two_processes_are_those_of_tiny_and_after_going_back_there_are_no_moments(
    model: Path, tmp_path: Path
) -> None:
    """torchrun and gloo, model and rows shared out. In the second step AdamW's betas and moments count."""
    from training.tiny import Learner, load

    outside = learner(model, tmp_path, processes=2)
    start: Any = outside.start()
    first, second = await mixed(start), [await sampled(start, "e", [0.0, 1.0, 0.3])]
    once, begun = outside.update(start, first)
    twice, gone_on = outside.update(once, second)
    anew, gone_back = outside.update(once, second)
    tiny = Learner(*load(model, "cpu"), lr=LR, sample_batch=64, context=128)
    for groups in (first, second):
        tiny.update(played_of(groups))
    assert [one["moments"] for one in (begun, gone_on, gone_back)] == [0.0, 1.0, 0.0]
    here = flat(tiny.weights())
    assert float(((flat(twice.model.state_dict()) - here).abs() < LR / 100).float().mean()) > 0.999
    assert float(((flat(anew.model.state_dict()) - here).abs() < LR / 100).float().mean()) < 0.5


async def test_equal_rewards_change_nothing_and_make_no_version(model: Path, tmp_path: Path) -> None:
    import torch

    outside = learner(model, tmp_path)
    start: Any = outside.start()
    groups = [await sampled(start, "a", [0.5] * 3), await sampled(start, "b", [None, 1.0])]
    made, figures = outside.update(start, groups)
    assert (made is start, figures["rows"]) == (True, 0.0)
    (out,) = written(tmp_path)
    again = outside.load(out)
    assert torch.equal(flat(again.model.state_dict()), flat(start.model.state_dict()))


async def test_a_step_that_is_not_finite_leaves_no_policy_and_says_what_to_do(model: Path, tmp_path: Path) -> None:
    import torch

    outside = learner(model, tmp_path)
    start: Any = outside.start()
    group = await sampled(start, "a", [1.0, 0.0])
    with torch.no_grad():
        next(iter(start.model.parameters()))[0] = math.nan
    with pytest.raises(TrainingError, match="the gradient is not finite: lower the learning rate"):
        outside.update(start, [group])
    assert not written(tmp_path)


TOLD = Tokens(ids=(3, 4, 5), mask=(False, True, True), logprobs=(0.0, -1.0, -1.0))
ALIEN = TOLD.model_copy(update={"ids": (3, 99_999, 5)})
CUT = TOLD.model_copy(update={"logprobs": (0.0, -1.0)})
OWN = TOLD.model_copy(update={"mask": (True, True, True)})


def pair(tokens: Sequence[Tokens]) -> Group:
    return Group(
        key="k", prompt="p", rollouts=tuple(Rollout(text="t", reward=one, tokens=tuple(tokens)) for one in (0.0, 1.0))
    )


@pytest.mark.parametrize(
    ("groups", "out", "told"),
    [
        ([pair([])], "out", "no rollout has tokens"),
        ([], "out", "no rollout has tokens"),
        ([pair([ALIEN])], "out", "they are of another model, so give the --parent that wrote them"),
        ([pair([CUT])], "out", "without mask or log-probability"),
        ([pair([OWN])], "out", "begins with a token of its own"),
        ([pair([TOLD])], "file/out", "cannot be written, give --out a place that can"),
        ([pair([TOLD])], "there", "is there already: a version is never written over"),
    ],
)
def test_what_cannot_be_learnt_from_or_written_to_is_said_with_its_fix(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], groups: list[Group], out: str, told: str
) -> None:
    write_groups(tmp_path / "groups.jsonl", groups)
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "there").mkdir()
    before = sorted(tmp_path.iterdir())
    given = ["--parent", str(model), "--groups", str(tmp_path / "groups.jsonl"), "--out", str(tmp_path / out)]
    assert main([*given, "--machine", "cpu"]) == 1
    assert told in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_holds_no_rollouts_is_named(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "g.jsonl").write_text('{"key": "k", "prompt": "p", "rollouts": [{"text": "t", "reward": "good"}]}')
    given = ["--parent", str(model), "--groups", str(tmp_path / "g.jsonl"), "--out", str(tmp_path / "out")]
    assert main([*given, "--machine", "cpu"]) == 1
    assert "g.jsonl: rollouts.0.reward: Input should be a valid number" in capsys.readouterr().err


def test_torchrun_says_of_a_failed_update_what_failed(model: Path, tmp_path: Path) -> None:
    (tmp_path / "groups.jsonl").write_bytes(b"")
    places = {"parent": model, "groups": tmp_path / "groups.jsonl", "out": tmp_path / "out"}
    command = [part.format_map(places) for part in update_command("cpu", LR, 2)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode
    assert "no rollout has tokens" in done.stderr[-400:]


@pytest.mark.parametrize("machine", MACHINES)
def test_the_step_has_the_method_of_mia_train_on_every_machine(machine: Machine, model: Path) -> None:
    from verl.utils.config import omega_conf_to_dataclass

    from training.onverl.step import Settings, config_of

    config = config_of(model, Settings(machine, lr=2e-6, clip=0.3), 64)
    actor = omega_conf_to_dataclass(config.actor)
    assert (actor.strategy, actor.loss_agg_mode, actor.use_kl_loss) == ("fsdp2", "seq-mean-token-mean", False)
    assert (actor.optim.lr, tuple(actor.optim.betas), actor.optim.weight_decay) == (2e-6, (0.9, 0.98), 0.0)
    assert (actor.optim.clip_grad, actor.clip_ratio_low, actor.clip_ratio_high) == (1.0, 0.3, 0.3)
    assert (config.model.use_fused_kernels, config.model.path) == (True, str(model))
    assert actor.engine.mixed_precision == ({"param_dtype": "fp32"} if machine == "cpu" else None)


def test_an_adapter_is_not_trained_by_verl(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leave --rank out"):
        learner_of(Choice("verl", tmp_path / "work", model=model, rank=8))


def test_a_stream_is_served_learnt_from_by_verl_and_served_anew(model: Path, tmp_path: Path) -> None:
    reward = tmp_path / "reward.py"
    reward.write_text("def reward(question, reply, gold):\n    return float(sum(map(ord, reply)))\n")
    (tmp_path / "q.jsonl").write_bytes(orjson.dumps({"data_id": "d", "question": "say it", "ground_truth": "it"}))
    mia = [sys.executable, "-m", "mia_skill.cli"]
    serve = [*mia, "--home", str(tmp_path / "home"), "stream", "serve", "--port", "0", "--updater", "verl"]
    serve += ["--model", str(model), "--lr", str(LR), "--groups", "1", "--reward", str(reward)]
    process = subprocess.Popen(serve, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        url = next(word for line in process.stderr for word in line.decode().split() if word.startswith("http://"))
        url = url.removesuffix("/health")
        done = subprocess.run(
            [*mia, "stream", "send", str(tmp_path / "q.jsonl"), "--url", url],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.stdout.startswith("1 samples, 1 updates"), done.stderr
        told = httpx.get(f"{url}/health", trust_env=False).json()
        assert (told["version"], told["status"], told["metrics"]["rows"]) == (1, "ok", 4.0), told
        assert told["metrics"]["grad_norm"] > 0
        again = httpx.post(f"{url}/submit_sample", json={"rollout": {"data_id": "e", "question": "?"}}, timeout=60)
        assert again.json()["version"] == 1
    finally:
        process.kill()
        process.communicate()
