"""`mia doctor --train`: can this environment train, on what, and what mends it."""

import importlib.metadata
import shutil
import subprocess
import sys

from mia_skill.install.finding import Finding

__all__ = ["PINS", "examine_training"]

PINS = {
    "verl": "0.9.1",
    "vllm": "0.24.0",
    "torch": "2.11.0",
    "transformers": "5.9.0",
    "tensordict": "0.10.0",
    "TransferQueue": "0.1.11",
    "ray": "2.60.0",
}
"""Versions that are known to work together (requirements/train.txt)."""
NEEDED = ("verl", "torch", "transformers", "tensordict", "TransferQueue", "ray")
LOCK = "pip install -r requirements/train.txt"
SHARED_GB = 8
"""Ray and data loaders pass tensors through /dev/shm."""
PROBE = """
import json, torch
gpus = [torch.cuda.get_device_properties(n) for n in range(torch.cuda.device_count())]
print(json.dumps([[gpu.name, gpu.total_memory >> 30] for gpu in gpus]))
"""
LOOPS = """
import training.onverl.loops, training.onverl.dataset
from verl.experimental.agent_loop.agent_loop import _agent_loop_registry as known
print("mia_executor" in known and "mia_planner" in known)
"""


def examine_training() -> list[Finding]:
    """In the order in which it should be mended."""
    found = [python(), *packages(), attention()]
    if version("torch") is None:
        return found
    found.append(gpus())
    if version("verl") is not None:
        found.append(loops())
    return [*found, shared_memory()]


def python() -> Finding:
    """veRL 0.9 needs Python below 3.13."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    if sys.version_info >= (3, 13):
        fix = "python3.12 -m venv .venv-train; veRL 0.9.1 needs Python below 3.13"
        return Finding(part="python", state="problem", detail=here, fix=fix)
    return Finding(part="python", state="ok", detail=here)


def packages() -> list[Finding]:
    """Each pinned package: there, and of the version that is known to work."""
    found = []
    for name, pinned in PINS.items():
        there = version(name)
        if there is None and name not in NEEDED:
            detail = "not installed: rollouts by transformers only (actor_rollout_ref.rollout.name=hf), slowly"
            found.append(Finding(part=name, state="off", detail=detail))
        elif there is None:
            found.append(Finding(part=name, state="problem", detail="not installed", fix=LOCK))
        elif there.partition("+")[0] != pinned:
            detail = f"{there}; {pinned} is known to work"
            found.append(Finding(part=name, state="off", detail=detail))
        else:
            found.append(Finding(part=name, state="ok", detail=there))
    return found


def attention() -> Finding:
    """Which attention a run uses."""
    if (there := version("flash-attn")) is not None:
        return Finding(part="attention", state="ok", detail=f"flash-attn {there}: without padding")
    detail = "torch's SDPA with padded micro-batches; flash-attn is a step of its own (requirements/README.md)"
    return Finding(part="attention", state="off", detail=detail)


def gpus() -> Finding:
    """What torch sees; asked in a process of its own, since a broken driver can take one down."""
    import orjson

    done = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, timeout=300, check=False)
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        return Finding(part="gpu", state="problem", detail=" ".join(last), fix="mend torch or the driver")
    seen = orjson.loads(done.stdout)
    if not seen:
        detail = "none: --machine cpu runs the real trainer on a small model, for tests"
        return Finding(part="gpu", state="off", detail=detail)
    names = ", ".join(f"{name} {memory} GiB" for name, memory in seen)
    machine = {1: "one_gpu", 2: "two_gpus", 8: "eight_gpus"}.get(len(seen), "one_gpu trainer.n_gpus_per_node=N")
    return Finding(part="gpu", state="ok", detail=f"{len(seen)} x {names}; --machine {machine}")


def loops() -> Finding:
    """Do our agent loops register themselves? veRL hides the failure of a plug-in."""
    done = subprocess.run([sys.executable, "-c", LOOPS], capture_output=True, timeout=600, check=False)
    if done.returncode == 0 and done.stdout.split()[-1:] == [b"True"]:
        return Finding(part="loops", state="ok", detail="mia_executor and mia_planner are known to veRL")
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
    return Finding(part="loops", state="problem", detail=" ".join(last) or "not registered", fix=LOCK)


def shared_memory() -> Finding:
    """A container's default of 64 MB ends in bus errors."""
    try:
        free = shutil.disk_usage("/dev/shm").free / 1e9
    except OSError:
        return Finding(part="/dev/shm", state="off", detail="not there")
    if free < SHARED_GB:
        fix = f"docker run --shm-size {4 * SHARED_GB}g"
        return Finding(part="/dev/shm", state="problem", detail=f"{free:.1f} GB free", fix=fix)
    return Finding(part="/dev/shm", state="ok", detail=f"{free:.1f} GB free")


def version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
