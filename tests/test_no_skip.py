"""--no-skip, with which CI runs: a skipped test fails there, in one process and in worker processes alike."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TESTS = """
import pytest

def test_passes():
    pass

def test_skips():
    pytest.skip("a package is missing")

@pytest.fixture
def absent():
    pytest.skip("no development data here")

def test_needs_data(absent):
    pass

@pytest.mark.xfail
def test_is_expected_to_fail():
    assert False
"""


@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_skip_fails_and_only_missing_data_are_excused(tmp_path: Path, processes: str) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "conftest", "-n", processes, "--no-skip"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{HERE}{os.pathsep}{HERE.parent}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stderr
    assert "test_skips may not be skipped here: Skipped: a package is missing" in done.stdout
    assert "1 failed, 1 passed, 1 skipped, 1 xfailed" in done.stdout
