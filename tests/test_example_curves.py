"""The curves in docs/examples are what their logs draw."""

from pathlib import Path

import orjson
import pytest

from training.curve import write_curve

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
NANO = EXAMPLES / "nano"


@pytest.mark.parametrize("name", ["nano/seed0", "nano/seed1", "verl/executor"])
def test_a_page_in_the_examples_is_what_its_log_draws(name: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    write_curve(EXAMPLES / f"{name}.jsonl", page)
    again = f"python -m training.curve docs/examples/{name}.jsonl --page docs/examples/{name}.html"
    assert page.read_text() == (EXAMPLES / f"{name}.html").read_text(), f"draw it again: {again}"


@pytest.mark.parametrize("name", ["seed0", "seed1"])
def test_the_readmes_figures_of_the_nano_run_are_those_of_its_logs(name: str) -> None:
    report = orjson.loads((NANO / f"{name}.jsonl").read_bytes().splitlines()[-1])
    readme = (NANO.parents[2] / "README.md").read_text()
    for start, trained in (("executor_start", "executor_trained"), ("planner_start_memory", "planner_trained_memory")):
        told = " -> ".join(f"{report[one]['right']:.3f}".lstrip("0") for one in (start, trained))
        assert told in readme, f"{name}: {told}"


def test_the_readmes_figures_of_the_run_in_verl_are_those_of_its_log() -> None:
    lines = [orjson.loads(line) for line in (EXAMPLES / "verl" / "executor.jsonl").read_bytes().splitlines()]
    looks = [line["right"] for line in lines if line["kind"] == "look"]
    told = " -> ".join(f"{share:.3f}".lstrip("0") for share in (looks[0], looks[-1]))
    assert f"{told} in {lines[-2]['step']} steps" in (EXAMPLES.parents[1] / "README.md").read_text()


def test_a_page_shows_tests_with_their_intervals_and_looks_beside_the_steps(tmp_path: Path) -> None:
    lines: list[dict[str, object]] = [
        {"kind": "planner", "step": 0, "reward": 0.3, "right": 0.25},
        {"kind": "planner", "step": 1, "reward": 0.4, "right": 0.375},
        {"kind": "look", "role": "planner", "step": 0, "right": 0.2, "best": 0.2},
        {"kind": "look", "role": "executor", "step": 0, "right": 0.9, "best": 0.9},
        {"kind": "report", "planner_trained": {"right": 0.46, "low": 0.438, "high": 0.482, "runs": 2000}},
    ]
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    write_curve(log, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<td>planner trained<td>0.460<td>0.438 to 0.482" in page
    assert "planner: right (0.25 to 0.38 in 2 points; dots: looks at unseen questions, best 0.20)" in page


def test_a_log_without_a_report_is_drawn_too(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(orjson.dumps({"kind": "executor", "step": 0, "reward": 0.1, "right": 0.0}))
    write_curve(log, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Tests" not in page
    assert "executor: reward (0.10 to 0.10 in 1 points)" in page
