"""`mia train`: what learns."""

import click

from mia_skill.cli.train_cold import cold
from mia_skill.cli.train_data import data
from mia_skill.cli.train_runs import alternate, executor, export, planner
from mia_skill.cli.ttl import ttl

__all__ = ["train"]


@click.group()
def train() -> None:
    """Training and test-time learning.

    \b
    In this order (`mia doctor --train` says what is missing for it):
      mia train data --world 1 --world 2 --dev-world 11 --out data
      mia train cold --model BASE --world 1 --world 2 --out MODEL
      mia train executor --data data --model MODEL --out runs/executor
      mia train export --checkpoint runs/executor/global_step_N --out executor
      vllm serve executor --served-model-name executor
      mia train planner --data data --model MODEL --out runs/planner --other http://127.0.0.1:8000/v1 executor
    `alternate` does the last four in turn. `executor`, `planner` and `alternate` have --dry-run.
    `ttl` needs none of them: it learns over your own questions with a local model.
    """


for command in (data, cold, executor, planner, alternate, export, ttl):
    train.add_command(command)
