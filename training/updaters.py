"""An `Updater` of the test-time loop from any `Learner`: the weights move in one place, whoever trains them."""

from collections.abc import Sequence

import anyio.to_thread

from training.groups import Group, UpdateStats, stats_of
from training.policy_store import Learner, PolicyStore

__all__ = ["PolicyUpdater"]


class PolicyUpdater:
    """Holds the policy that plans. Each version is on disk before it plans anything."""

    def __init__(self, name: str, learner: Learner, store: PolicyStore, version: int = 0) -> None:
        self.name, self.version = name, version
        self._learner, self._store = learner, store
        self.policy = store.load(version)

    async def update(self, groups: Sequence[Group], /) -> UpdateStats:
        """One update; where nothing could be learnt the version stays.

        Raises:
            MiaError: it failed; the policy is what it was.
        """
        made, figures = await anyio.to_thread.run_sync(self._learner.update, self.policy, groups)
        if made is not self.policy:
            await anyio.to_thread.run_sync(self._store.keep, self.version + 1, made)
            await made.ready()
            self.policy, self.version = made, self.version + 1
        return stats_of(groups, version=self.version, metrics=figures)
