"""Modules that are run as programs (`python -m ...`): what is missing, and errors of ours, end them with one line."""

import sys
from collections.abc import Callable
from typing import NoReturn

from mia_skill.core.errors import MiaError, MissingExtraError

__all__ = ["missing", "script"]


def missing(cause: ImportError, module: str, install: str) -> BaseException:
    """To be raised where an import at the top of `module` (its `__name__`) failed: the program's end, or our error."""
    text = f"this needs the package {(cause.name or str(cause)).partition('.')[0]}: pip install {install}"
    return SystemExit(text) if module == "__main__" else MissingExtraError(text)


def script(main: Callable[[], object]) -> NoReturn:
    """Run a program; its exit code is what it returns, or 1 with the message of our error."""
    try:
        code = main()
    except MiaError as cause:
        sys.exit(str(cause))
    sys.exit(code if isinstance(code, int) else 0)
