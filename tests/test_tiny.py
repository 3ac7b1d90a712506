"""GRPO in one file: what is sampled, what is learnt from it, what is saved. On a random model of two layers."""

import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from random_llama import model, tokenizer

from mia_skill.core.errors import InputError, TrainingError
from mia_skill.core.types import Question
from training.policy import Conversation, Renderer
from training.rollout import Rollout
from training.task import Task

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings(
        "ignore:.past_key_values. is deprecated:FutureWarning"
    ),  # its new name is unknown to 5.9
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),  # peft asks transformers
]


def learner(**options: Any) -> Any:
    from training.tiny import Learner

    words = tokenizer()
    return Learner(model(len(words)), words, **({"lr": 1e-2, "sample_batch": 8, "context": 256} | options))


async def talks(policy: Any, texts: Sequence[str], most: int = 12) -> list[Conversation]:
    """One reply to each text, as training data."""
    import asyncio

    renderer = Renderer(policy.tokenizer)
    asked = [renderer.encode(text) for text in texts]
    made = await asyncio.gather(
        *(policy.sampler.generate(ids, temperature=1.0, max_tokens=most, stop=()) for ids in asked)
    )
    return [
        Conversation(
            (),
            [*ids, *one.token_ids],
            [False] * len(ids) + [True] * len(one.token_ids),
            [0.0] * len(ids) + list(one.logprobs),
        )
        for ids, one in zip(asked, made, strict=True)
    ]


def rollout(talk: Conversation, reward: float | None) -> Rollout:
    return Rollout(Task(question=Question(text="q"), gold=("g",)), (talk,), reward)


def snapshot(policy: Any) -> list[Any]:
    return [one.detach().clone() for one in policy.model.parameters()]


def moved(before: list[Any], policy: Any) -> bool:
    return any(not old.equal(new) for old, new in zip(before, policy.model.parameters(), strict=True))


def test_the_fast_decoder_gives_the_logits_of_the_plain_one_for_prompts_of_all_lengths() -> None:
    import torch

    from training.decoder import GraphDecoder, PlainDecoder

    plain, words = model(97), torch.Generator().manual_seed(1)
    prompts = [torch.randint(97, (size,), generator=words).tolist() for size in (3, 41, 17, 140)]
    fast = GraphDecoder(plain.config, "cpu", rows=4, length=160)
    fast.load(plain.state_dict())
    slow = PlainDecoder(plain)
    torch.testing.assert_close(fast.start(prompts, 6), slow.start(prompts, 6), atol=1e-4, rtol=1e-4)
    for _ in range(5):
        token = torch.randint(97, (4,), generator=words)
        torch.testing.assert_close(fast.step(token), slow.step(token), atol=1e-4, rtol=1e-4)
    with pytest.raises(InputError, match="larger"):
        fast.start([[1] * 300], 6)


async def test_what_the_sampler_says_of_its_tokens_is_what_the_learner_finds() -> None:
    policy = learner()
    made = await talks(policy, ["a", "some longer text", "b c"])
    stats = policy.update([[rollout(talk, float(place)) for place, talk in enumerate(made)]])
    assert stats.rows == 2  # the middle one has the mean reward: no advantage
    assert stats.tokens > 2
    assert stats.drift < 1e-4
    assert stats.clipped == 0.0


async def test_equal_rewards_and_missing_ones_move_no_weight_and_an_empty_group_is_refused() -> None:
    policy = learner()
    one, other = await talks(policy, ["x", "y"])
    before = snapshot(policy)
    stats = policy.update([[rollout(one, 0.5), rollout(other, 0.5)], [rollout(one, None), rollout(other, 1.0)]])
    assert stats.rows == 0
    assert not moved(before, policy)
    with pytest.raises(InputError, match="without rollouts"):
        policy.update([[]])


async def test_every_rollout_weighs_the_same_however_long_it_is() -> None:
    from training.tiny import rows_of

    policy = learner()
    (short,), (long,) = await talks(policy, ["x"], most=2), await talks(policy, ["y"], most=12)
    rows = rows_of([[rollout(short, 1.0), rollout(long, 0.0)], [rollout(short, 0.5), rollout(long, 0.5)]])
    assert [row.weight * row.talk.written for row in rows] == pytest.approx([1 / 4, 1 / 4])
    assert [row.advantage for row in rows] == pytest.approx([1.0, -1.0], abs=1e-3)


async def test_by_the_token_mean_every_token_weighs_the_same() -> None:
    from training.tiny import rows_of

    policy = learner()
    first, second = await talks(policy, ["a", "b"])
    groups = [[rollout(first, 1.0), rollout(second, 0.0)]]
    total = first.written + second.written
    assert {row.weight for row in rows_of(groups, "token")} == {1 / total}
    assert [row.weight for row in rows_of(groups)] == [1 / (2 * first.written), 1 / (2 * second.written)]


async def test_what_is_rewarded_is_written_more_and_more() -> None:
    policy = learner()

    async def step() -> float:
        """One group of 8; what is wanted are tokens of the lower half."""
        made = await talks(policy, ["same prompt"] * 8)
        rewards = [
            sum(word < 128 for word, own in zip(one.ids, one.mask, strict=True) if own) / one.written for one in made
        ]
        policy.update([[rollout(talk, reward) for talk, reward in zip(made, rewards, strict=True)]])
        return sum(rewards) / len(rewards)

    seen = [await step() for _ in range(16)]
    assert sum(seen[-4:]) > sum(seen[:4]) + 1


def test_a_full_disk_ends_a_run_and_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    policy, file = learner(), tmp_path / "policy.pt"
    policy.checkpoint(file)
    kept = file.read_bytes()
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))  # a file cannot grow beyond that, as on a full disk
    try:
        with pytest.raises(TrainingError, match=r"writing .*policy\.pt"):
            policy.checkpoint(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert file.read_bytes() == kept
    policy.restore(file)


def test_a_policy_that_cannot_be_written_is_told_and_its_adapter_is_taken_out_again(tmp_path: Path) -> None:
    policy, _ = learner(lora_rank=2), (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(TrainingError, match="writing"):
        policy.save(tmp_path / "taken" / "below")
    assert not any(getattr(layer, "merged", False) for layer in policy.model.modules())


async def test_an_adapter_learns_alone_and_a_saved_policy_is_a_plain_folder_with_it_merged(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    policy = learner(lora_rank=4)
    trained = {name for name, weight in policy.model.named_parameters() if weight.requires_grad}
    assert trained
    assert all(".lora_" in name for name in trained)
    good, bad = await talks(policy, ["same prompt", "same prompt"])
    for _ in range(4):
        policy.update([[rollout(good, 1.0), rollout(bad, 0.0)]])
    policy.save(tmp_path / "saved")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32)
    logits = loaded(torch.tensor([good.ids])).logits[0, -1].detach()
    own = policy.model(torch.tensor([good.ids])).logits[0, -1].detach()
    torch.testing.assert_close(logits, own, atol=0.1, rtol=0.1)
    base = model(len(policy.tokenizer))(torch.tensor([good.ids])).logits[0, -1].detach()
    assert (base - own).abs().max().item() > 10 * (logits - own).abs().max().item()
