"""`mia train`: what learns."""

import click

from mia_skill.cli.ttl import ttl

__all__ = ["train"]


@click.group()
def train() -> None:
    """Training and test-time learning."""


train.add_command(ttl)
