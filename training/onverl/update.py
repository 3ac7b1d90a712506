"""One GRPO step by veRL on rollouts that exist: `python -m training.onverl.update --parent A --groups B --out C`.

The trainer of `mia stream serve --updater verl`; any `--trainer` may call it. On several GPUs it is started as
`torchrun --standalone --nproc-per-node N -m training.onverl.update ...`: every process reads the same files and takes
its share of the rows. Before torch and veRL are imported, all that can be known to fail is looked at here; the step is
in `step.py`.

AdamW's moments are kept in the folder `--state` (`moments.py`): one set, used where `--parent` is the version that was
made last, and not after going back. Without it each update begins with none, and its step is of the size of `--lr` in
every weight that has a gradient, however small.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson
from pydantic import ValidationError

from mia_skill.core.errors import InputError, MiaError, TrainingError, boundary
from training.groups import Group
from training.launch import MACHINES, Machine, check_installed, environment_for
from training.model_folder import model_shape
from training.outside import METRICS, read_groups

__all__ = ["check_groups", "main", "update_command"]


def update_command(machine: Machine, lr: float, processes: int = 1, state: Path | None = None) -> list[str]:
    """What `OutsideLearner` runs; more than one process is veRL on as many GPUs of this machine."""
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    started = [*(torchrun if processes > 1 else []), "training.onverl.update"]
    places = ("--parent", "{parent}", "--groups", "{groups}", "--out", "{out}")
    kept = ["--state", str(state)] if state else []
    return [sys.executable, "-m", *started, "--machine", machine, "--lr", str(lr), *kept, *places]


def check_groups(groups: Sequence[Group], parent: Path) -> None:
    """
    Raises:
        InputError: there is nothing to learn from, or it is of another model; the message says what to give instead.
    """
    talks = [talk for group in groups for one in group.rollouts for talk in one.tokens]
    if not any(any(talk.mask) for talk in talks):
        raise InputError(
            "no rollout has tokens: weights learn from what was sampled token by token, so serve the policy with "
            "`--updater tiny`, `lora` or `verl`"
        )
    if any(not len(talk.ids) == len(talk.mask) == len(talk.logprobs) for talk in talks):
        raise InputError("a rollout has tokens without mask or log-probability: give one of each for every token")
    if any(talk.mask[:1] == (True,) for talk in talks):
        raise InputError("a rollout begins with a token of its own: nothing was there to choose it by, give the prompt")
    known, most = model_shape(parent)["vocab_size"], max(max(talk.ids) for talk in talks if talk.ids)
    if known is not None and (most >= known or min(min(talk.ids) for talk in talks if talk.ids) < 0):
        raise InputError(
            f"the rollouts hold token {most} and {parent} knows {known}: they are of another model, so give the "
            "--parent that wrote them"
        )


def read_checked(file: Path, parent: Path) -> tuple[Group, ...]:
    """The rollouts. Raises: InputError: there are none, or they do not fit."""
    try:
        with boundary(InputError, f"reading {file}", OSError):
            groups = read_groups(file)
    except ValidationError as cause:
        problem = cause.errors(include_url=False, include_context=False)[0]
        raise InputError(f"{file}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}") from None
    check_groups(groups, parent)
    return groups


def begin(out: Path) -> Path:
    """An empty folder beside `out`, which is renamed when it is whole.

    Raises:
        InputError: `out` is there already, or nothing can be written there.
    """
    partial = out.with_name(f"{out.name}.partial")
    if out.exists():
        raise InputError(f"{out} is there already: a version is never written over, give --out another name")
    with boundary(InputError, f"{out.parent} cannot be written, give --out a place that can", OSError):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    return partial


def run(given: argparse.Namespace) -> None:
    """The update.

    Raises:
        MiaError: there is none; nothing is at `--out`.
    """
    check_installed(given.machine, ("rollout.name=none",))
    groups = read_checked(given.groups, given.parent)
    leads = os.environ.get("RANK", "0") == "0"
    partial = begin(given.out) if leads else given.out.with_name(f"{given.out.name}.partial")
    os.environ.update(environment_for(given.machine))  # read by veRL while it is imported
    from training.onverl.step import Settings, step

    settings = Settings(given.machine, given.lr, given.clip, given.tokens_per_batch, given.state)
    figures = step(given.parent, groups, partial, settings)
    if leads:
        with boundary(TrainingError, f"writing {given.out}", OSError):
            (partial / METRICS).write_bytes(orjson.dumps(figures))
            partial.rename(given.out)


def told(work: Callable[[argparse.Namespace], None]) -> Callable[[argparse.Namespace], None]:
    """`work`, whose failure torchrun, where it is what started us, says last and not as "exitcode 1"."""
    if "TORCHELASTIC_ERROR_FILE" not in os.environ:
        return work
    from torch.distributed.elastic.multiprocessing.errors import record

    recorded: Callable[[argparse.Namespace], None] = record(work)
    return recorded


def main(arguments: Sequence[str]) -> int:
    """One GRPO step by veRL: the policy of `--parent` learns from `--groups` and is written to `--out`."""
    parser = argparse.ArgumentParser(prog="training.onverl.update", description=main.__doc__)
    for name in ("parent", "groups", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--machine", choices=MACHINES, default="one_gpu")
    parser.add_argument("--lr", type=float, default=1e-6)
    parser.add_argument("--clip", type=float, default=0.2)
    parser.add_argument("--tokens-per-batch", type=int, default=32_768, help="of one GPU at a time")
    parser.add_argument("--state", type=Path, help="folder of AdamW's moments, kept for the next update")
    given = parser.parse_args(arguments)
    try:
        told(run)(given)
    except MiaError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
