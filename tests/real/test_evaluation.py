"""The whole evaluation against a real server: every method, killed in the middle, taken up again, reported."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mia_skill.core.config import EndpointConfig
from mia_skill.evaluation.methods import METHODS
from mia_skill.evaluation.plan import trace_path
from mia_skill.evaluation.stage import sandbox_folder
from mia_skill.evaluation.summary import summarise
from mia_skill.evaluation.trace import rows_of

pytestmark = pytest.mark.real
QUESTIONS = 2
PATIENCE_S = 900.0


def command(endpoint: EndpointConfig, home: Path, out: Path) -> list[str]:
    settings = {
        "models.default.base_url": endpoint.base_url,
        "models.default.model": endpoint.model,
        "models.default.max_tokens": "128",
        "models.default.frequency_penalty": "0.3",
        "memory.embedder": "hash",
        "budget.steps": "2",
        "search.k": "2",
        "search.passage_chars": "300",
    }
    dataset = ["sandbox"] if sandbox_folder().is_dir() else ["world", "--world-size", "60", "--agent", "models"]
    made = [sys.executable, "-m", "mia_skill.cli", "--home", str(home)]
    made += [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    made += ["eval", "run", "--methods", "all", "--limit", str(QUESTIONS), "--concurrency", str(QUESTIONS)]
    return [*made, "--out", str(out), "--dataset", *dataset]


def test_every_method_runs_against_a_real_server_is_taken_up_after_a_kill_and_reported(
    vllm_endpoint: EndpointConfig, tmp_path: Path
) -> None:
    asked = command(vllm_endpoint, tmp_path / "home", tmp_path / "out")
    first = trace_path(tmp_path / "out", METHODS[1], 0)
    running = subprocess.Popen(asked, env={**os.environ, "OMP_NUM_THREADS": "1"})
    end = time.monotonic() + PATIENCE_S
    while not (first.is_file() and first.stat().st_size) and time.monotonic() < end:
        assert running.poll() is None, "it ended before it could be killed"
        time.sleep(0.2)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = [row.model_dump() for row in rows_of(trace_path(tmp_path / "out", METHODS[0], 0)) if row.status == "sample"]
    assert kept
    subprocess.run(asked, check=True, timeout=PATIENCE_S)
    again = {row.task: row.model_dump() for row in rows_of(trace_path(tmp_path / "out", METHODS[0], 0))}
    assert [again[row["task"]] for row in kept] == kept
    summary = summarise(tmp_path / "out")
    assert [line.method for line in summary.lines] == list(METHODS)
    assert all(line.asked == QUESTIONS for line in summary.lines)
    assert all(line.calls > 0 and line.tokens > 0 for line in summary.lines if line.no_sample < QUESTIONS)
    report = (tmp_path / "out" / "report.md").read_text()
    assert all(f"| {method} |" in report for method in METHODS)
