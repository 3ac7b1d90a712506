"""What a full disk does, without filling one."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["file_limit"]


@contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process, and of those it starts, can grow beyond `size`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
