"""The streaming trainer over HTTP: upstream's routes (spec section 11) and typed ones of our own."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import orjson
from pydantic import JsonValue

from mia_skill.core.asgi import Refusal
from mia_skill.core.errors import InputError, JudgeError, MiaError
from mia_skill.core.json_service import JsonService, Route
from training.policy import ContextFull
from training.policy_store import Policy
from training.reward_function import Reward, same_text
from training.stream import Canary, StreamTrainer
from training.stream_canaries import RewardCanaries
from training.stream_forms import (
    MOST_ENTRIES,
    Asked,
    Back,
    Checked,
    Golds,
    Health,
    Heard,
    PictureEntries,
    Replied,
    Said,
    Serving,
    SubmitBatch,
    SubmitSample,
    ToScore,
)
from training.tickets import Sampled

__all__ = ["canary_of", "reward_service", "stream_service"]

IMAGES_AT_MOST = 1_000


def canary_of(path: Path, reward: Reward) -> Canary:
    """The mean reward of a policy's first reply to the questions of a file (JSON lines of question, ground_truth).

    Raises:
        InputError: the file holds no such lines.
    """
    try:
        rows = [orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]
        tasks = [(str(row["question"]), str(row["ground_truth"])) for row in rows]
    except (orjson.JSONDecodeError, KeyError, TypeError) as cause:
        raise InputError(f"{path.name}: each line needs question and ground_truth ({cause!r})") from None
    if not tasks:
        raise InputError(f"{path.name} holds no questions")

    async def score(policy: Policy) -> float:
        told = []
        for question, gold in tasks:
            (reply,) = await policy.sample(question, 1)
            told.append(await reward(question, reply.text, gold))
        known = [one for one in told if one is not None]
        if not known:
            raise JudgeError("no canary could be scored: the policy stays what it is", raw="")
        return sum(known) / len(known)

    return score


class GoldDesk:
    """Gold answers and what replies are worth by them. Bounded, and held in memory: clients register them again."""

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.golds: dict[str, str] = {}

    async def register_gts(self, given: Golds) -> dict[str, object]:
        """Gold answers. One that says another thing than before is refused, all or none."""
        for one in given.entries:
            if self.golds.get(one.data_id, one.ground_truth) != one.ground_truth:
                raise Refusal(409, f"another ground truth is registered for {one.data_id!r}")
        self.golds.update({one.data_id: one.ground_truth for one in given.entries})
        while len(self.golds) > MOST_ENTRIES:
            del self.golds[next(iter(self.golds))]
        return {"status": "success", "registered": len(given.entries)}

    async def compute_gt_reward(self, given: ToScore) -> dict[str, object]:
        """The reward of one reply; an unknown gold answer is a 404, never a 0."""
        if given.data_id not in self.golds:
            raise Refusal(404, f"no ground truth is registered for {given.data_id!r}")
        return {"reward": await self.reward(given.question, given.solution_str, self.golds[given.data_id])}

    async def reward_health(self, _none: object) -> dict[str, object]:
        """How many gold answers are known."""
        return {"status": "ok", "registered": len(self.golds)}

    def routes(self) -> tuple[Route, ...]:
        """Upstream's two."""
        return (
            Route("POST", "/register_gts", self.register_gts, Golds, "gold answers"),
            Route("POST", "/compute_gt_reward", self.compute_gt_reward, ToScore, "the reward of one reply"),
        )


class Desk(GoldDesk):
    """Answers the trainer's routes."""

    def __init__(self, trainer: StreamTrainer, reward: Reward, judge_canaries: float = 0.0) -> None:
        super().__init__(reward)
        self.trainer = trainer
        self.unscored, self.reward_failure = 0, ""
        self.canaries = RewardCanaries(trainer, reward, self.golds, judge_canaries)
        self.pictures: dict[str, int] = {}

    async def health(self, _none: object) -> dict[str, object]:
        """State of the trainer, with upstream's names."""
        one = self.trainer
        told: dict[str, object] = {
            "status": "degraded" if one.failure or self.reward_failure or one.judge.alarm else "ok",
            "model": one.name,
            "global_steps": one.updates,
            "version": one.version,
        }
        told |= {"total_training_steps": one.updates, "train_batch_size": one.groups_per_update}
        return told | {
            "rollout_n": one.width,
            "rollout_buffer_len": sum(len(group.rollouts) for group in one.ready),
            **one.state,
            "metrics": one.metrics,
            "refused_by_canary": one.refused,
            "rollbacks": one.rollbacks,
            "set_aside": one.set_aside,
            "judge": {"alarm": one.judge.alarm, "canaries": one.judge.seen, "wrong": one.judge.wrong},
            "held": len(one.held),
            "never_learnt": one.doubted,
            "failure": one.failure,
            "unscored": self.unscored,
            "reward_failure": self.reward_failure,
        }

    async def submit_sample(self, given: SubmitSample) -> dict[str, object]:
        """Roll out and buffer; reward at once where the gold answer is known. Whoever completes the batch of an update
        waits for it, as upstream's clients expect; nobody else does."""
        before, answer, due = self.trainer.updates, dict[str, Any](), False
        if given.rollout is not None:
            answer, due = await self._one(given.rollout)
        elif not (given.finish or given.flush_partial):
            raise InputError("submit_sample needs a rollout, finish or flush_partial")
        last = given.finish or given.flush_partial
        if last:
            await self.canaries.flush()
        failed = await self._step(partial=last, all_=last) if last or due else {}
        stepped = self.trainer.updates > before
        told: dict[str, object] = {"status": "step" if stepped else "rollout", **answer, **failed}
        return told | ({"metrics": self.trainer.metrics} if stepped else {}) | {"serving": self.trainer.version}

    async def _step(self, *, partial: bool = False, all_: bool = False) -> dict[str, str]:
        """The update that is due; `all_`: those of all samples that are ready now, and not of what others send
        meanwhile. One that fails takes nobody's replies away: it is told."""
        rounds = -(-len(self.trainer.ready) // self.trainer.groups_per_update) if all_ else 1
        try:
            for _ in range(rounds):
                await self.trainer.update(partial=partial)
        except MiaError as error:
            self.trainer.failure = str(error)
            return {"failure": str(error)}
        return {}

    @property
    def _due(self) -> bool:
        """Is an update due that nobody makes yet?"""
        return not self.trainer.updating.locked() and len(self.trainer.ready) >= self.trainer.groups_per_update

    async def _one(self, asked: Asked) -> tuple[dict[str, Any], bool]:
        """The replies, and whether they completed a batch."""
        if asked.model not in (None, self.trainer.name):
            raise Refusal(409, f"this server trains {self.trainer.name!r}, not {asked.model!r}")
        try:
            made = await self.trainer.sample(asked.data_id, asked.question)
        except ContextFull as cause:
            raise Refusal(413, f"the question is too long: {cause}") from cause
        gold = self.golds.get(asked.data_id)
        learnt = asked.data_id in self.trainer.consumed or self.trainer.groups[asked.data_id].rewarded
        due = gold is not None and not learnt and await self._score(asked.question, made, gold)
        rewards = [one.reward for one in self.trainer.groups[asked.data_id].rollouts]
        return made.model_dump(mode="json") | {"rewards": rewards}, due

    async def _score(self, question: str, made: Sampled, gold: str) -> bool:
        """Reward the replies by the gold answer. Where that fails they are answered all the same, and wait. Tells
        whether an update is due now: asked before anybody else can begin it."""
        try:
            rewards = [await self.reward(question, text, gold) for text in made.texts]
        except JudgeError as error:
            self.unscored, self.reward_failure = self.unscored + 1, str(error)
            return False
        self.reward_failure = ""
        if self.trainer.feedback(made.id, made.ticket, rewards) != "accepted":
            return False
        due = self._due
        await self.canaries.rewarded(made.id, question)
        return due or self._due

    async def submit_batch(self, given: SubmitBatch) -> dict[str, object]:
        """Several samples, in order."""
        before = self.trainer.updates
        told = [await self._one(one) for one in given.rollouts]
        failed = await self._step(all_=True) if any(due for _, due in told) else {}
        status = "step" if self.trainer.updates > before else "rollout"
        return {"status": status, "results": [one for one, _ in told], "metrics": self.trainer.metrics, **failed}

    async def save_checkpoint(self, _given: dict[str, JsonValue]) -> dict[str, object]:
        """Every version is on disk before it is served, so there is nothing left to save."""
        return {"status": "success", "version": self.trainer.version}

    async def register_images(self, given: PictureEntries) -> dict[str, object]:
        """Takes note of pictures; text policies do not look at them."""
        self.pictures |= {one.data_id: len(one.images) for one in given.entries}
        while len(self.pictures) > IMAGES_AT_MOST:
            del self.pictures[next(iter(self.pictures))]
        return {"status": "success", "registered": len(given.entries)}

    async def feedback(self, given: Said) -> dict[str, object]:
        """A user's word on one sample, whenever it comes."""
        told = self.trainer.feedback(given.id, given.ticket, given.rewards)
        if told == "accepted":
            await self.canaries.said(given.id)
        return {"status": told}

    async def register_gts(self, given: Golds) -> dict[str, object]:
        told = await super().register_gts(given)
        await self.canaries.registered([one.data_id for one in given.entries])
        return told

    async def check(self, _given: dict[str, JsonValue]) -> dict[str, object]:
        """Look at rewards and canaries of the served version now."""
        return {"status": "success", "went_back_to": await self.trainer.guard(), "version": self.trainer.version}

    async def rollback(self, given: Back) -> dict[str, object]:
        """Serve an earlier version."""
        await self.trainer.rollback(given.version)
        return {"status": "success", "version": self.trainer.version}


def reward_service(reward: Reward = same_text, *, hosts: Collection[str] | None = None) -> JsonService:
    """The reward service alone (upstream's port 6000)."""
    desk = GoldDesk(reward)
    routes = (Route("GET", "/health", desk.reward_health, about="what is known"), *desk.routes())
    return JsonService("MIA reward service", routes, hosts=hosts)


def stream_service(
    trainer: StreamTrainer,
    *,
    reward: Reward = same_text,
    judge_canaries: float = 0.0,
    hosts: Collection[str] | None = None,
) -> JsonService:
    """The application. `judge_canaries` is the share of rewarded samples after which the reward function, too, is put
    to the test; the trainer then needs rules for it."""
    desk = Desk(trainer, reward, judge_canaries)
    routes = (
        Route("GET", "/health", desk.health, about="state of the trainer", answer=Health),
        Route("POST", "/submit_sample", desk.submit_sample, SubmitSample, "roll out one question", Replied),
        Route("POST", "/submit_batch", desk.submit_batch, SubmitBatch, "roll out several questions"),
        Route("POST", "/save_checkpoint", desk.save_checkpoint, dict[str, JsonValue], "the version on disk", Serving),
        *desk.routes(),
        Route("POST", "/streaming/register_images", desk.register_images, PictureEntries, "pictures of questions"),
        Route("POST", "/v1/feedback", desk.feedback, Said, "rewards of the replies of one sample", Heard),
        Route("POST", "/v1/rollback", desk.rollback, Back, "serve an earlier version", Serving),
        Route("POST", "/v1/check", desk.check, dict[str, JsonValue], "canaries now; goes back if they fell", Checked),
    )
    return JsonService("MIA streaming trainer", routes, hosts=hosts, running=trainer.running)
