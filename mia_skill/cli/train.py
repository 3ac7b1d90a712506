"""`mia train`: what learns."""

import click

from mia_skill.cli.train_cold import cold
from mia_skill.cli.train_data import data
from mia_skill.cli.train_runs import alternate, executor, export, planner
from mia_skill.cli.ttl import ttl

__all__ = ["train"]


@click.group()
def train() -> None:
    """Training and test-time learning."""


for command in (data, cold, executor, planner, alternate, export, ttl):
    train.add_command(command)
