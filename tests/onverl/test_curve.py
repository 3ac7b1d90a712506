"""The curves of any run, read back as TensorBoard reads them."""

from pathlib import Path

import orjson
import pytest

from training.curve import draw, write_events

pytestmark = [pytest.mark.verl, pytest.mark.filterwarnings("default")]

LINES = [
    {"kind": "data", "train": 3},
    {"kind": "executor", "step": 0, "at_s": 1.5, "reward": 0.25, "note": "text is no curve", "gone": None},
    {"kind": "executor", "step": 1, "at_s": 3.0, "reward": 0.5},
    {"kind": "planner", "step": 0, "at_s": 4.0, "reward": 0.75},
]


def points(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    held = EventAccumulator(str(folder))
    held.Reload()
    return {name: [(one.step, one.value) for one in held.Scalars(name)] for name in held.Tags()["scalars"]}


def test_every_number_of_every_step_is_a_curve_that_tensorboard_reads(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join(map(orjson.dumps, LINES)))
    draw(log)
    draw(log)  # a run that went on is drawn again, not on top of what was there
    seen = points(tmp_path / "tensorboard")
    assert set(seen) == {"executor/reward", "executor/at_s", "planner/reward", "planner/at_s"}
    assert seen["executor/reward"] == [(0, 0.25), (1, 0.5)]
    assert "executor: reward (0.25 to 0.50 in 2 points)" in (tmp_path / "curve.html").read_text()


def test_a_log_without_steps_leaves_no_curves(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_bytes(orjson.dumps(LINES[0]))
    write_events(tmp_path / "log.jsonl", tmp_path / "events")
    assert points(tmp_path / "events") == {}
