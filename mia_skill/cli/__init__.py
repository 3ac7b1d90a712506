"""The `mia` command."""

from mia_skill.cli.main import main

__all__ = ["main"]
