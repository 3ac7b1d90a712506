"""GRPO in one file. Read it from top to bottom; it is the whole algorithm on torch and transformers.

1. `LocalSampler` writes tokens for many episodes at once: whoever waits for a reply is answered in one batch.
2. An episode is played by the code that serves users (`training.rollout.roll_out`); a `TokenPolicy` keeps the tokens.
3. `rows_of` turns rewards into advantages, `(R - mean R) / std R` within the rollouts of a question.
4. `Learner.update` is the loss of spec section 3: min(rho A, clip(rho) A) on the tokens the policy wrote.
5. `grpo_step` is one turn of the wheel. `Learner.save` writes a folder that transformers and vLLM load.

The updater of other loops is `learner.update(groups)`, where a group holds the rollouts of one question.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from mia_skill.core.errors import InputError, TrainingError, boundary
from mia_skill.core.script import missing

try:
    import torch
    from safetensors import SafetensorError
    from torch.nn.functional import log_softmax
    from transformers import AutoModelForCausalLM, AutoTokenizer
except ImportError as cause:
    raise missing(cause, __name__, "'mia-skill[rl]'") from None

from training.advantage import Mean, group_advantages, loss_weights
from training.decoder import GraphDecoder, PlainDecoder, logits_of
from training.policy import Conversation, Renderer, Sampled
from training.rollout import Rollout
from training.task import Task

__all__ = ["BETAS", "Learner", "LocalSampler", "Row", "Stats", "grpo_step", "load", "rows_of"]


def load(path: str | Path, device: str) -> tuple[Any, Any]:
    """Model (float32) and tokenizer of a folder, or of a folder with one GGUF file."""
    packed = sorted(Path(path).glob("*.gguf"))
    gguf = {"gguf_file": packed[0].name} if packed else {}
    words = {} if (Path(path) / "tokenizer.json").exists() else gguf
    tokenizer = AutoTokenizer.from_pretrained(path, **words)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="sdpa", **gguf)
    # What was unpacked is an ordinary model; its saved config must not say that it is packed.
    model.config.__dict__.pop("quantization_config", None)
    return model.to(device), tokenizer


BETAS = (0.9, 0.98)
"""Of AdamW, for every learner of ours."""
QUIET_TURNS = 8
"""Turns of the event loop in which nobody must have joined: a caller needs a few from one reply to its next."""


# 1. Sampling ---------------------------------------------------------------------------------------------------------


@dataclass
class Waiting:
    """Somebody who waits for tokens."""

    prompt: list[int]
    temperature: float
    most: int
    stop: tuple[str, ...]
    reply: "asyncio.Future[Sampled]"


class LocalSampler:
    """Answers everybody who waits at the moment in one batch."""

    def __init__(self, decoder: Any, tokenizer: Any, *, batch: int = 256) -> None:
        self.decoder, self.tokenizer, self.batch = decoder, tokenizer, batch
        self.specials = set(tokenizer.all_special_ids)
        self.pieces = [tokenizer.decode([token]) for token in range(len(tokenizer))]
        self.queue: list[Waiting] = []
        self.running: asyncio.Task[None] | None = None
        self.tokens, self.steps, self.seconds = 0, 0, 0.0

    async def generate(
        self, prompt_ids: Sequence[int], *, temperature: float, max_tokens: int, stop: Sequence[str]
    ) -> Sampled:
        reply: asyncio.Future[Sampled] = asyncio.get_running_loop().create_future()
        self.queue.append(Waiting(list(prompt_ids), temperature, max_tokens, tuple(stop), reply))
        if self.running is None or self.running.done():
            self.running = asyncio.create_task(self._serve())
        return await reply

    async def _serve(self) -> None:
        """Wait until nobody joins any more, then write for all."""
        while self.queue:
            known = -1
            while known != len(self.queue):
                known = len(self.queue)
                for _ in range(QUIET_TURNS):
                    await asyncio.sleep(0)
            self.queue.sort(key=lambda one: len(one.prompt))  # alike lengths share a batch: little padding
            batch, self.queue = self.queue[: self.batch], self.queue[self.batch :]
            try:
                written = self._write(batch)
            except BaseException as cause:
                left, self.queue = [*batch, *self.queue], []  # nobody else would answer those that wait
                for one in (one for one in left if not one.reply.done()):
                    one.reply.set_exception(cause if isinstance(cause, Exception) else RuntimeError(repr(cause)))
                raise
            for one, sampled in zip(batch, written, strict=True):
                if not one.reply.done():
                    one.reply.set_result(sampled)

    @torch.no_grad()
    def _write(self, batch: Sequence[Waiting]) -> list[Sampled]:
        began = perf_counter()
        most = max(one.most for one in batch)
        logits_BV = self.decoder.start([one.prompt for one in batch], most)
        warmth_B = torch.tensor([one.temperature for one in batch], device=logits_BV.device)[:, None]
        ids: list[list[int]] = [[] for _ in batch]
        logprobs: list[list[float]] = [[] for _ in batch]
        ends: list[str | None] = [None] * len(batch)
        for step in range(most):
            logp_BV = log_softmax(logits_BV / torch.where(warmth_B > 0, warmth_B, 1.0), dim=-1)
            # The largest of log p + Gumbel noise is a sample of p; without noise it is the likeliest token.
            noise_BV = -torch.empty_like(logp_BV).exponential_().log_()
            chosen_B = torch.where(warmth_B > 0, logp_BV + noise_BV, logp_BV).argmax(-1)
            written = torch.stack([chosen_B.double(), logp_BV.gather(1, chosen_B[:, None])[:, 0].double()]).tolist()
            for row, (token, logp) in enumerate(zip(*written, strict=True)):
                if ends[row] is None:
                    ids[row].append(int(token))
                    logprobs[row].append(logp)
                    ends[row] = self._end(batch[row], ids[row])
            if all(ends) or step == most - 1:
                break
            logits_BV = self.decoder.step(chosen_B)
            self.steps += 1
        self.tokens += sum(map(len, ids))
        self.seconds += perf_counter() - began
        return [
            Sampled(tuple(one), tuple(logp), "length" if end == "length" else "stop")
            for one, logp, end in zip(ids, logprobs, ends, strict=True)
        ]

    def _end(self, one: Waiting, ids: list[int]) -> str | None:
        if ids[-1] in self.specials:
            return "stop"
        if any(stop[-1] in self.pieces[ids[-1]] for stop in one.stop):
            tail = self.tokenizer.decode(ids[-16:])
            if any(stop in tail for stop in one.stop):
                return "stop"
        return "length" if len(ids) >= one.most else None


# 2. Playing: `training.rollout.roll_out`, the episode that serves users --------------------------------------------

# 3. From rewards to weights ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One conversation as training data."""

    talk: Conversation
    advantage: float
    weight: float
    """Of each of its written tokens: 1 / (groups x rollouts x tokens of the rollout) in the paper's mean."""


def rows_of(groups: Sequence[Sequence[Rollout]], mean: Mean = "sequence") -> list[Row]:
    """The rows that can move a weight: those with an advantage.

    Raises:
        InputError: a group is empty.
    """
    rows = []
    written = [[sum(talk.written for talk in one.conversations) for one in group] for group in groups]
    for group, weights in zip(groups, loss_weights(written, mean), strict=True):
        if not group:
            raise InputError("a group without rollouts: give every question at least one")
        advantages = group_advantages([one.reward for one in group])
        for rollout, advantage, weight in zip(group, advantages, weights, strict=True):
            if advantage:
                rows += [Row(talk, float(advantage), weight) for talk in rollout.conversations if talk.written]
    return rows


# 4. The update -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stats:
    """What one update did."""

    rows: int
    tokens: int
    entropy: float
    """Mean over the written tokens, in nats."""
    drift: float
    """Mean |log-probability of trainer - sampler|: 0 but for rounding at the first update after a rollout."""
    clipped: float
    """Share of tokens whose ratio was clipped."""
    grad_norm: float
    seconds: float


class Learner:
    """A policy that learns. Weights are float32; on a GPU the sampler's copy and the arithmetic are bfloat16."""

    def __init__(
        self, model: Any, tokenizer: Any, *, lr: float = 1e-5, clip: float = 0.2, lora_rank: int = 0,
        tokens_per_batch: int = 32_768, sample_batch: int = 512, context: int = 2176, mean: Mean = "sequence",
    ) -> None:  # fmt: skip
        if lora_rank:
            from peft import LoraConfig, get_peft_model

            config = LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules="all-linear")
            model = get_peft_model(model, config)
        self.model, self.tokenizer, self.clip, self.tokens_per_batch = model, tokenizer, clip, tokens_per_batch
        self.lora, self.mean = bool(lora_rank), mean
        self.renderer = Renderer(tokenizer)
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=lr, betas=BETAS, weight_decay=0.0)
        self.fast = model.device.type == "cuda"
        config = self._plain().config
        decoder: Any
        if self.fast and config.model_type == "llama":
            torch.set_float32_matmul_precision("high")
            decoder = GraphDecoder(config, model.device, rows=sample_batch, length=context)
        else:
            dtype = torch.bfloat16 if self.fast else torch.float32
            copy = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
            decoder = PlainDecoder(copy.to(model.device).eval())
        self.sampler = LocalSampler(decoder, tokenizer, batch=sample_batch)
        self.sync()

    def update(self, groups: Sequence[Sequence[Rollout]]) -> Stats:
        """One optimizer step on the rollouts of some questions; equal rewards change nothing."""
        return self._fit(rows_of(groups, self.mean), self._clipped_loss)

    def imitate(self, talks: Sequence[Conversation]) -> Stats:
        """One optimizer step of supervised learning on what an expert wrote: the cold start."""
        tokens = sum(talk.written for talk in talks)
        return self._fit([Row(talk, 1.0, 1.0 / tokens) for talk in talks], lambda logp, old, adv, w: -(w * logp).sum())

    def weights(self) -> dict[str, Any]:
        """The policy's weights as a plain model names them, an adapter merged into them."""
        named: dict[str, Any] = self._plain().state_dict()
        if self.lora:
            # What peft wraps is called `NAME.base_layer.weight`; the adapter's own parts stay behind.
            named = {name.replace(".base_layer", ""): one for name, one in named.items() if ".lora_" not in name}
        return named

    def sync(self) -> None:
        """Give the sampler the learner's weights: the next rollouts are of the new policy."""
        with self._merged(), torch.no_grad():
            self.sampler.decoder.load(self.weights())

    def save(self, folder: Path) -> None:
        """A folder that transformers, vLLM and veRL load: bfloat16, with no adapter left.

        Raises:
            TrainingError: it cannot be written (a full disk).
        """
        with self._merged(), torch.no_grad():
            plain = AutoModelForCausalLM.from_config(self._plain().config, dtype=torch.bfloat16)
            plain.load_state_dict(self.weights())
        with boundary(TrainingError, f"writing {folder}", OSError, RuntimeError, SafetensorError):
            plain.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    def checkpoint(self, file: Path) -> None:
        """Everything that a resumed run needs, renamed into place when it is whole.

        Raises:
            TrainingError: it cannot be written (a full disk); the checkpoint before it is still there.
        """
        partial = file.with_suffix(".partial")
        with boundary(TrainingError, f"writing {file}", OSError, RuntimeError):
            torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}, partial)
            partial.replace(file)

    def restore(self, file: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            InputError: it belongs to another model.
        """
        kept = torch.load(file, map_location=self.model.device, weights_only=True)
        try:
            self.model.load_state_dict(kept["model"])
            self.optimizer.load_state_dict(kept["optimizer"])
        except (RuntimeError, ValueError) as cause:
            raise InputError(f"{file} is a checkpoint of another model: {cause}") from cause
        self.sync()

    @contextmanager
    def _merged(self) -> Iterator[None]:
        if self.lora:
            self.model.merge_adapter()
        try:
            yield
        finally:
            if self.lora:
                self.model.unmerge_adapter()

    def _plain(self) -> Any:
        return self.model.get_base_model() if self.lora else self.model

    def _clipped_loss(self, logp: Any, old: Any, advantage: Any, weight: Any) -> Any:
        ratio = (logp - old).exp()
        kept = torch.minimum(ratio * advantage, ratio.clamp(1 - self.clip, 1 + self.clip) * advantage)
        return -(weight * kept).sum()

    def _fit(self, rows: Sequence[Row], loss_of: Callable[..., Any]) -> Stats:
        began = perf_counter()
        if not rows:
            return Stats(0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)
        self.model.train()
        entropy = drift = clipped = 0.0
        tokens = sum(row.talk.written for row in rows)
        for batch in self._batches(rows):
            logp, entropy_N, old, advantage, weight = self._forward(batch)
            loss = loss_of(logp, old, advantage, weight)
            loss.backward()
            gap = (logp - old).detach()
            entropy += float(entropy_N.sum())
            drift += float(gap.abs().sum())
            clipped += float(((gap.exp() - 1).abs() > self.clip).sum())
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0))
        if norm == norm and norm != float("inf"):  # a gradient that is not finite moves nothing; the guards say so
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.sync()
        seconds = perf_counter() - began
        return Stats(len(rows), tokens, entropy / tokens, drift / tokens, clipped / tokens, norm, seconds)

    def _batches(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Rows of alike length, at most `tokens_per_batch` with their padding."""
        batches: list[list[Row]] = [[]]
        for row in sorted(rows, key=lambda one: len(one.talk.ids)):
            if batches[-1] and (len(batches[-1]) + 1) * len(row.talk.ids) > self.tokens_per_batch:
                batches.append([])
            batches[-1].append(row)
        return batches

    def _forward(self, rows: Sequence[Row]) -> tuple[Any, Any, Any, Any, Any]:
        """Of every written token: log-probability and entropy now, log-probability when sampled, advantage, weight."""
        device, longest = self.model.device, max(len(row.talk.ids) for row in rows)
        ids_BT = torch.full((len(rows), longest), self.tokenizer.pad_token_id)
        mask_BT = torch.zeros(ids_BT.shape, dtype=torch.bool)
        old_BT = torch.zeros(ids_BT.shape)
        for row, one in enumerate(rows):
            length = len(one.talk.ids)
            ids_BT[row, :length] = torch.tensor(one.talk.ids)
            mask_BT[row, :length] = torch.tensor(one.talk.mask)
            old_BT[row, :length] = torch.tensor(one.talk.logprobs)
        row_N = mask_BT.nonzero()[:, 0]
        advantage_N = torch.tensor([row.advantage for row in rows])[row_N].to(device)
        weight_N = torch.tensor([row.weight for row in rows])[row_N].to(device)
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.fast):
            base = self._plain()
            # No padding mask: it stands at the right, where causality hides it, and flash attention takes none.
            hidden_BTD = base.model(input_ids=ids_BT.to(device)).last_hidden_state
        # The token at t was chosen by the state at t-1; only written tokens need the vocabulary's logits.
        states_ND = hidden_BTD[:, :-1][mask_BT[:, 1:].to(device)]
        logits_NV = logits_of(states_ND, base.lm_head.weight, torch.bfloat16 if self.fast else torch.float32)
        logp_NV = log_softmax(logits_NV, dim=-1)
        chosen_N = ids_BT[mask_BT].to(device)
        logp_N = logp_NV.gather(1, chosen_N[:, None])[:, 0]
        with torch.no_grad():
            entropy_N = -(logp_NV.exp() * logp_NV).sum(-1)
        return logp_N, entropy_N, old_BT[mask_BT].to(device), advantage_N, weight_N


# 5. One step ---------------------------------------------------------------------------------------------------------


async def grpo_step(
    learner: Learner,
    tasks: Sequence[Task],
    play: Callable[[Task], Any],
    *,
    rollouts: int = 8,
    updates: int = 1,
    rng: random.Random | None = None,
) -> tuple[list[list[Rollout]], list[Stats], float]:
    """Play every task `rollouts` times at once, then learn, in `updates` equal parts. Returns the groups, what the
    updates did, and the seconds that playing took."""
    began = perf_counter()
    made = await asyncio.gather(*(play(task) for task in tasks for _ in range(rollouts)))
    played = perf_counter() - began
    groups = [list(made[at : at + rollouts]) for at in range(0, len(made), rollouts)]
    order = list(groups)
    (rng or random.Random(0)).shuffle(order)
    size = -(-len(order) // updates)
    return groups, [learner.update(order[at : at + size]) for at in range(0, len(order), size)], played
