"""The settings files: they compose with veRL's own, name machines only, and stop a run that is set wrongly."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_model import small_model, small_tokenizer

from mia_skill.core.errors import ConfigError, InputError
from training.guards import Guard, GuardLimits
from training.launch import Launch, Machine
from training.model_folder import check_model
from training.onverl.settings import read_limits, read_settings
from training.overrides import check_overrides

pytestmark = [pytest.mark.verl, pytest.mark.filterwarnings("default")]

MACHINES = ("one_gpu", "two_gpus", "eight_gpus", "many_nodes")
RESOURCES = {
    "trainer.nnodes",
    "trainer.n_gpus_per_node",
    "actor_rollout_ref.rollout.gpu_memory_utilization",
    "actor_rollout_ref.rollout.agent.num_workers",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units",
    "ray_kwargs.ray_init.address",
}


def composed(name: str) -> Any:
    from hydra import compose, initialize_config_module

    with initialize_config_module("training.onverl.config", version_base=None):
        return compose(config_name=name, overrides=["actor_rollout_ref.model.path=M", "data.train_files=T"])


def flat(node: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {path: node}
    return {
        key: value for name, inner in node.items() for key, value in flat(inner, f"{path}.{name}".strip(".")).items()
    }


@pytest.fixture(scope="module")
def files() -> dict[str, dict[str, Any]]:
    from omegaconf import OmegaConf

    return {name: flat(OmegaConf.to_container(composed(name), resolve=False)) for name in (*MACHINES, "cpu")}


def test_machines_differ_in_resources_and_in_nothing_else(files: dict[str, dict[str, Any]]) -> None:
    base = files["one_gpu"]
    for name in MACHINES:
        keys = {key for key in base.keys() | files[name].keys() if base.get(key) != files[name].get(key)}
        assert keys <= RESOURCES, name


def test_the_method_is_the_papers(files: dict[str, dict[str, Any]]) -> None:
    for name in (*MACHINES, "cpu"):
        found = files[name]
        assert found["algorithm.adv_estimator"] == "grpo"
        assert found["algorithm.use_kl_in_reward"] is False
        assert found["actor_rollout_ref.actor.use_kl_loss"] is False
        assert found["actor_rollout_ref.actor.loss_agg_mode"] == "seq-mean-token-mean"
        assert found["actor_rollout_ref.rollout.n"] == 8
        assert found["data.train_batch_size"] == 128
        assert found["actor_rollout_ref.actor.optim.lr"] == 1e-6


def test_what_stands_in_the_files_is_what_the_code_reads(files: dict[str, dict[str, Any]]) -> None:
    from omegaconf import OmegaConf

    config = composed("one_gpu")
    settings = read_settings(OmegaConf.to_container(config.mia, resolve=True))  # type: ignore[arg-type]
    assert settings.limits.steps == 10
    assert settings.planner_variant == "paper"
    limits = read_limits(OmegaConf.to_container(config.mia_guards, resolve=True))  # type: ignore[arg-type]
    assert limits == GuardLimits()
    assert Guard(limits).look({"reward": 1.0}) is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("trainer.total_epoch=3", "the nearest is 'trainer.total_epochs'"),
        ("actor_rollout_ref.rolout.n=4", "the nearest is 'actor_rollout_ref.rollout"),
        ("+trainr.x=4", "the nearest is 'trainer'"),
        ("mia.other.model=frozen", r"write \+mia.other.model="),
    ],
)
def test_a_setting_that_verl_does_not_know_is_refused_with_the_nearest_one(given: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_overrides("one_gpu", [given])


@pytest.mark.parametrize("machine", [*MACHINES, "cpu"])
def test_what_a_launch_sets_by_itself_is_known(machine: Machine, tmp_path: Path) -> None:
    launch = Launch("planner", tmp_path, tmp_path, tmp_path, machine, ("http://127.0.0.1:1/v1", "frozen"))
    check_overrides(machine, [*launch.settings, "hydra.verbose=true", "+actor_rollout_ref.actor.new=1", "~mia.search"])


def test_every_setting_that_the_documents_name_is_one() -> None:
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    named = re.findall(r"\b((?:actor_rollout_ref|data|mia|mia_guards|trainer|algorithm)\.[\w.]+=[^\s`]+)", text)
    assert len(named) > 8
    check_overrides("one_gpu", named)


def test_the_entry_knows_our_trainer() -> None:
    from verl.trainer.ppo.v1 import get_trainer_cls

    import training.onverl.trainer

    assert get_trainer_cls("mia") is training.onverl.trainer.GuardedTrainer


def test_rollouts_by_transformers_are_known_wherever_our_loops_are() -> None:
    code = (
        "import training.onverl.loops\n"
        "from verl.workers.rollout.base import get_rollout_class\n"
        "from verl.workers.rollout.replica import RolloutReplicaRegistry\n"
        "print(get_rollout_class('hf').__name__, RolloutReplicaRegistry.get('hf').__name__)"
    )
    environment = {**os.environ, "VERL_PLATFORM": "cpu"}
    environment["VERL_USE_EXTERNAL_MODULES"] = "training.onverl.cpu_platform"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split()[-2:] == ["TransformersAdapter", "TransformersReplica"], done.stderr[-2000:]


def test_a_model_whose_parts_belong_to_others_is_refused_before_the_run(tmp_path: Path) -> None:
    tokenizer = small_tokenizer(["some words to learn from"], 300)
    whole = small_model(tokenizer, tmp_path / "whole")
    check_model(whole)

    def damaged(name: str, change: Callable[[Any], None]) -> Path:
        place = tmp_path / name
        shutil.copytree(whole, place)
        other = small_tokenizer(["some words to learn from"], 300)
        change(other)
        other.save_pretrained(place)
        return place

    cases: list[tuple[str, Callable[[Any], None], str]] = [
        ("larger", lambda one: one.add_tokens(["<more>"]), "it is of another model"),
        ("bare", lambda one: setattr(one, "chat_template", None), "has no chat template"),
        ("alien", lambda one: setattr(one, "eos_token", "<|im_start|>"), "one of them belongs to another model"),
    ]
    for name, change, told in cases:
        place = damaged(name, change)
        if name == "bare":
            for file in place.glob("chat_template*"):
                file.unlink()
        with pytest.raises(InputError, match=told):
            check_model(place)


def test_a_group_with_a_lost_rollout_is_normalised_over_the_others() -> None:
    """veRL leaves out the rollout that raised; what is left is the advantage of `training.advantage`."""
    import numpy as np
    import torch
    from verl import DataProto
    from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories

    from training.advantage import group_advantages

    rewards = [1.0, None, 0.2, 0.2]
    kept = [(n, reward) for n, reward in enumerate(rewards) if reward is not None]
    scores = torch.zeros(len(kept), 3)
    scores[:, -1] = torch.tensor([reward for _, reward in kept])
    data = DataProto.from_dict(
        tensors={"token_level_rewards": scores, "response_mask": torch.ones(len(kept), 3, dtype=torch.int64)},
        non_tensors={"uid": np.array(["q"] * len(kept), dtype=object)},
    )
    keys = [f"q_{n}_0" for n, _ in kept]
    got = compute_advantage_for_multi_trajectories(data, keys, "grpo").batch["advantages"][:, 0].tolist()
    ours = group_advantages(rewards)
    assert ours[1] == 0.0
    sign = [one > 0 for n, one in enumerate(ours) if rewards[n] is not None]
    assert [one > 0 for one in got] == sign
    # veRL divides by the sample's standard deviation, the paper by the group's: one factor for the whole group.
    ratio = [a / b for a, b in zip(got, [ours[n] for n, _ in kept], strict=True)]
    assert max(ratio) == pytest.approx(min(ratio), rel=1e-4)


def test_both_conversations_of_a_planner_get_the_advantage_of_its_rollout() -> None:
    import numpy as np
    import torch
    from verl import DataProto
    from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories

    scores = torch.zeros(4, 2)
    scores[:, -1] = torch.tensor([1.0, 1.0, 0.0, 0.0])
    data = DataProto.from_dict(
        tensors={"token_level_rewards": scores, "response_mask": torch.ones(4, 2, dtype=torch.int64)},
        non_tensors={"uid": np.array(["q"] * 4, dtype=object)},
    )
    got = compute_advantage_for_multi_trajectories(data, ["q_0_0", "q_0_1", "q_1_0", "q_1_1"], "grpo")
    first = got.batch["advantages"][:, 0].tolist()
    assert first[0] == first[1] == -first[2] == -first[3]
    assert first[0] > 0
