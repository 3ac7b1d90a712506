"""Group-normalised advantages and the two ways to average the loss (GRPO; spec section 3). Plain numpy, no torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.errors import InputError

__all__ = ["group_advantages", "sequence_mean_weights", "token_mean_weights"]

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


def sequence_mean_weights(mask_GT: NDArray[np.bool_], groups_G: Sequence[str]) -> Floats:
    """Weight of each token so that the loss is the paper's: mean over a sequence's own tokens, then over the G of its
    group, then over groups (spec section 3: `1/G sum_i 1/(sum_t I_it) sum_t`). Sequences without tokens weigh nothing.

    Shapes: mask_GT [sequences, tokens], True where the trained model wrote; groups_G names each row's question.
    """
    weights = np.zeros(mask_GT.shape, dtype=np.float64)
    distinct = list(dict.fromkeys(groups_G))
    for group in distinct:
        rows = [row for row, name in enumerate(groups_G) if name == group]
        for row in rows:
            tokens = int(mask_GT[row].sum())
            if tokens:
                weights[row, mask_GT[row]] = 1.0 / (len(distinct) * len(rows) * tokens)
    return weights


def token_mean_weights(mask_GT: NDArray[np.bool_]) -> Floats:
    """veRL's default `token-mean`: every written token of the batch weighs the same, so long replies weigh more."""
    total = int(mask_GT.sum())
    return mask_GT.astype(np.float64) / total if total else np.zeros(mask_GT.shape)
