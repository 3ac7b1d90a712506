"""Updates in a process of their own: it may be killed, fail or hang, and whoever serves does not notice.

This is also the seam for trainers that are not ours: any command that reads a model folder and `groups.jsonl` and
writes a new model folder is an updater. veRL's is `training.onverl.update`.
"""

import re
import shlex
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from mia_skill.core.errors import TrainingError, boundary
from training.groups import Group
from training.policy_store import Learner, Policy

__all__ = ["OutsideLearner", "read_groups", "write_groups"]

KEEP = 4
"""Folders of the latest updates."""
METRICS = "metrics.json"
GRACE_S = 30.0
PLACE = re.compile(r"\{(parent|groups|out)\}")
"""Other braces in a command are its own."""


@dataclass
class OutsideLearner:
    """Runs `command` for every update. In it `{parent}` is the folder of the policy to start from, `{groups}` the file
    of rollouts, `{out}` the folder to write; `{out}/metrics.json` may hold figures, of which `rows` are the
    conversations that moved a weight."""

    inner: Learner
    """Loads what the command wrote."""
    command: Sequence[str]
    work: Path
    limit_s: float = 3600.0
    _made: list[Path] = field(default_factory=list, init=False, repr=False)

    def __post_init__(self) -> None:
        shutil.rmtree(self.work, ignore_errors=True)  # what an update before a restart left

    def start(self) -> Policy:
        """The inner learner's."""
        return self.inner.start()

    def load(self, folder: Path) -> Policy:
        """The inner learner's."""
        return self.inner.load(folder)

    def update(self, policy: Policy, groups: Sequence[Group]) -> tuple[Policy, dict[str, float]]:
        """Run the command and load what it wrote; the same policy where it says that no row moved it (`rows` is 0).

        Raises:
            TrainingError: it failed, was killed, took too long, or wrote nothing.
        """
        place = self.work / uuid.uuid4().hex[:16]
        parent, told, out = place / "parent", place / "groups.jsonl", place / "out"
        parent.mkdir(parents=True)
        self._made.append(place)
        while len(self._made) > KEEP:
            shutil.rmtree(self._made.pop(0), ignore_errors=True)
        policy.save(parent)
        write_groups(told, groups)
        self._run({"parent": str(parent), "groups": str(told), "out": str(out)})
        if not out.is_dir():
            raise TrainingError("the trainer ended without a word and wrote no policy: see its own log")
        metrics = out / METRICS
        figures = {"groups": float(len(groups))}
        with boundary(TrainingError, "reading what the trainer wrote", OSError, ValueError, TypeError):
            if metrics.is_file():
                figures |= {str(name): float(value) for name, value in orjson.loads(metrics.read_bytes()).items()}
            made = policy if figures.get("rows") == 0 else self.inner.load(out)
        return made, figures

    def _run(self, places: dict[str, str]) -> None:
        command = [PLACE.sub(lambda found: places[found[1]], part) for part in self.command]
        with boundary(TrainingError, "the trainer", OSError, subprocess.TimeoutExpired):
            code, told = ended(command, self.limit_s)
        if code:
            why = told.decode(errors="replace").strip()[-400:]
            silent = (
                "it was killed" if code < 0 else f"it said nothing on stderr; try it by hand: {shlex.join(command)}"
            )
            raise TrainingError(f"the trainer ended with {code}: {why or silent}")


def ended(command: Sequence[str], limit_s: float) -> tuple[int, bytes]:
    """Its exit code, and what it said on stderr. One that takes too long is asked to end first: torchrun ends the
    processes that it started then, and leaves them running when it is killed.

    Raises:
        TimeoutExpired: it took too long, and is gone.
    """
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            _, told = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.terminate()
            try:
                process.communicate(timeout=GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
            raise
    return process.returncode, told


def write_groups(path: Path, groups: Iterable[Group]) -> None:
    """One JSON line a group: prompt, rollouts with texts, tokens, rewards."""
    path.write_bytes(b"".join(orjson.dumps(group.model_dump(mode="json")) + b"\n" for group in groups))


def read_groups(path: Path) -> tuple[Group, ...]:
    """What `write_groups` wrote."""
    return tuple(Group.model_validate_json(line) for line in path.read_bytes().splitlines())


def own_command(*learner: str) -> list[str]:
    """The command of our own learners (`training.learners`) in a process of their own."""
    places = ("--parent", "{parent}", "--groups", "{groups}", "--out", "{out}")
    return [sys.executable, "-m", "training.learners", *learner, *places]
