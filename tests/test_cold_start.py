"""`mia train cold`: what an expert writes gets likelier, and the folder it leaves is one to train and to serve."""

import re
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from random_llama import saved

from mia_skill.cli.main import main

pytestmark = pytest.mark.torch


def cold(model: Path, out: Path, *more: object) -> Result:
    given = ["--model", model, "--out", out, "--world", 1, "--size", 40, "--hops", 1, "--examples", 4, "--batch", 4]
    return CliRunner().invoke(main, [str(one) for one in ("train", "cold", *given, "--device", "cpu", *more)])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("model"))


def test_the_loss_falls_and_the_folder_can_be_trained_and_served(model: Path, tmp_path: Path) -> None:
    from training.model_folder import check_model

    done = cold(model, tmp_path / "cold", "--steps", 4, "--lr", 1e-3)
    assert done.exit_code == 0, done.output
    losses = [float(one) for one in re.findall(r"loss ([\d.]+) nats", done.output)]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert check_model(tmp_path / "cold") == check_model(model)
    again = cold(model, tmp_path / "cold")
    assert again.exit_code == 1
    assert "a new folder" in again.output


def test_one_role_is_learnt_alone_and_enough_is_enough(model: Path, tmp_path: Path) -> None:
    counts = []
    for role in ("executor", "planner"):
        done = cold(model, tmp_path / role, "--steps", 9, "--role", role, "--enough", 1000)
        assert done.output.count("nats a token") == 1
        counts.append(int(re.findall(r"(\d+) conversations of an expert", done.output)[0]))
    both = cold(model, tmp_path / "both", "--steps", 9, "--enough", 1000)
    assert f"{sum(counts)} conversations of an expert" in both.output


def test_a_model_that_cannot_be_used_is_told_before_anything_is_learnt(model: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_bytes(orjson.dumps({"model_type": "llama"}))
    done = cold(bare, tmp_path / "out")
    assert done.exit_code == 1
    assert "holds no weights" in done.output
