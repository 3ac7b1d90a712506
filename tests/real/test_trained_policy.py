"""From a base model to an evaluated one: cold start, a GRPO step of the real veRL, export, `vllm serve`, `mia eval`."""

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from mia_skill.core.config import EndpointConfig
from mia_skill.evaluation.plan import trace_path
from mia_skill.evaluation.trace import Row, rows_of

pytestmark = pytest.mark.real

COLD_START = Path(__file__).with_name("train_smollm.py")
ENVIRONMENT = {"OMP_NUM_THREADS": str(os.cpu_count() or 1), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
STAGE_S = 1800.0
QUESTIONS = 8
HELD_OUT = 52
"""The stream of this world asks one-hop questions, which is what the cold start taught; in another world (1)."""
STEP = (
    "data.train_batch_size=2", "data.val_batch_size=2", "data.max_prompt_length=640", "data.max_response_length=640",
    "actor_rollout_ref.actor.ppo_mini_batch_size=2", "actor_rollout_ref.actor.ppo_max_token_len_per_gpu=4096",
    "actor_rollout_ref.rollout.n=2", "actor_rollout_ref.rollout.log_prob_max_token_len_per_gpu=4096",
    "mia.k=1", "mia.reply_tokens=64", "mia.limits.steps=3", "trainer.total_training_steps=1", "trainer.save_freq=1",
)  # fmt: skip
"""One GRPO step on two questions with two rollouts each, which takes a small model and two cores a minute."""
AGENT = {
    "models.default.max_tokens": "96",
    "memory.embedder": "hash",
    "search.k": "1",
    "visit.mode": "off",  # a policy is served with the tools it was trained with
    "budget.steps": "4",
}


def run(python: Path, *arguments: object) -> None:
    """A program, with its output shown if the test fails."""
    subprocess.run(
        [str(one) for one in (python, *arguments)], check=True, timeout=STAGE_S, env=os.environ | ENVIRONMENT
    )


@pytest.fixture(scope="module")
def exported(train_python: Path, base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained Executor, by the commands of docs/training.md."""
    place = tmp_path_factory.mktemp("trained")
    mia = ("-m", "mia_skill.cli", "train")
    run(train_python, COLD_START, "--model", base_model, "--out", place / "cold")
    worlds = ("--world", 1, "--dev-world", 11, "--size", 60, "--hops", 1, "--limit", 4)
    run(train_python, *mia, "data", *worlds, "--out", place / "data")
    asked = ("--machine", "cpu", "--data", place / "data", "--model", place / "cold", "--out", place / "run")
    run(train_python, *mia, "executor", *asked, *STEP)
    checkpoint = ("--checkpoint", place / "run" / "global_step_1")
    run(train_python, *mia, "export", "--cpu", *checkpoint, "--out", place / "export")
    return place / "export"


def evaluated(endpoint: EndpointConfig, out: Path) -> list[Row]:
    """`mia eval` on a world that nothing was trained on."""
    settings = AGENT | {"models.default.base_url": endpoint.base_url, "models.default.model": endpoint.model}
    flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    world = ("--dataset", "world", "--world-size", 60, "--world-seed", HELD_OUT)
    sizes = ("--agent", "models", "--limit", QUESTIONS, "--concurrency", QUESTIONS)
    command = ("-m", "mia_skill.cli", "--home", out / "home", *flags, "eval", "run", *world, "--methods", "mia", *sizes)
    run(Path(sys.executable), *command, "--out", out)
    return list(rows_of(trace_path(out, "mia", 0)))


def test_what_was_trained_and_exported_is_served_and_answers_more_than_the_model_it_began_with(
    exported: Path,
    base_model: Path,
    serving: Callable[[Path], AbstractContextManager[EndpointConfig]],
    tmp_path: Path,
) -> None:
    with serving(base_model) as endpoint:
        before = evaluated(endpoint, tmp_path / "before")
    with serving(exported) as endpoint:
        after = evaluated(endpoint, tmp_path / "after")
    assert len(before) == len(after) == QUESTIONS
    finished = [row for row in after if row.status == "sample"]
    assert len(finished) >= QUESTIONS - 2
    searched = [row for row in finished if row.attempt and any(step.passages for step in row.attempt.trajectory.steps)]
    assert len(searched) >= QUESTIONS - 2
    assert sum(bool(row.right) for row in after) >= sum(bool(row.right) for row in before) + 2
