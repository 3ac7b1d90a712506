"""Nothing that is used here writes beside what the user named, or reports to its maker."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EMBED = "from retrieval.embed import MiniLM; print(MiniLM().embed(['a river']).shape)"
PRODUCT = (
    "import numpy as np; from retrieval.int8_product import Int8Product; "
    "print(Int8Product(np.ones((4, 8), np.int8), np.ones(4, np.float32)))"
)
TOLD = (
    "import os; from mia_skill.core.onnx import onnx_runtime; onnx_runtime(); "
    "print(os.environ['ORT_DISABLE_TELEMETRY'])"
)
ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("program", [EMBED, PRODUCT])
def test_embedding_leaves_nothing_in_the_home_folder(program: str, tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "MIA_CACHE"):
        environment.pop(name, None)
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, cwd=ROOT)
    assert not list(tmp_path.rglob("*"))


def test_a_users_own_choice_about_reports_stands(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-c", TOLD], check=True, env=environment, capture_output=True, cwd=ROOT)
    assert done.stdout.strip() == b"0"
