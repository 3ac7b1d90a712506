"""A program started in a session of its own (`start_new_session=True`), ended with everything that it started."""

import os
import signal
import subprocess
from contextlib import suppress

__all__ = ["end_group"]


def end_group(process: "subprocess.Popen[bytes]", patience_s: float) -> None:
    """First politely, then not."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
            break
    # What outlived its parent is still of this group.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
