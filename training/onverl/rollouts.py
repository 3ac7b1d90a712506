"""`actor_rollout_ref.rollout.name=hf`, made known to veRL through its own registries; loaded where it is asked for."""

from typing import Any

from verl.workers.rollout.base import _ROLLOUT_REGISTRY
from verl.workers.rollout.replica import RolloutReplicaRegistry

__all__ = ["NAME"]

NAME = "hf"


def replica() -> Any:
    """The class that starts the server."""
    from training.onverl.transformers_rollout import TransformersReplica

    return TransformersReplica


_ROLLOUT_REGISTRY[(NAME, "async")] = "training.onverl.transformers_rollout.TransformersAdapter"
RolloutReplicaRegistry.register(NAME, replica)
