"""Methods and seeds over a Ray cluster: one task each, every one with its own trace; the traces are the same as alone.

The output folder must be one that all nodes share.
"""

import anyio

from mia_skill.core.config import MiaConfig
from mia_skill.core.errors import MissingExtraError
from mia_skill.evaluation.runner import Progress
from mia_skill.evaluation.stage import Order, staged

__all__ = ["run_part", "spread"]


def run_part(config: MiaConfig, order: Order, method: str, seed: int) -> str:
    """One method over one order, in whatever process this is."""

    async def inside() -> None:
        async with staged(config, order, _quiet) as made:
            await made.evaluation.run_one(method, seed)

    anyio.run(inside)
    return method


def _quiet(_progress: Progress) -> None:
    """Shows nothing: the traces are the record."""


def spread(config: MiaConfig, order: Order, methods: tuple[str, ...]) -> None:
    """All parts, as many at a time as there are CPUs. Joins the cluster of `RAY_ADDRESS`, else starts a local one.

    Raises:
        MissingExtraError: Ray is not installed.
        MiaError: a part broke off; the others are finished first, and the same order goes on.
    """
    try:
        import ray
    except ImportError:
        raise MissingExtraError("--ray needs Ray: pip install 'mia-skill[ray]'") from None
    started = not ray.is_initialized()
    if started:
        ray.init(include_dashboard=False, log_to_driver=False)
    try:
        part = ray.remote(max_retries=0)(run_part)
        waiting = [part.remote(config, order, method, seed) for seed in order.seeds for method in methods]
        ray.wait(waiting, num_returns=len(waiting))
        ray.get(waiting)
    finally:
        if started:
            ray.shutdown()
