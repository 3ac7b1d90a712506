"""Canaries for whoever rewards in a stream: known gold answers, put to the reward function as if they were replies.

A gold answer must earn more than another question's. Where a client rewards a sample whose gold answer is known, or
becomes known later, its word is compared with what the gold answer says. Both tell the trainer's standing of rewards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mia_skill.core.errors import JudgeError
from retrieval.gate import chance
from training.reward_function import Reward
from training.stream import StreamTrainer

__all__ = ["RewardCanaries"]

NOBODYS = "(no answer)"
"""A reply that is nobody's gold answer, where only one is known."""
ALARM_SHARE = 0.5
FLUSH = 12
"""Canaries at most when a stream ends and what waits should be decided."""


@dataclass
class RewardCanaries:
    """Flies canaries past a reward function; a share of 0 flies none."""

    trainer: StreamTrainer
    reward: Reward
    golds: Mapping[str, str]
    share: float = 0.0
    seed: int = 0
    _rewarded: int = 0
    _by_client: dict[str, None] = field(default_factory=dict)
    """Samples that a client rewarded before their gold answer was known."""

    async def rewarded(self, id_: str, question: str) -> None:
        """A sample was rewarded by its gold answer: maybe a canary follows."""
        self._rewarded += 1
        share = ALARM_SHARE if self.trainer.judge.alarm else self.share
        if self.share and chance(self.seed, "canary", str(self._rewarded)) < share:
            await self.fly(id_, question)

    async def fly(self, id_: str, question: str) -> bool:
        """The gold answer of a question against another's; False when it could not be scored."""
        gold = self.golds[id_]
        others = [one for one in self.golds.values() if one != gold]
        other = others[int(chance(self.seed, "other", str(self._rewarded), id_) * len(others))] if others else NOBODYS
        try:
            right, wrong = await self.reward(question, gold, gold), await self.reward(question, other, gold)
        except JudgeError:
            return False
        if right is None or wrong is None:
            return False
        await self.trainer.judge_canary(right > wrong)
        return True

    async def flush(self) -> None:
        """Decide over what waits: the stream ends, and no judgment would bring another canary."""
        for _ in range(FLUSH if self.share else 0):
            waiting = next((key for key in self.trainer.held if key in self.golds), None)
            if waiting is None or not await self.fly(waiting, self.trainer.groups[waiting].prompt):
                return

    async def said(self, id_: str) -> None:
        """A client rewarded a sample: compared with gold, now or when that comes."""
        if not self.share:
            return
        if id_ in self.golds:
            await self.compare(id_)
        else:
            self._by_client[id_] = None

    async def registered(self, ids: Sequence[str]) -> None:
        """Gold answers came; late for some samples."""
        for id_ in ids:
            if id_ in self._by_client:
                del self._by_client[id_]
                await self.compare(id_)

    async def compare(self, id_: str) -> None:
        """Does the client prefer the reply that gold prefers? Where either sees no difference, it says nothing."""
        group = self.trainer.groups[id_]
        try:
            scored = [await self.reward(group.prompt, one.text, self.golds[id_]) for one in group.rollouts]
        except JudgeError:
            return
        both = [(own, one.reward) for own, one in zip(scored, group.rollouts, strict=True)]
        known = [(own, said) for own, said in both if own is not None and said is not None]
        if len({own for own, _ in known}) < 2 or len({said for _, said in known}) < 2:
            return
        best, worst = max(known), min(known)
        if best[1] != worst[1]:
            await self.trainer.judge_canary(best[1] > worst[1])
