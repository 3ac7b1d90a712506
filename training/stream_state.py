"""What the journal says of a stream: its samples, what they taught, and the versions that were served.

A fold over records: the same records in the same order give the same state, so a stream that was killed is read again.
"""

from collections.abc import Sequence

from retrieval.standing import Rules, Standing, told
from training.groups import Group
from training.watch import RewardWatch

__all__ = ["StreamState"]


class StreamState:
    """All that is known after the records so far."""

    def __init__(self, watch: RewardWatch, rules: Rules | None) -> None:
        self._watch = watch
        self._rules, self.judge, self._sound = rules, Standing(), 0
        self.held: dict[str, int] = {}
        """Rewarded samples on probation: they teach when the canaries of whoever rewards prove it (None: at once)."""
        self.groups: dict[str, Group] = {}
        self.consumed: set[str] = set()
        self._open: dict[str, float] = {}
        """Keys of samples not learnt from yet, oldest first, and when they were answered."""
        self.abandoned: set[int] = set()
        """Versions that were gone back from: what they wrote teaches nobody."""
        self.scores: dict[int, float] = {}
        """Of versions, by the canary."""
        self.version = self.latest = self.updates = self.rollbacks = self.set_aside = self.doubted = 0
        self.let_go = 0

    @property
    def waiting(self) -> int:
        """Samples not learnt from yet."""
        return len(self._open)

    @property
    def ready(self) -> list[Group]:
        """Groups with feedback that may teach, oldest first."""
        waiting = (self.groups[key] for key in self._open if key not in self.held)
        return [group for group in waiting if group.rewarded]

    def _apply(self, record: dict[str, object]) -> None:
        match record:
            case {"kind": "sample", "group": group}:
                made = Group.model_validate(group)
                self.groups[made.key] = made
                self._open[made.key] = float(str(record.get("at", 0.0)))
                if made.rollouts[0].version in self.abandoned:
                    self._done([made.key])
            case {"kind": "reward", "id": str(key), "rewards": list(rewards)}:
                group = self.groups[key]
                told = [one.model_copy(update={"reward": r}) for one, r in zip(group.rollouts, rewards, strict=True)]
                self.groups[key] = group.model_copy(update={"rollouts": tuple(told)})
                if self._rules is None:
                    self._believe(key)
                else:
                    self.held[key] = self.judge.seen
            case {"kind": "judge", "right": bool(right)} if self._rules is not None:
                self._hear(right, self._rules)
            case {"kind": "version", "version": int(version), "groups": list(keys)}:
                self.version = version
                self.latest = max(self.latest, version)
                self._done(keys)
                self.updates += bool(keys)
            case {"kind": "aside", "groups": list(keys)}:
                self._done(keys)
                self.set_aside += len(keys)
            case {"kind": "unanswered", "groups": list(keys)}:
                self._done(keys)
                self.let_go += len(keys)
            case {"kind": "rollback", "version": int(version)}:
                self._go_back(version)
            case {"kind": "score", "version": int(version), "score": float(score)}:
                self.scores[version] = score

    def _believe(self, key: str) -> None:
        """The rewards of this sample may teach."""
        group = self.groups[key]
        known = [one.reward for one in group.rollouts if one.reward is not None]
        if known and key not in self.consumed:
            self._watch.saw(group.rollouts[0].version, sum(known) / len(known))

    def _hear(self, right: bool, rules: Rules) -> None:
        """A canary of whoever rewards: some held samples are believed, or never learnt from."""
        self.judge = told(self.judge, right, rules)
        for key, seen in list(self.held.items()):
            fate = self.judge.fate(seen)
            if fate is None:
                continue
            del self.held[key]
            if fate:
                self._believe(key)
            elif key not in self.consumed:
                self._done([key])
                self.doubted += 1
        if self.judge.clear:
            self._sound = self.version

    def _done(self, keys: Sequence[str]) -> None:
        """Nothing is learnt from these any more, so their tokens are let go."""
        for key in keys:
            self.consumed.add(key)
            self.held.pop(key, None)
            self._open.pop(key, None)
            if (group := self.groups.get(key)) is not None:
                texts = tuple(one.model_copy(update={"tokens": ()}) for one in group.rollouts)
                self.groups[key] = group.model_copy(update={"rollouts": texts})

    def _go_back(self, version: int) -> None:
        """Samples of the versions left behind are of another policy than the one served from now on."""
        self.abandoned |= set(range(version + 1, self.latest + 1))
        self.abandoned.discard(version)
        self._done([key for key in self._open if self.groups[key].rollouts[0].version in self.abandoned])
        self.version = version
        self._sound = min(self._sound, version)
        self.rollbacks += 1
        self._watch.clear()
