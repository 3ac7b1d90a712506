"""Versions of a policy: values that are swapped as a whole, kept on disk, and gone back to."""

import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

import orjson

from mia_skill.core.errors import InputError, UnwritableError, boundary
from mia_skill.core.writing import writing
from training.groups import Group, Rollout

__all__ = ["Learner", "Policy", "PolicyStore", "ScriptedLearner", "ScriptedPolicy"]


class Policy(Protocol):
    """One version of the weights. It never changes: an update makes another one, so nobody sees half of it."""

    async def ready(self) -> None:
        """Do now what the first request would have to wait for.

        Raises:
            MiaError: it cannot be served.
        """
        ...

    async def sample(self, prompt: str, n: int) -> tuple[Rollout, ...]:
        """`n` replies, with their tokens where the policy has any."""
        ...

    def save(self, folder: Path) -> None:
        """Everything needed to load it again."""
        ...


class Learner(Protocol):
    """Makes policies."""

    def start(self) -> Policy: ...

    def load(self, folder: Path) -> Policy: ...

    def update(self, policy: Policy, groups: Sequence[Group]) -> tuple[Policy, dict[str, float]]:
        """A new policy and figures; the old one is left as it is, or returned when nothing could be learnt. Runs in a
        thread beside serving.

        Raises:
            MiaError: it failed; there is no new policy.
        """
        ...


class PolicyStore:
    """Folders `versions/N`, each written beside and renamed into place, and renamed before it is deleted: a kill
    leaves none that is half there."""

    def __init__(self, folder: Path, learner: Learner) -> None:
        self._folder = folder / "versions"
        self._learner = learner
        self._folder.mkdir(parents=True, exist_ok=True)
        for left in (*self._folder.glob("*.partial"), *self._folder.glob("*.gone")):
            shutil.rmtree(left)

    def keep(self, version: int, policy: Policy) -> None:
        """Save one version; one that is there already (of an update that was never announced) is replaced.

        Raises:
            UnwritableError: it could not be written; nothing of it is there.
        """
        place = self._folder / str(version)
        partial = place.with_suffix(".partial")
        with writing(f"version {version} of the policy"):
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            policy.save(partial)
            shutil.rmtree(place, ignore_errors=True)
            os.replace(partial, place)

    @property
    def versions(self) -> tuple[int, ...]:
        """Those that are kept, oldest first."""
        return tuple(sorted(int(place.name) for place in self._folder.iterdir() if place.name.isdigit()))

    def before(self, version: int) -> int:
        """The kept version at or next before one; 0, the start, where there is none."""
        return max((one for one in self.versions if one <= version), default=0)

    def prune(self, most: int, needed: Collection[int], floor: int) -> tuple[int, ...]:
        """Delete versions until at most `most` are left; never one that is `needed`. First those before `floor`, that
        nobody will go back to, then such that what is left lies evenly. Answers which are gone.

        Raises:
            UnwritableError: one could not be deleted; those that are kept are whole.
        """
        kept, gone = list(self.versions), []
        while len(kept) > most and (spare := [one for one in kept[:-1] if one not in needed]):
            old = spare[0] < floor
            gone.append(spare[0] if old else min(spare, key=lambda one: (gap(kept, one), one)))
            kept.remove(gone[-1])
        with boundary(UnwritableError, "deleting old versions of the policy", OSError):
            for version in gone:
                place = self._folder / str(version)
                doomed = place.with_suffix(".gone")
                shutil.rmtree(doomed, ignore_errors=True)
                os.replace(place, doomed)
                shutil.rmtree(doomed)
        return tuple(gone)

    def load(self, version: int) -> Policy:
        """A kept version; 0 is the start.

        Raises:
            InputError: it is not kept.
        """
        place = self._folder / str(version)
        if place.is_dir():
            return self._learner.load(place)
        if version == 0:
            return self._learner.start()
        kept = ", ".join(map(str, self.versions)) or "none"
        raise InputError(f"version {version} is not kept: there is {kept}")


def gap(kept: Sequence[int], one: int) -> int:
    """Between the neighbours of a version that is not the last."""
    at = kept.index(one)
    return kept[at + 1] - (kept[at - 1] if at else 0)


class ScriptedPolicy:
    """Answers with one of a few texts, the preferred first: for tests and rehearsals."""

    def __init__(self, weights: dict[str, float]) -> None:
        self.weights = weights

    async def ready(self) -> None:
        """It always is."""

    async def sample(self, prompt: str, n: int) -> tuple[Rollout, ...]:
        """The texts in the order of their weights, over again when there are fewer than `n`."""
        ranked = sorted(self.weights, key=lambda text: -self.weights[text])
        return tuple(Rollout(text=ranked[index % len(ranked)]) for index in range(n))

    def save(self, folder: Path) -> None:
        """One JSON file."""
        (folder / "weights.json").write_bytes(orjson.dumps(self.weights))


class ScriptedLearner:
    """Adds the advantage of each text to its weight."""

    def __init__(self, texts: Sequence[str] = ("yes", "no")) -> None:
        self._texts = tuple(texts)

    def start(self) -> ScriptedPolicy:
        """All weights zero."""
        return ScriptedPolicy(dict.fromkeys(self._texts, 0.0))

    def load(self, folder: Path) -> ScriptedPolicy:
        """A saved one."""
        return ScriptedPolicy(orjson.loads((folder / "weights.json").read_bytes()))

    def update(self, policy: Policy, groups: Sequence[Group]) -> tuple[Policy, dict[str, float]]:
        """One step."""
        from training.advantage import group_advantages

        weights = dict(policy.weights) if isinstance(policy, ScriptedPolicy) else dict.fromkeys(self._texts, 0.0)
        for group in groups:
            advantages = group_advantages([one.reward for one in group.rollouts])
            for rollout, advantage in zip(group.rollouts, advantages, strict=True):
                weights[rollout.text] = weights.get(rollout.text, 0.0) + float(advantage)
        return ScriptedPolicy(weights), {"spread": max(weights.values()) - min(weights.values())}
