"""An evaluation over Ray ends with the traces of a single process."""

from pathlib import Path

import anyio
import pytest

from mia_skill.core.config import MiaConfig, load_config
from mia_skill.evaluation.plan import trace_path
from mia_skill.evaluation.stage import Order, carry_out
from mia_skill.evaluation.trace import rows_of

pytestmark = pytest.mark.slow
METHODS = ("none", "mia")


def ordered(config: MiaConfig, out: Path, *, ray: bool) -> list[object]:
    order = Order(
        dataset="world", out=out, methods=",".join(METHODS), limit=8, seeds=(0, 1), world_size=60, world_seed=3, ray=ray
    )
    anyio.run(carry_out, config, order, lambda _progress: None)
    rows = [row for method in METHODS for seed in (0, 1) for row in rows_of(trace_path(out, method, seed))]
    return [(row.method, row.seed, row.task, row.answer, row.grade, len(row.shown)) for row in rows]


@pytest.mark.filterwarnings("ignore")
def test_a_local_ray_run_equals_the_single_process_run(tmp_path: Path) -> None:
    config = load_config(environment={}, flags={"home": str(tmp_path / "home"), "memory.embedder": "hash"})
    alone = ordered(config, tmp_path / "alone", ray=False)
    assert len(alone) == 32
    assert ordered(config, tmp_path / "ray", ray=True) == alone
