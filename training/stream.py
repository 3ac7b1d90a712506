"""Learning while serving: samples are answered at once, feedback comes when it comes, updates run beside both.

Promises: what was acknowledged survives a kill; a group is learnt from once and never split; every answer names the
version that wrote it; a request under way finishes on the weights it began with; a version is served whole or not.

The journal is the record of the stream. A sample that was learnt from keeps its texts, for the same id gives the same
replies, and not its tokens: in memory at once, in the journal from the next time on that it is shortened (a start with
a long one, `mia stream compact`).
"""

import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread

from mia_skill.core.asgi import Refusal
from mia_skill.core.errors import InputError, MiaError, UnwritableError
from retrieval.standing import Rules
from training.groups import Group, Rollout
from training.journal import JOURNAL, Journal
from training.policy_store import Learner, Policy, PolicyStore
from training.stream_state import StreamState
from training.tickets import Sampled, Tickets
from training.watch import RewardWatch

__all__ = ["Canary", "Sampled", "StreamTrainer"]

FeedbackResult = Literal["accepted", "duplicate", "late"]
Canary = Callable[[Policy], Awaitable[float]]
"""A score of a policy on tasks that are known; a version that scores below the best so far is never served."""
SHORTEN_FROM = 16 * 2**20
"""Bytes of a journal that is shortened at the start, where it has grown by as many records as there are samples."""
MOST_FAILURES = 3
"""After as many failed updates with the same groups these are set aside, or they would block the stream for ever."""


class StreamTrainer(StreamState):
    """What is done to the stream. All of its state is rebuilt from the journal and the kept versions."""

    def __init__(
        self,
        folder: Path,
        learner: Learner,
        *,
        groups_per_update: int = 2,
        width: int = 4,
        most_waiting: int = 1024,
        patience_s: float = 3600.0,
        canary: Canary | None = None,
        tolerance: float = 0.1,
        watch: RewardWatch | None = None,
        judge_rules: Rules | None = None,
        keep_versions: int = 8,
        shorten_from: int = SHORTEN_FROM,
        name: str = "policy",
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(watch or RewardWatch(), judge_rules)
        self.groups_per_update, self.width, self.most_waiting, self.name = groups_per_update, width, most_waiting, name
        self.patience_s, self._clock = patience_s, clock
        self._learner, self._canary, self._tolerance = learner, canary, tolerance
        self._journal = Journal(folder / JOURNAL)
        self._store, self._keep = PolicyStore(folder, learner), keep_versions
        self._writing: Counter[int] = Counter()
        """Requests under way, by the version that answers them."""
        self.tickets = Tickets(folder / "secret")
        self.refused = 0
        self.failure, self._failed = "", 0
        self.metrics: dict[str, float] = {}
        since = 0
        for record in self._journal.records():
            self.apply(record)
            since = 0 if record["kind"] == "state" else since + 1
        self.policy = self._store.load(self.version)
        if self._journal.size >= shorten_from and since >= len(self.groups):
            self._shorten()
        self.updating = anyio.Lock()
        self._wake = anyio.Event()

    def _shorten(self) -> None:
        """Rewrite the journal to what is still needed. A disk that refuses is told of: the long one serves as well."""
        if self.unheard:  # canaries that nobody asked for this time may be asked for the next
            return
        try:
            self._journal.rewrite(self.shortened())
        except UnwritableError as error:
            self.failure = str(error)

    def _write(self, **record: object) -> None:
        self._journal.append(record)
        self.apply(record)

    async def sample(self, id_: str, prompt: str, n: int | None = None) -> Sampled:
        """Replies to a question. The same id again gives the same replies.

        Raises:
            InputError: the id was used for another question.
            Refusal: 429, too many samples wait for feedback or for an update.
        """
        if id_ not in self.groups:
            self._make_room()
            policy, version = self.policy, self.version
            self._writing[version] += 1
            try:
                written = await policy.sample(prompt, n or self.width)
            finally:
                self._writing[version] -= 1
            rollouts = tuple(one.model_copy(update={"version": version, "reward": None}) for one in written)
            made = Group(key=id_, prompt=prompt, rollouts=rollouts)
            if id_ not in self.groups:  # the same sample may have come twice at once
                self._write(kind="sample", group=made.model_dump(mode="json"), at=self._clock())
        group = self.groups[id_]
        if group.prompt != prompt:
            raise InputError(f"the id {id_!r} is another question's")
        texts = tuple(one.text for one in group.rollouts)
        return Sampled(id=id_, ticket=self.tickets.of(id_), texts=texts, version=group.rollouts[0].version)

    def _make_room(self) -> None:
        """Let samples go whose feedback has been waited for long enough: clients vanish, and must not block the rest.

        Raises:
            Refusal: 429, there is no room.
        """
        if self.waiting < self.most_waiting:
            return
        late = self._clock() - self.patience_s
        if silent := [key for key, at in self._open.items() if at <= late and not self.groups[key].rewarded]:
            self._write(kind="unanswered", groups=silent)
        if self.waiting >= self.most_waiting:
            told = f"those without feedback are let go after {self.patience_s:g} s"
            raise Refusal(429, f"{self.waiting} samples wait for feedback or for an update; {told}", 2)

    def feedback(self, id_: str, ticket: str, rewards: Sequence[float | None]) -> FeedbackResult:
        """Rewards of all replies of one sample. What was learnt from stays learnt: later word of it is only told so.

        Raises:
            Refusal: 403 the ticket is not this sample's, 404 no such sample, 409 it says another thing than before.
            InputError: not one reward a reply.
        """
        if not self.tickets.fits(id_, ticket):
            raise Refusal(403, "this ticket is not of that sample of this server")
        group = self.groups.get(id_)
        if group is None:
            raise Refusal(404, f"there is no sample {id_!r}")
        if len(rewards) != len(group.rollouts):
            raise InputError(f"{len(group.rollouts)} replies need as many rewards, not {len(rewards)}")
        if group.rewarded:
            if [one.reward for one in group.rollouts] == list(rewards):
                return "duplicate"
            raise Refusal(409, f"the feedback on {id_!r} was different before: the first one stands")
        if id_ in self.consumed:
            return "late"
        for reward in rewards:
            Rollout(text="", reward=reward)
        self._write(kind="reward", id=id_, rewards=list(rewards))
        self._look()
        return "accepted"

    async def judge_canary(self, right: bool) -> None:
        """A case of known reward came back from whoever rewards. An alarm goes back to the version that served when
        the canaries were good last; no update is made until they are good again.

        Raises:
            MiaError: loading the earlier version failed.
        """
        self._write(kind="judge", right=right)
        await self.guard(canary=False)
        self._look()

    def _look(self) -> None:
        if len(self.ready) >= self.groups_per_update:
            self._wake.set()

    @property
    def state(self) -> dict[str, object]:
        """What an operator wants to know of it now."""
        under_way, seen = sum(self._writing.values()), self._watch.mean
        told: dict[str, object] = {"samples": len(self.groups), "under_way": under_way, "latest": self.latest}
        told |= {"updating": self.updating.locked(), "kept_versions": self._store.versions, "let_go": self.let_go}
        return told | {"waiting": self.waiting, "most_waiting": self.most_waiting, "recent_reward": seen}

    async def update(self, *, partial: bool = False) -> bool:
        """One update, if enough groups are there (`partial`: any). Serving goes on; the swap is one assignment.

        Raises:
            MiaError: it failed; the policy and the groups are what they were. The third time in a row the groups are
                set aside.
        """
        async with self.updating:
            groups = [] if self.judge.alarm else self.ready[: self.groups_per_update]
            if not groups or (len(groups) < self.groups_per_update and not partial):
                return False
            keys = [group.key for group in groups]
            try:
                made, score = await self._learnt(groups)
            except MiaError:
                self._failed += 1
                if self._failed >= MOST_FAILURES:
                    self._write(kind="aside", groups=keys)
                    self._failed = 0
                raise
            self._failed = 0
            if made is None:
                self.refused += 1
                self._write(kind="version", version=self.version, groups=keys)
                return False
            if made is self.policy:  # nothing to learn: the groups are done, the version stays
                self._write(kind="version", version=self.version, groups=keys)
                return True
            if score is not None:
                self._write(kind="score", version=self.latest + 1, score=score)
            self._write(kind="version", version=self.latest + 1, groups=keys)
            self.policy = made
            await self._tidy()
            return True

    @property
    def needed(self) -> frozenset[int]:
        """Versions that are served, that requests under way began with, or that it would go back to by itself."""
        best = max(self.scores, key=lambda version: (self.scores[version], version), default=self.version)
        writing = {version for version, count in self._writing.items() if count}
        return frozenset({self.version, self.latest, self._sound, best, self._floor_version}) | writing

    @property
    def _floor_version(self) -> int:
        """The oldest that falling rewards may yet bring back."""
        horizon = self._watch.horizon
        return self._store.before(self.version if horizon is None else horizon)

    async def _tidy(self) -> None:
        """Delete versions beyond those to keep. A disk that refuses is told of, and undoes no update."""
        try:
            await anyio.to_thread.run_sync(self._store.prune, self._keep, self.needed, self._floor_version)
        except UnwritableError as error:
            self.failure = str(error)

    async def _learnt(self, groups: Sequence[Group]) -> tuple[Policy | None, float | None]:
        """The next policy, kept on disk and ready to serve, with its score; None when the canary refuses it."""
        old = self.policy
        made, self.metrics = await anyio.to_thread.run_sync(self._learner.update, old, groups)
        if made is old:
            return old, None
        await anyio.to_thread.run_sync(self._store.keep, self.latest + 1, made)
        await made.ready()
        if self._canary is None:
            return made, None
        if self.version not in self.scores:
            self._write(kind="score", version=self.version, score=float(await self._canary(old)))
        score = float(await self._canary(made))
        return (made if score >= self._floor else None), score

    @property
    def _floor(self) -> float:
        """Below the best score so far, not the last one: many small losses are a large one."""
        return max(self.scores.values()) - self._tolerance

    async def guard(self, *, canary: bool = True) -> int | None:
        """Go back by itself when the rewards or the canary's score of the served policy fell, or when whoever rewards
        is not believed any more. Answers where to.

        Raises:
            MiaError: the canary, or loading the earlier version, failed.
        """
        refuge = min(self._sound, self.version) if self.judge.alarm else self._watch.refuge
        if refuge is None and canary and self._canary is not None and self.scores:
            score = float(await self._canary(self.policy))
            best = max(self.scores, key=lambda version: (self.scores[version], version))
            refuge = best if score < self._floor else None
        refuge = None if refuge is None else self._store.before(refuge)  # between versions that are kept
        if refuge is None or refuge == self.version:
            return None
        await self.rollback(refuge)
        return refuge

    async def rollback(self, version: int) -> None:
        """Serve an earlier version from the next request on.

        Raises:
            InputError: it is not kept, or was never served.
        """
        async with self.updating:
            if version > self.latest:
                raise InputError(f"version {version} was never served: the latest is {self.latest}")
            policy = await anyio.to_thread.run_sync(self._store.load, version)
            await policy.ready()
            self._write(kind="rollback", version=version)
            self.policy = policy

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Update in the background while inside."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._work)
            try:
                yield
            finally:
                group.cancel_scope.cancel()
                self.close()

    def close(self) -> None:
        """Close the journal; nothing is left to write."""
        self._journal.close()

    async def _work(self) -> None:
        while True:
            try:
                while await self.update():
                    self.failure = ""
                await self.guard(canary=False)
            except MiaError as error:
                self.failure = str(error)  # told by /health; tried again with the next feedback
            self._wake = anyio.Event()
            if len(self.ready) < self.groups_per_update or self.failure:
                await self._wake.wait()
