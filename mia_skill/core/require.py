"""Optional packages: imported where they are used, with the install line when they are missing."""

from importlib import import_module
from types import ModuleType

from mia_skill.core.errors import MissingExtraError

__all__ = ["require"]


def require(module: str, *, extra: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Raises:
        MissingExtraError: the package is not there, or cannot start (a GPU build without its libraries
            raises RuntimeError or OSError, not ImportError).
    """
    try:
        return import_module(module)
    except (ImportError, RuntimeError, OSError) as cause:
        raise MissingExtraError(
            f"this needs the package {module.partition('.')[0]!r}: pip install 'mia-skill[{extra}]' ({cause})"
        ) from cause
