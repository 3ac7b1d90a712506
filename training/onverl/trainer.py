"""veRL's synchronous trainer with guards: a run that has gone wrong saves what it has and stops, saying why."""

import os
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

import orjson
from omegaconf import OmegaConf
from verl.trainer.ppo.v1 import register_trainer
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from mia_skill.core.errors import InputError
from mia_skill.core.types import Outcome
from mia_skill.core.writing import writing
from training.curve import write_curve
from training.guards import Guard, RunStopped
from training.onverl.outcome import KEY, reward_of
from training.onverl.settings import read_limits

__all__ = ["GuardedTrainer", "figures_of"]

NAMES = {
    "entropy": "actor/entropy",
    "reward": "critic/score/mean",
    "cut": "response_length/clip_ratio",
    "grad_norm": "actor/grad_norm",
    "loss": "actor/pg_loss",
    "drift": "training/rollout_probs_diff_mean",
    "searches": "mia/searches/mean",
    "right": "mia/acc/mean",
    "length": "mia/written/mean",
    "flat": "mia/flat/mean",
}
"""Ours to veRL's."""
POLL_S = 0.2
"""veRL looks for finished rollouts every 2 s, which rounds short steps up."""


@register_trainer("mia")
class GuardedTrainer(PPOTrainerSync):  # type: ignore[misc]
    """`trainer.v1.trainer_mode=mia`. The limits stand under `mia_guards`."""

    def __init__(self, config: Any) -> None:
        """Raises: ConfigError: a guard is set wrongly. InputError: the disk has no room for a checkpoint folder."""
        # veRL asks for the mode by name: any other one drops a whole group for one rollout without a sample.
        config.trainer.v1.trainer_mode = "sync"
        super().__init__(config)
        given = OmegaConf.select(config, "mia_guards")
        limits: Any = OmegaConf.to_container(given, resolve=True) if given is not None else None
        self.guard = Guard(read_limits(limits))
        self.replay_buffer.poll_interval = POLL_S
        self.replay_buffer.refill_fn = self.refill
        self.lost = 0
        check_folder(str(config.trainer.default_local_dir))
        os.environ.setdefault("TENSORBOARD_DIR", str(self.folder / "tensorboard"))

    def refill(self, questions: int) -> int:
        """Fresh questions for those that gave no sample; veRL would ask for ever.

        Raises:
            RunStopped: too many were lost since the last step: a service is down for good, or nobody can judge.
        """
        if self.replay_buffer.filter_groups_metric is None:  # else veRL also replaces groups that teach nothing
            self.lost += questions
        batch, most = int(self.config.data.train_batch_size), self.guard.limits.most_lost
        if most is not None and self.lost >= most * batch:
            self.global_steps -= 1  # this step has not moved a weight
            if self.global_steps > 0:
                self._save_checkpoint()
            raise RunStopped(
                f"{self.lost} questions gave no sample in one step: the workers' log says why ('no sample'). Bring the "
                f"service back and start the same command again; checkpoints are in {self.folder}"
            )
        return int(self._add_prompts_to_generate(questions))

    @property
    def folder(self) -> Path:
        """Of the checkpoints, and of the run's own log."""
        return Path(self.config.trainer.default_local_dir)

    def _validate(self) -> dict[str, float]:
        """veRL's look at the validation questions; the page of the run shows it beside its steps."""
        told: dict[str, float] = super()._validate()
        shares = [float(share) for name, share in told.items() if name.startswith("val-core/") and "/acc/mean@" in name]
        if shares:
            keep(self.folder, {"kind": "look", "role": self.stage, "step": self.global_steps, "right": fmean(shares)})
        return told

    @property
    def stage(self) -> str:
        """What the run trains."""
        return str(self.config.data.get("mia_stage", "run"))

    def _compute_metrics(self, batch: Any, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """veRL's figures of a step, then a look at them.

        Raises:
            RunStopped: a guard ended the run. The last good checkpoint stays; this step is saved unless it is broken.
        """
        reports = reports_of(batch)
        super()._compute_metrics(batch, metrics, *args, **kwargs)
        metrics.update(means_of(reports))
        figures = figures_of(metrics)
        self.lost = 0
        keep(self.folder, {"kind": self.stage, "step": self.global_steps, **figures})
        why = self.guard.look(figures)
        if why is None:
            return
        if not why.startswith("not a number"):
            self._save_checkpoint()
        self.logger.log(data=metrics, step=self.global_steps)
        self.logger.finish()  # what is still buffered would be lost with this process
        raise RunStopped(
            f"step {self.global_steps} was the last: {why}. Checkpoints are in {self.folder}; resume with "
            "other settings (a lower actor.optim.lr, mia_guards.*), or from an earlier one with "
            "trainer.resume_mode=resume_path"
        )


def figures_of(metrics: Mapping[str, Any]) -> dict[str, float]:
    """What the guard looks at."""
    return {name: float(metrics[theirs]) for name, theirs in NAMES.items() if theirs in metrics}


def keep(folder: Path, line: Mapping[str, Any]) -> None:
    """The step's figures, and the curves so far as one page."""
    log = folder / "log.jsonl"
    with writing(log):
        with log.open("ab") as file:
            file.write(orjson.dumps(line) + b"\n")
        write_curve(log, folder / "curve.html")


def reports_of(batch: Any) -> list[dict[str, Any]]:
    """What our loops said of the rollouts of a batch."""
    import transfer_queue as tq

    held = tq.kv_batch_get(keys=batch.keys, partition_id=batch.partition_id, select_fields=["extra_fields"])
    extra = held.pop("extra_fields").tolist()
    kept = [more for more, tag in zip(extra, batch.tags, strict=True) if not tag.get("is_padding", False)]
    return [more[KEY] for more in kept if isinstance(more, dict) and KEY in more]


def means_of(reports: list[dict[str, Any]]) -> dict[str, float]:
    """Figures of an agent that veRL does not count."""
    found: dict[str, list[float]] = {}
    for told in reports:
        outcome = told["outcome"]
        final = outcome.get("verdict", outcome.get("final"))
        found.setdefault("acc", []).append(float(final == Outcome.CORRECT))
        for name in ("tool_ok", "format_ok", "replanned"):
            if name in outcome:
                found.setdefault(name, []).append(float(outcome[name]))
        for name in ("searches", "tool_s", "generate_s", "written"):
            found.setdefault(name, []).append(float(told.get(name, 0.0)))
    groups: dict[str, set[float]] = {}
    for told in reports:
        groups.setdefault(str(told.get("group")), set()).add(reward_of(told))
    found |= {"flat": [float(len(rewards) == 1) for rewards in groups.values()]} if groups else {}
    return {f"mia/{name}/mean": sum(values) / len(values) for name, values in found.items()}


def check_folder(folder: str) -> None:
    """Raises: InputError: nothing can be written there; better known now than at the first checkpoint."""
    try:
        os.makedirs(folder, exist_ok=True)
        probe = os.path.join(folder, ".probe")
        with open(probe, "wb") as file:
            file.write(b"\0" * 4096)
        os.remove(probe)
    except OSError as cause:
        raise InputError(f"checkpoints cannot be written to {folder}: {cause.strerror or cause}") from cause
