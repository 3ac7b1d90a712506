"""Running the stages of an alternation: serve the frozen agent, train, export, next."""

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx

from mia_skill.core.errors import InputError, MiaError, ModelUnreachableError, boundary
from mia_skill.core.group import end_group
from training.launch import Launch, Leg, check_launch, environment_for, export_command

__all__ = ["StageFailed", "export", "run_launch", "run_legs", "serve_command"]

ADAPTER = "lora_adapter"
"""Where veRL's merger leaves what a LoRA run trained."""
READY_S = 600.0
POLL_S = 1.0
STOP_S = 60.0
ON_GPU = ("--gpu-memory-utilization", "0.2")
ON_CPU = ("--dtype", "bfloat16", "--max-num-seqs", "8", "--enforce-eager")
CACHE = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_NO_USAGE_STATS": "1"}
"""Of a server without a GPU, in GiB: by default it takes most of the memory."""
Say = Callable[[str], None]
Start = Callable[[Sequence[str], Mapping[str, str]], int]
Serve = Callable[[Leg, Mapping[str, str], Say], AbstractContextManager[None]]


class StageFailed(MiaError):
    """A stage ended early; what it had saved can be resumed."""


def serve_command(leg: Leg) -> tuple[str, ...]:
    """The frozen agent, on what the trainer leaves free: a share of the GPU, or a small cache in memory."""
    made = [leg.python, "-m", "vllm.entrypoints.openai.api_server", "--model", str(leg.served)]
    made += ["--served-model-name", name_of(leg), "--host", "127.0.0.1", "--port", str(leg.port)]
    return (*made, *(ON_CPU if leg.launch.machine == "cpu" else ON_GPU))


def name_of(leg: Leg) -> str:
    """Under which the frozen agent is served."""
    return leg.launch.other[1] if leg.launch.other else "frozen"


def started(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run it, its output as it comes; the exit code."""
    return subprocess.run(list(command), env=dict(environment), check=False).returncode


def run_launch(launch: Launch, start: Start = started) -> Path:
    """Train one stage, or go on with it. Its newest checkpoint.

    Raises:
        InputError: it cannot start.
        StageFailed: it ended early.
    """
    check_launch(launch)
    code = start(launch.command, environment_for(launch.machine))
    if code != 0:
        raise StageFailed(
            f"the {launch.stage}'s run ended with code {code}; its output says why. The same command resumes from "
            f"{launch.checkpoint or 'the start: no checkpoint was written'}"
        )
    if launch.checkpoint is None:
        raise StageFailed(f"the run ended, and wrote no checkpoint to {launch.out}: set trainer.save_freq")
    return launch.checkpoint


def export(checkpoint: Path, out: Path, environment: Mapping[str, str], start: Start = started) -> Path:
    """A folder that transformers and `vllm serve` load; it is there when it is whole.

    Raises:
        InputError: there is no checkpoint, or the folder holds something already.
        StageFailed: the merger failed, or left no model.
    """
    if not (checkpoint / "actor").is_dir() and checkpoint.name != "actor":
        raise InputError(f"{checkpoint} is no checkpoint: give the folder global_step_N of a run")
    if out.exists() and any(out.iterdir()):
        raise InputError(f"{out} holds something already: give --out a new folder")
    gpu = environment.get("VERL_PLATFORM") != "cpu"
    partial = out.with_name(f"{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # what an export left that was killed
    code = start(export_command(checkpoint, partial, gpu=gpu), environment)
    if code != 0 or not (partial / "config.json").is_file() or not list(partial.glob("*.safetensors")):
        full = f"; {shutil.disk_usage(checkpoint).free / 1e9:.1f} GB are free there"
        raise StageFailed(f"veRL's merger ended with code {code} and left no whole model in {partial}{full}")
    if (partial / ADAPTER).is_dir():  # what was trained lies beside the weights that it began with
        code = start((sys.executable, "-m", "training.merged", str(partial)), environment)
        if code != 0:
            raise StageFailed(f"merging the adapter in {partial} ended with code {code}; its output says why")
    with boundary(StageFailed, f"moving the model to {out}", OSError):
        partial.replace(out)
    return out


def run_legs(legs: Sequence[Leg], say: Say, start: Start = started, serve: Serve | None = None) -> Path:
    """All stages, each skipped if its export is there already. The last export."""
    for leg in legs:
        if (leg.exported / "config.json").is_file():
            say(f"{leg.launch.stage}: {leg.exported} is there already")
            continue
        environment = environment_for(leg.launch.machine)
        with (serve or serving)(leg, environment, say):
            say(f"{leg.launch.stage}: training {leg.launch.model}")
            checkpoint = run_launch(leg.launch, start)
        export(checkpoint, leg.exported, environment, start)
        say(f"{leg.launch.stage}: {leg.exported}")
    return legs[-1].exported


@contextmanager
def serving(leg: Leg, environment: Mapping[str, str], say: Say) -> Iterator[None]:
    """The frozen agent is served meanwhile.

    Raises:
        InputError: somebody else serves at its port.
        ModelUnreachableError: its server did not come up.
    """
    if leg.served is None or leg.launch.other is None:
        yield
        return
    url = f"{leg.launch.other[0]}/models"
    if answers(url):
        raise InputError(f"somebody serves at {url} already: stop that server, or give --port another one")
    say(f"serving {leg.served} at {leg.launch.other[0]}")
    # In a session of its own, its engine processes can be ended with it.
    server = subprocess.Popen(serve_command(leg), env={**CACHE, **environment}, start_new_session=True)
    try:
        until = time.monotonic() + READY_S
        while not answers(url):
            if server.poll() is not None or time.monotonic() > until:
                raise ModelUnreachableError(f"the frozen agent's server did not come up at {url}; its output says why")
            time.sleep(POLL_S)
        yield
    finally:
        end_group(server, STOP_S)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5.0, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
