"""Where the manifest and the skills lie: inside the package when installed, beside it in a checkout."""

from pathlib import Path

import mia_skill
from mia_skill.core.errors import InputError

__all__ = ["asset", "checkout"]


def asset(name: str) -> Path:
    """A file or folder that we ship.

    Raises:
        InputError: this installation lacks it.
    """
    package = Path(mia_skill.__file__).resolve().parent
    for base in (package, package.parent):
        if (base / name).exists():
            return base / name
    raise InputError(f"{name} is not part of this installation: install mia-skill again")


def checkout() -> Path:
    """The root of the source checkout.

    Raises:
        InputError: this is an installed package, not a checkout.
    """
    root = Path(mia_skill.__file__).resolve().parents[1]
    if not (root / "pyproject.toml").is_file():
        raise InputError("this needs a source checkout (pyproject.toml was not found beside the package)")
    return root
