"""The page of a run's curves: every figure, and none that was no number."""

from pathlib import Path

import orjson

from training.curve import write_curve


def test_the_page_draws_every_figure_of_every_stage_rewards_first(tmp_path: Path) -> None:
    lines = [
        {"kind": "data", "train": 3},
        {"kind": "executor", "step": 1, "at_s": 1.0, "entropy": 2.5, "reward": 0.25, "note": "text"},
        {"kind": "executor", "step": 2, "at_s": 2.0, "entropy": 0.5, "reward": 0.75, "loss": -0.5},
        {"kind": "planner", "step": 1, "right": 0.5},
        {"kind": "report", "right": 1.0},
    ]
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    write_curve(tmp_path / "log.jsonl", tmp_path / "curve.html")
    page = (tmp_path / "curve.html").read_text()
    heads = [part.split(" (")[0] for part in page.split("<h3>")[1:]]
    assert heads == ["executor: reward", "executor: entropy", "executor: loss", "planner: right"]
    assert "0.25 to 0.75 in 2 points" in page
    assert 'points="414.0,8.0 792.0,145.6"' in page  # entropy, 2.5 high
    assert "http" not in page


def test_a_figure_that_was_no_number_leaves_a_gap_and_breaks_no_page(tmp_path: Path) -> None:
    lines = [{"kind": "executor", "step": n, "reward": value} for n, value in enumerate([0.5, float("nan"), 0.7])]
    (tmp_path / "log.jsonl").write_bytes(b"\n".join(map(orjson.dumps, lines)))
    write_curve(tmp_path / "log.jsonl", tmp_path / "curve.html")
    assert "0.50 to 0.70 in 2 points" in (tmp_path / "curve.html").read_text()
