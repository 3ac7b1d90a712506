"""The JavaScript hooks for OpenClaw, run by node, with the real server in the last of their tests."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLUGIN = ROOT / "integrations" / "openclaw"


def test_the_hooks_recall_store_and_keep_quiet_as_their_own_tests_say(tmp_path: Path, node: str) -> None:
    env = {**os.environ, "MIA_TEST_PYTHON": sys.executable, "MIA_TEST_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    files = sorted(str(path) for path in (PLUGIN / "test").glob("*.test.js"))
    done = subprocess.run(
        [node, "--test", *files], capture_output=True, text=True, timeout=120, cwd=PLUGIN, env=env, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped 0" in done.stdout
