"""Commands of a training run, composed and checked before anything is started: one place says what a stage is."""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from mia_skill.core.errors import InputError, MissingExtraError
from mia_skill.core.require import require
from training.model_folder import check_model, has_own_head, model_shape
from training.overrides import check_overrides
from training.record import Stage, check_row

__all__ = [
    "MACHINES",
    "Launch",
    "Machine",
    "alternation",
    "check_installed",
    "check_launch",
    "environment_for",
    "export_command",
    "flash_settings",
    "head_settings",
]

Machine = Literal["one_gpu", "two_gpus", "eight_gpus", "many_nodes", "cpu"]
MACHINES: tuple[Machine, ...] = ("one_gpu", "two_gpus", "eight_gpus", "many_nodes", "cpu")
SIZES: Mapping[Stage, Mapping[str, object]] = {
    "executor": {"data.max_prompt_length": 16384, "data.max_response_length": 16384, "trainer.total_epochs": 8},
    "planner": {"data.max_prompt_length": 24576, "data.max_response_length": 8192, "trainer.total_epochs": 4},
}
"""Spec section 6; the paper's epochs."""
FLASH = {
    "actor_rollout_ref.model.use_remove_padding": True,
    "actor_rollout_ref.model.override_config.attn_implementation": "flash_attention_2",
}
"""Without padding, where flash-attn is installed; torch's SDPA with padded micro-batches elsewhere."""
ROOM = 4
"""A checkpoint holds weights and two moments in float32, and the one before it stays until it is whole."""


@dataclass(frozen=True)
class Launch:
    """One stage."""

    stage: Stage
    data: Path
    """Folder of `mia train data`."""
    model: Path
    out: Path
    machine: Machine = "one_gpu"
    other: tuple[str, str] | None = None
    """Address and name of the frozen agent."""
    search: str = "row"
    overrides: tuple[str, ...] = ()
    """For hydra, last: they win."""
    tensorboard: bool | None = None
    """Event files under `out`; None: where the package is installed."""

    @property
    def settings(self) -> tuple[str, ...]:
        """What differs from the files of settings, as `KEY=VALUE`."""
        given: dict[str, object] = {
            "data.mia_stage": self.stage,
            "data.train_files": self.data / "train.parquet",
            "data.val_files": self.data / "dev.parquet",
            "actor_rollout_ref.model.path": self.model,
            "trainer.default_local_dir": self.out,
            "trainer.logger": "[console,tensorboard]" if self.draws else "[console]",
            "mia.search": self.search,
            **SIZES[self.stage],
        }
        if self.other is not None:
            given |= {"+mia.other.base_url": self.other[0], "+mia.other.model": self.other[1]}
        found = (*flash_settings(self.machine), *head_settings(self.model))
        return (*(f"{key}={value}" for key, value in given.items()), *found, *self.overrides)

    def setting(self, key: str) -> str:
        """What the command says of a setting; the last word wins. Empty: nothing, so the files decide."""
        said = [one.lstrip("+").partition("=") for one in self.settings]
        return next((value for name, _, value in reversed(said) if name == key), "")

    @property
    def draws(self) -> bool:
        """Are curves written for TensorBoard?"""
        return find_spec("tensorboard") is not None if self.tensorboard is None else self.tensorboard

    @property
    def command(self) -> tuple[str, ...]:
        """What is started."""
        return (sys.executable, "-m", "training.onverl.main", "--config-name", self.machine, *self.settings)

    @property
    def checkpoint(self) -> Path | None:
        """The newest whole one."""
        tracker = self.out / "latest_checkpointed_iteration.txt"
        if not tracker.is_file():
            return None
        return self.out / f"global_step_{tracker.read_text().strip()}"


def flash_settings(machine: str) -> list[str]:
    """Batches without padding, where the machine can have them."""
    if machine == "cpu" or find_spec("flash_attn") is None:
        return []
    return [f"{key}={value}" for key, value in FLASH.items()]


def head_settings(model: Path) -> list[str]:
    """No chunked kernel for an output layer with weights of its own: veRL 0.9.1 shards these apart (FSDP2) and then
    hands the kernel, which works outside of that layer, the shard."""
    there = (model / "config.json").is_file()  # an alternation composes its later stages before their models are there
    return ["actor_rollout_ref.model.use_fused_kernels=false"] if there and has_own_head(model) else []


def environment_for(machine: Machine, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables of the process: no telemetry, no hub, and veRL's platform where there is no GPU."""
    fixed = {"RAY_USAGE_STATS_ENABLED": "0", "TOKENIZERS_PARALLELISM": "false"}
    asked = {"HF_HUB_OFFLINE": "1", "VLLM_USE_FLASHINFER_SAMPLER": "0"}
    if machine == "cpu":
        fixed |= {"VERL_PLATFORM": "cpu", "VERL_USE_EXTERNAL_MODULES": "training.onverl.cpu_platform"}
        asked |= {"OMP_NUM_THREADS": "1", "RAY_memory_monitor_refresh_ms": "0"}
    return {**asked, **environment, **fixed}


def check_installed(machine: Machine, overrides: Sequence[str] = ()) -> None:
    """Raises: MissingExtraError: this Python has no veRL, or no vLLM that is to write the rollouts."""
    lock = "it has an environment of its own: pip install -r requirements/train.txt (`mia doctor --train` looks at it)"
    if find_spec("verl") is None:
        raise MissingExtraError(f"training needs verl, and this Python has none; {lock}")
    name = next((one.partition("=")[2] for one in reversed(overrides) if "rollout.name=" in one), "vllm")
    if machine != "cpu" and name == "vllm" and find_spec("vllm") is None:
        told = "or let transformers write them, slowly: actor_rollout_ref.rollout.name=hf"
        raise MissingExtraError(f"vLLM is to write the rollouts, and is not installed; {lock}, {told}")


def check_launch(launch: Launch) -> None:
    """What can be known to fail before the run.

    Raises:
        ConfigError: a setting is unknown or cannot be used; the message names the nearest.
        InputError: files are missing or unfit, the model is none, the checkpoints are of another model, the disk is
            too full.
        MissingExtraError: curves for TensorBoard are asked for, and the package is not there.
    """
    check_overrides(launch.machine, launch.settings)
    asked = [one for one in launch.overrides if one.lstrip("+").startswith("trainer.logger=")]
    if "tensorboard" in asked[-1] if asked else launch.draws:
        require("tensorboard", extra="tensorboard")
    check_rows(launch)
    wanted = check_model(launch.model)
    if launch.checkpoint is not None:
        held = model_shape(launch.checkpoint / "actor" / "huggingface")
        differing = sorted(key for key in wanted if held.get(key) != wanted[key])
        if differing:
            raise InputError(
                f"{launch.checkpoint} is a checkpoint of another model ({', '.join(differing)} differ): give --out an "
                "empty folder, or --model the model it began with"
            )
    if launch.stage == "planner" and launch.other is None and not any("mia.other" in one for one in launch.overrides):
        raise InputError("a Planner is trained with a frozen Executor: give --other URL MODEL")
    check_room(launch)


def check_rows(launch: Launch) -> None:
    """Raises: InputError: a file is missing or empty, or a row of it cannot be used."""
    if launch.setting("data.mia_curriculum").lower() == "true" and launch.setting("data.shuffle").lower() != "false":
        raise InputError("a curriculum is an order: give data.shuffle=false beside data.mia_curriculum=true")
    pq = require("pyarrow.parquet", extra="corpus")
    for name in ("train", "dev"):
        file = launch.data / f"{name}.parquet"
        if not file.is_file():
            raise InputError(f"{file} is missing: make it with `mia train data --out {launch.data}`")
        rows = pq.read_table(file).to_pylist()
        if not rows:
            raise InputError(f"{file} has no rows")
        for number, row in enumerate(rows, 1):
            check_row(row, launch.stage, number)
            if launch.setting("mia.search") == "row" and not (row.get("extra_info") or {}).get("corpus"):
                raise InputError(
                    f"row {number} of {file} names no place to search: give --search the address of a /retrieve "
                    "service (`mia serve --rest retrieve`), or world:SEED:SIZE"
                )


def check_room(launch: Launch) -> None:
    """Raises: InputError: a checkpoint would not fit."""
    weights = sum(file.stat().st_size for file in launch.model.glob("*.safetensors"))
    place = launch.out
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < ROOM * weights:
        need = ROOM * weights / 1e9
        raise InputError(f"{place} has {free / 1e9:.1f} GB left and a checkpoint needs about {need:.1f} GB")


def export_command(checkpoint: Path, out: Path, *, gpu: bool = True) -> tuple[str, ...]:
    """veRL's own merger: a sharded checkpoint to a Hugging Face folder."""
    actor = checkpoint if checkpoint.name == "actor" else checkpoint / "actor"
    made = [sys.executable, "-m", "verl.model_merger", "merge", "--backend", "fsdp"]
    made += ["--local_dir", str(actor), "--target_dir", str(out)]
    return (*made, *([] if gpu else ["--use_cpu_initialization"]))


@dataclass(frozen=True)
class Leg:
    """One stage of an alternation: what is trained, and whom the frozen agent is served from."""

    launch: Launch
    served: Path | None
    """Folder of the frozen agent's model; None: nobody replans in the first Executor stage."""
    exported: Path
    port: int
    python: str = sys.executable
    """Of the environment that serves: veRL's own has a vLLM on GPUs, and none without."""


ORDER: tuple[Stage, Stage] = ("executor", "planner")
"""Of the stages of an alternation."""


def alternation(
    stages: int,
    *,
    data: Path,
    executor: Path,
    planner: Path,
    out: Path,
    machine: Machine = "one_gpu",
    port: int = 8141,
    search: str = "row",
    overrides: Sequence[str] = (),
    tensorboard: bool | None = None,
    python: str = sys.executable,
) -> tuple[Leg, ...]:
    """Executor, Planner, Executor, ...: each trained beside the newest export of the other (paper 3.3).

    Raises:
        InputError: there is no stage.
    """
    if stages < 1:
        raise InputError(f"{stages} stages: there must be at least one")
    newest: dict[Stage, Path] = {"executor": executor, "planner": planner}
    legs = []
    for number in range(stages):
        stage, frozen = ORDER[:: -1 if number % 2 else 1]
        folder = out / f"{number + 1}-{stage}"
        launch = Launch(
            stage=stage,
            data=data,
            model=newest[stage],
            out=folder,
            machine=machine,
            other=(f"http://127.0.0.1:{port}/v1", frozen),
            search=search,
            overrides=tuple(overrides),
            tensorboard=tensorboard,
        )
        legs.append(Leg(launch, newest[frozen], folder / "export", port, python))
        newest[stage] = folder / "export"
    return tuple(legs)
