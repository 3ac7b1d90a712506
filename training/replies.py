"""Replies of a sampler as rollouts that keep their tokens, and such rollouts as what `training.tiny` learns from."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from mia_skill.core.chat import Message
from mia_skill.core.errors import TrainingError
from mia_skill.core.types import Question
from training.groups import Group, Rollout, Tokens
from training.policy import Conversation, Renderer, Sampler, TokenPolicy
from training.rollout import Rollout as Played
from training.task import Task

__all__ = ["Writing", "played_of", "replies", "tokens_of"]


@dataclass(frozen=True)
class Writing:
    """How a policy writes."""

    temperature: float = 1.0
    max_tokens: int = 128
    context: int = 2048


async def replies(sampler: Sampler, renderer: Renderer, prompt: str, n: int, how: Writing) -> tuple[Rollout, ...]:
    """`n` replies to one user turn, at once.

    Raises:
        ModelError: the sampler failed, or the prompt fills the context.
    """
    pens = [
        TokenPolicy(sampler, renderer, temperature=how.temperature, max_tokens=how.max_tokens, context=how.context)
        for _ in range(n)
    ]
    turn = (Message(role="user", content=prompt),)
    told = await asyncio.gather(*(pen.complete(turn) for pen in pens))
    return tuple(
        Rollout(text=reply.text, tokens=tokens_of(pen.conversations)) for pen, (reply,) in zip(pens, told, strict=True)
    )


def tokens_of(talks: Sequence[Conversation]) -> tuple[Tokens, ...]:
    """Conversations as values."""
    return tuple(Tokens(ids=tuple(one.ids), mask=tuple(one.mask), logprobs=tuple(one.logprobs)) for one in talks)


def played_of(groups: Sequence[Group]) -> list[list[Played]]:
    """The rollouts of groups in the form that one GRPO step takes.

    Raises:
        TrainingError: a rollout that has a reward came without its tokens.
    """
    made = []
    for group in groups:
        task = Task(question=Question(text=group.prompt or group.key, id=group.key), gold=())
        if any(one.reward is not None and not one.tokens for one in group.rollouts):
            raise TrainingError(f"{group.key!r} holds texts without tokens: weights learn only from what was sampled")
        made.append([Played(task, talks_of(one), one.reward) for one in group.rollouts])
    return made


def talks_of(rollout: Rollout) -> tuple[Conversation, ...]:
    return tuple(Conversation((), list(one.ids), list(one.mask), list(one.logprobs)) for one in rollout.tokens)
