"""The world stream with a policy of tokens: every way is told, and a run that was cut off has shown what it had."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import orjson
import pytest
from random_llama import saved

pytestmark = [pytest.mark.torch, pytest.mark.slow]

PATIENCE_S = 600
SIZES = tuple("--questions 4 --batch 2 --width 2 --size 60 --seeds 1 --context 4096 --tokens 48 --budget-s 560".split())
"""A budget beyond the test's own patience: on a busy machine it must not end a way early."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model"))


def command(folder: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "training.world_stream", "--planner", str(folder), "--out", str(out), *SIZES, *more]


def asked(file: Path) -> int:
    return len(orjson.loads(file.read_bytes())["lines"]) if file.exists() else 0


def test_every_way_answers_the_same_questions_and_is_told_in_one_table(folder: Path, tmp_path: Path) -> None:
    made = command(folder, tmp_path, "--ways", "static", "memory", "gold", "unsupervised")
    done = subprocess.run(made, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert "questions answered by every way: seed 1: 4" in done.stdout
    assert done.stdout.strip().endswith("failed: none")
    for way in ("static", "memory", "gold", "unsupervised"):
        assert asked(tmp_path / f"ttl_{way}_1.json") == 4
        assert f"\n{way} " in done.stdout


def test_a_run_that_is_cut_off_has_kept_the_batches_that_were_through(folder: Path, tmp_path: Path) -> None:
    running = subprocess.Popen(command(folder, tmp_path, "--one", "gold", "1"), start_new_session=True)
    end = time.monotonic() + PATIENCE_S
    while not asked(tmp_path / "ttl_gold_1.json"):
        assert running.poll() is None
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    shown = subprocess.run(command(folder, tmp_path, "--show"), capture_output=True, text=True, check=True)
    assert "seed 1: " in shown.stdout
    assert "\ngold " in shown.stdout
