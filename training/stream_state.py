"""What the journal says of a stream: its samples, what they taught, and the versions that were served.

A fold over records: the same records in the same order give the same state, so a stream that was killed is read again.
"""

from collections.abc import Iterator, Sequence

from mia_skill.core.types import Value
from retrieval.standing import Rules, Standing, told
from training.groups import Group
from training.watch import RewardWatch

__all__ = ["StreamState"]


COUNTED = ("version", "latest", "updates", "rollbacks", "set_aside", "doubted", "let_go")


class Shortened(Value):
    """What a shortened journal says besides its samples."""

    version: int = 0
    latest: int = 0
    updates: int = 0
    rollbacks: int = 0
    set_aside: int = 0
    doubted: int = 0
    let_go: int = 0
    abandoned: tuple[int, ...] = ()
    scores: tuple[tuple[int, float], ...] = ()
    seen: tuple[tuple[int, float], ...] = ()
    """Of the watch over the rewards."""
    held: tuple[tuple[str, int], ...] = ()
    sound: int = 0
    judge: Standing = Standing()
    judged: bool = False
    """Was it folded with canaries of whoever rewards?"""


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
        self.unheard = False
        """Were there canaries of whoever rewards that this fold passed over, for nobody asked for them?"""

    @property
    def waiting(self) -> int:
        """Samples not learnt from yet."""
        return len(self._open)

    @property
    def ready(self) -> list[Group]:
        """Groups with feedback that may teach, oldest first."""
        waiting = (self.groups[key] for key in self._open if key not in self.held)
        return [group for group in waiting if group.rewarded]

    def apply(self, record: dict[str, object]) -> None:
        """One more record."""
        match record:
            case {"kind": "sample", "group": group}:
                made = Group.model_validate(group)
                self.groups[made.key] = made
                self._open[made.key] = float(str(record.get("at", 0.0)))
                if made.rollouts[0].version in self.abandoned:
                    self._done([made.key])
            case {"kind": "reward", "id": str(key), "rewards": list(rewards)}:
                self._reward(key, rewards)
            case {"kind": "judge", "right": bool(right)}:
                self._hear(right)
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
            case {"kind": "known" | "state"}:
                self._resume(record)

    def _reward(self, key: str, rewards: Sequence[float | None]) -> None:
        group = self.groups[key]
        told = [one.model_copy(update={"reward": r}) for one, r in zip(group.rollouts, rewards, strict=True)]
        self.groups[key] = group.model_copy(update={"rollouts": tuple(told)})
        if self._rules is None:
            self._believe(key)
        else:
            self.held[key] = self.judge.seen

    def shortened(self) -> Iterator[dict[str, object]]:
        """Records that give this state again: each sample once, those that were learnt from without their tokens, then
        everything else in one."""
        for key, group in self.groups.items():
            known = {"kind": "known", "group": group.model_dump(mode="json", exclude_defaults=True)}
            yield known | ({"at": self._open[key]} if key in self._open else {})
        yield Shortened(
            **{name: getattr(self, name) for name in COUNTED},
            abandoned=tuple(sorted(self.abandoned)),
            scores=tuple(self.scores.items()),
            seen=self._watch.seen,
            held=tuple(self.held.items()),
            sound=self._sound,
            judge=self.judge,
            judged=self._rules is not None,
        ).model_dump(mode="json", exclude_defaults=True) | {"kind": "state"}

    def _resume(self, record: dict[str, object]) -> None:
        """A record of a shortened journal."""
        if record["kind"] == "state":
            self._state(Shortened.model_validate({name: one for name, one in record.items() if name != "kind"}))
            return
        group = Group.model_validate(record["group"])
        self.groups[group.key] = group
        if "at" in record:
            self._open[group.key] = float(str(record["at"]))
        else:
            self.consumed.add(group.key)

    def _state(self, state: Shortened) -> None:
        """Everything but the samples, which came before. Without canaries what was held is believed, as rewards are."""
        for name in COUNTED:
            setattr(self, name, getattr(state, name))
        self.abandoned, self.scores = set(state.abandoned), dict(state.scores)
        for version, reward in state.seen:
            self._watch.saw(version, reward)
        if self._rules is None:
            self.unheard = state.judged
            for key, _ in state.held:
                self._believe(key)
        else:
            self.held, self.judge, self._sound = dict(state.held), state.judge, state.sound

    def _believe(self, key: str) -> None:
        """The rewards of this sample may teach."""
        group = self.groups[key]
        known = [one.reward for one in group.rollouts if one.reward is not None]
        if known and key not in self.consumed:
            self._watch.saw(group.rollouts[0].version, sum(known) / len(known))

    def _hear(self, right: bool) -> None:
        """A canary of whoever rewards: some held samples are believed, or never learnt from."""
        if self._rules is None:
            self.unheard = True
            return
        self.judge = told(self.judge, right, self._rules)
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
