"""Processes that read pages: kept while they are quick, ended when they are not."""

import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import anyio
import orjson
from anyio.abc import Process

from mia_skill.core.errors import MissingExtraError, VisitError
from mia_skill.core.types import Value
from retrieval.fetch import Fetched

__all__ = ["Read", "Reader"]

COMMAND = (sys.executable, "-m", "retrieval.reading")
AT_ONCE = 2
MOST_USES = 200
"""Then a process is replaced: parsers leak."""
LONGEST_ANSWER = 20_000_000


class Read(Value):
    """The text of a page."""

    title: str
    text: str
    cut: bool = False


class Reader:
    """Reads pages in at most two processes. One that takes too long or dies is ended; its page is an error."""

    def __init__(self, *, limit_s: float = 15.0, command: Sequence[str] = COMMAND) -> None:
        """`command` is a seam for tests."""
        self._limit_s = limit_s
        self._command = tuple(command)
        self._idle: list[tuple[Process, int]] = []
        self._slots = anyio.CapacityLimiter(AT_ONCE)

    async def read(self, page: Fetched) -> Read:
        """Title and main text.

        Raises:
            VisitError: it holds no text, is of another kind, or cannot be read in time.
            MissingExtraError: the packages that read pages are missing.
        """
        async with self._slots:
            process, uses = self._idle.pop() if self._idle else (await self._started(), 0)
            done = False
            try:
                with anyio.fail_after(self._limit_s):
                    answer = await _ask(process, page)
                done = uses + 1 < MOST_USES
            except TimeoutError as cause:
                raise VisitError(f"{page.url[:200]} was given up: reading it took {self._limit_s:g} s") from cause
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, OSError, ValueError) as cause:
                raise VisitError(f"{page.url[:200]} cannot be read: it broke the program that reads pages") from cause
            finally:
                if done:
                    self._idle.append((process, uses + 1))
                else:
                    await _end(process)
        if "missing" in answer:
            raise MissingExtraError(f"this needs the package {answer['missing']!r}: pip install 'mia-skill[web]'")
        if "unreadable" in answer:
            raise VisitError(f"{page.url[:200]} cannot be read: {answer['unreadable']}")
        return Read.model_validate(answer)

    async def aclose(self) -> None:
        """End the processes."""
        idle, self._idle = self._idle, []
        for process, _ in idle:
            await _end(process)

    async def _started(self) -> Process:
        try:
            return await anyio.open_process(self._command, stderr=subprocess.DEVNULL)
        except OSError as cause:
            raise VisitError(f"the program that reads pages cannot be started: {cause.strerror}") from cause


async def _ask(process: Process, page: Fetched) -> dict[str, Any]:
    if process.stdin is None or process.stdout is None:
        raise OSError("it has no pipes")
    head = orjson.dumps({"media_type": page.media_type, "charset": page.charset, "url": page.url})
    await process.stdin.send(struct.pack("!II", len(head), len(page.body)) + head + page.body)
    received = bytearray()
    while len(received) < 4:
        received += await process.stdout.receive()
    (length,) = struct.unpack("!I", received[:4])
    if length > LONGEST_ANSWER:
        raise ValueError("the answer is too long")
    while len(received) < 4 + length:
        received += await process.stdout.receive()
    answer: dict[str, Any] = orjson.loads(received[4:])
    return answer


async def _end(process: Process) -> None:
    """Kill it and collect it, also when the caller is being cancelled."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            process.kill()
        await process.aclose()
