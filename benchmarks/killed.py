"""A writer that acknowledges what it stored, and is killed by its pid: for the durability benchmark and the kill test.

The command is one process that forks a child for every line it reads, so that imports are paid once. A child prints
`pid N` first and `ack ID` after each unit that was stored; told to end by SIGTERM, it prints `bye 0` and goes.
"""

import os
import select
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["Writer"]


class Writer:
    """One child after another, each killed by pid at a moment that the caller picks."""

    def __init__(self, command: Sequence[str], told: str, name: str, environment: dict[str, str] | None = None) -> None:
        self._told, self.name = told, name
        self.acked: list[str] = []
        self.started = 0
        self._pid = 0
        self._rest = b""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        )

    def start(self) -> None:
        """Fork a child; returns when it is there."""
        self.started += 1
        assert self._process.stdin is not None
        self._process.stdin.write(self._told.format(name=f"{self.name}{self.started}").encode() + b"\n")
        self._process.stdin.flush()
        while not self._pid:
            self.read(1.0)

    def read(self, wait_s: float) -> None:
        """Take in what the child has printed; a line cut by the kill was not an acknowledgement."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], wait_s)
        if ready:
            *lines, self._rest = (self._rest + os.read(self._process.stdout.fileno(), 1 << 16)).split(b"\n")
            for kind, value in (line.decode().split() for line in lines):
                if kind == "ack":
                    self.acked.append(value)
                else:
                    self._pid = int(value)

    def kill(self) -> None:
        """End the child, and take in what it had said."""
        if not self._pid:
            return
        # It may be gone: a writer ends by itself when the other has held the lock for longer than it waits.
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)
        self._pid, before = 0, -1
        while before != len(self.acked):
            before = len(self.acked)
            self.read(0.02)
        self._rest = b""

    def finish(self) -> None:
        """Let the child end what it is at; what it said until then counts."""
        os.kill(self._pid, signal.SIGTERM)
        while self._pid:
            self.read(1.0)

    def stop(self) -> None:
        """The end, of the child too."""
        self.kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=10)
