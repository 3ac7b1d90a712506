"""Group-normalised advantages and the two ways to average the loss (GRPO; spec section 3). Plain numpy, no torch."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.errors import InputError

__all__ = ["Mean", "group_advantages", "loss_weights"]

Mean = Literal["sequence", "token"]

Floats = NDArray[np.float64]


def group_advantages(rewards_G: Sequence[float | None], *, eps: float = 1e-6) -> Floats:
    """`A_i = (R_i - mean R) / (std R + eps)` over the rollouts of ONE question.

    A rollout without reward (None: no sample) is left out of mean and standard deviation and gets advantage 0, so it
    moves no weight. Equal rewards give zeros: there is nothing to prefer.

    Raises:
        InputError: a reward is not finite.
    """
    kept = np.array([reward is not None for reward in rewards_G])
    values = np.array([0.0 if reward is None else reward for reward in rewards_G], dtype=np.float64)
    if not np.isfinite(values).all():
        raise InputError("a reward is not finite: mask the sample with None instead")
    advantages_G = np.zeros(len(values))
    group = values[kept]
    if len(group) >= 2 and np.ptp(group) > 0:
        advantages_G[kept] = (group - group.mean()) / (group.std() + eps)
    return advantages_G


def loss_weights(written_GR: Sequence[Sequence[int]], mean: Mean = "sequence") -> list[list[float]]:
    """What each token that a rollout wrote weighs in the loss; `written_GR` counts them, group by group.

    `sequence`, the paper's: the mean over a rollout's own tokens, then over the G of its group, then over groups
    (spec section 3: `1/G sum_i 1/(sum_t I_it) sum_t`). `token`, veRL's default `token-mean`: every token of the batch
    weighs the same, so long replies weigh more. A rollout that wrote nothing weighs nothing.
    """
    total = sum(map(sum, written_GR))
    groups = len(written_GR)
    if mean == "token":
        return [[1.0 / total if tokens else 0.0 for tokens in group] for group in written_GR]
    return [[1.0 / (groups * len(group) * tokens) if tokens else 0.0 for tokens in group] for group in written_GR]
