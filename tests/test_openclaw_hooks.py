"""The JavaScript hooks for OpenClaw, run by node, with the real server in the last of their tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "integrations" / "openclaw"


def node() -> str:
    """A node that has a test runner; tests that need it are skipped where there is none."""
    found = os.environ.get("MIA_NODE") or shutil.which("node")
    if found is None:
        pytest.skip("no node on this machine: set MIA_NODE to one of 20 or newer")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < 20:
        pytest.skip(f"node {version.strip()} is older than 20")
    return found


def test_the_hooks_recall_store_and_keep_quiet_as_their_own_tests_say(tmp_path: Path) -> None:
    env = {**os.environ, "MIA_TEST_PYTHON": sys.executable, "MIA_TEST_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    files = sorted(str(path) for path in (PLUGIN / "test").glob("*.test.js"))
    done = subprocess.run(
        [node(), "--test", *files], capture_output=True, text=True, timeout=120, cwd=PLUGIN, env=env, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped 0" in done.stdout
