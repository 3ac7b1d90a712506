"""The learners by name, for the command line; and one update as a process: `python -m training.learners tiny ...`."""

import argparse
import sys
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from mia_skill.core.errors import ConfigError, MiaError
from training.outside import METRICS, OutsideLearner, read_groups
from training.policy_store import Learner, ScriptedLearner
from training.replies import Writing

__all__ = ["KINDS", "Choice", "learner_of"]

HERE = ("scripted", "tiny", "lora")
"""Those that can be one update as a process of this module."""
KINDS = (*HERE, "verl")


@dataclass(frozen=True)
class Choice:
    """Which learner, and what it needs."""

    kind: str
    work: Path
    """Its own folder."""
    texts: tuple[str, ...] = ("yes", "no")
    model: Path | None = None
    url: str = ""
    """Of the vLLM server, without `/v1` (lora)."""
    served: str = "mia"
    """Served name of the base model (lora)."""
    namespace: str = "default"
    device: str = "cpu"
    lr: float = 1e-5
    rank: int = 0
    gpus: int = 1
    """Processes of one update, each with a GPU of its own (verl)."""
    how: Writing = field(default_factory=Writing)


def learner_of(choice: Choice) -> Learner:
    """The learner. What needs torch is imported for it only.

    Raises:
        ConfigError: it needs a model folder, cannot have what was chosen, or there is no such learner.
        MissingExtraError: veRL is not installed.
    """
    if choice.kind == "scripted":
        return ScriptedLearner(choice.texts)
    if choice.kind not in KINDS:
        raise ConfigError(f"there is no learner {choice.kind!r}: one of {', '.join(KINDS)}")
    if choice.model is None or not (choice.model / "config.json").is_file():
        raise ConfigError(f"the {choice.kind} learner needs --model, a folder with config.json")
    if choice.kind == "tiny":
        from training.local import LocalLearner

        return LocalLearner(choice.model, choice.device, choice.lr, choice.rank, choice.how)
    if choice.kind == "verl":
        return verl_learner(choice, choice.model)
    import httpx

    from training.adapter import AdapterPool
    from training.lora import AdapterLearner

    client = httpx.AsyncClient(base_url=choice.url, timeout=300, trust_env=False)
    return AdapterLearner(
        choice.model, AdapterPool(client), choice.served, choice.work / "adapters", choice.namespace, choice.device,
        choice.lr, choice.rank or 8, choice.how,
    )  # fmt: skip


def verl_learner(choice: Choice, model: Path) -> OutsideLearner:
    """Policies of this process, each update a process of veRL's.

    Raises:
        ConfigError: it was to train an adapter.
        MissingExtraError: veRL is not installed.
    """
    from training.launch import Machine, check_installed

    if choice.rank:
        raise ConfigError("the verl learner trains all weights: leave --rank out, or take --updater tiny or lora")
    machine: Machine = "cpu" if choice.device == "cpu" else "one_gpu"
    check_installed(machine, ("rollout.name=none",))
    from training.local import LocalLearner
    from training.onverl.update import update_command

    inner = LocalLearner(model, choice.device, choice.lr, how=choice.how)
    command = update_command(machine, choice.lr, choice.gpus, choice.work / "moments")
    return OutsideLearner(inner, command, choice.work.parent / "outside")


def main(arguments: list[str]) -> int:
    """One update: the policy of `--parent` learns from `--groups` and is written to `--out`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("kind", choices=HERE)
    for name in ("parent", "groups", "out", "model"):
        parser.add_argument(f"--{name}", type=Path, required=name != "model")
    parser.add_argument("--text", action="append", default=[])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--rank", type=int, default=0)
    given = parser.parse_args(arguments)
    texts = tuple(given.text) or ("yes", "no")
    out: Path = given.out
    try:
        learner = learner_of(
            Choice(
                given.kind, out.parent / "own", texts, given.model, device=given.device, lr=given.lr, rank=given.rank
            )
        )
        made, figures = learner.update(learner.load(given.parent), read_groups(given.groups))
    except MiaError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    partial = out.with_name("partial")
    partial.mkdir()
    made.save(partial)
    (partial / METRICS).write_bytes(orjson.dumps(figures))
    partial.rename(out)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
