"""stdio that answers what it cannot parse, survives lone surrogates, and ends with its host.

The SDK's own transport drops a line it cannot parse and dies of an outgoing lone surrogate (facts: SDK holes). Here
every line that carries an id is answered, every message that cannot be written is cleaned and written, the standard
streams are taken away from everybody else while serving, and nothing waits for a blocked read at the end.
"""

import os
import select
import signal
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server import MCPServer
from mcp.shared.message import SessionMessage
from mcp.types import INVALID_REQUEST, JSONRPCMessage, JSONRPCNotification, jsonrpc_message_adapter

from mcp_server.backend import Backend
from mcp_server.wire import dump, has_id, refusal, rescue

__all__ = ["run_stdio"]

Incoming = SessionMessage | Exception
CHUNK = 64 * 1024
LONGEST_LINE = 64 * 1024 * 1024
"""A longer line is answered with an error and thrown away: bytes."""
AT_ONCE = getattr(select, "PIPE_BUF", 0)
"""Bytes that a pipe takes whole when it takes any."""
LOOK_S = 1.0
"""How often the parent is looked at."""
GRACE_S = 5.0
"""How long an ordered end may take before the process is ended."""


async def run_stdio(server: MCPServer[Backend]) -> None:
    """Serve until end of input, SIGINT, SIGTERM, or the death of the parent."""
    # The SDK has no public way to run an MCPServer on other streams.
    low = server._lowlevel_server
    watch_parent()
    with wire() as (source, sink):
        async with streams(source, sink) as (read, write), anyio.create_task_group() as group:
            group.start_soon(end_on_signal, group.cancel_scope)
            await low.run(read, write, low.create_initialization_options())
            group.cancel_scope.cancel()


async def end_on_signal(scope: anyio.CancelScope) -> None:
    """Hosts send SIGINT, then SIGTERM: both mean a quiet end."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
        async for _ in received:
            end_soon()
            scope.cancel()
            return


def watch_parent() -> None:
    """End this process when its parent has died: hosts leave servers behind without closing the pipe."""
    parent = os.getppid()

    def look() -> None:
        never = threading.Event()
        while os.getppid() == parent:
            never.wait(LOOK_S)
        end_soon()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, name="mia-parent-watch", daemon=True).start()


def end_soon() -> None:
    """Whatever hangs, the process is gone after the grace time. The bank is written through, nothing is lost."""
    timer = threading.Timer(GRACE_S, os._exit, (0,))
    timer.daemon = True
    timer.start()


@contextmanager
def wire() -> Iterator[tuple[int, int]]:
    """Private duplicates of stdin and stdout. Meanwhile fd 0 is empty and fd 1 is stderr, so a stray print or a child
    process cannot touch the protocol."""
    sys.stdout.flush()
    source, sink = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDWR)
    os.dup2(empty, 0)
    os.dup2(2 if is_open(2) else empty, 1)
    os.close(empty)
    try:
        yield source, sink
    finally:
        sys.stdout.flush()
        os.dup2(source, 0)
        os.dup2(sink, 1)


def is_open(descriptor: int) -> bool:
    """A host may start us without stderr."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@dataclass(frozen=True)
class Pen:
    """Writes whole messages onto one descriptor, one after the other."""

    sink: int
    turn: anyio.Lock = field(default_factory=anyio.Lock)
    thread: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(1))
    """A limiter of its own: an answer must not wait behind the tools' threads."""

    async def put(self, message: JSONRPCMessage) -> None:
        """One; a full pipe is waited for in a thread."""
        data = dump(message)
        async with self.turn:
            if fits(self.sink, data):
                write_all(self.sink, data)
            else:
                await anyio.to_thread.run_sync(write_all, self.sink, data, abandon_on_cancel=True, limiter=self.thread)

    async def put_all(self, messages: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Until there are no more."""
        async with messages:
            async for one in messages:
                await self.put(one.message)


@asynccontextmanager
async def streams(
    source: int, sink: int
) -> AsyncIterator[tuple[MemoryObjectReceiveStream[Incoming], MemoryObjectSendStream[SessionMessage]]]:
    """The two descriptors as message streams."""
    in_send, in_receive = anyio.create_memory_object_stream[Incoming](0)
    out_send, out_receive = anyio.create_memory_object_stream[SessionMessage](0)
    pen = Pen(sink)

    async def arrived(line: bytes | None) -> None:
        if line is None:
            await in_send.aclose()
            return
        message, answer = parse(line)
        if answer is not None:
            await pen.put(answer)
        if message is not None:
            await in_send.send(SessionMessage(message))

    async with anyio.create_task_group() as group:
        group.start_soon(pen.put_all, out_receive)
        loop = anyio.lowlevel.current_token()

        def hand_over(line: bytes | None) -> None:
            anyio.from_thread.run(arrived, line, token=loop)

        threading.Thread(target=read_all, args=(source, hand_over), name="mia-stdin", daemon=True).start()
        try:
            yield in_receive, out_send
        finally:
            group.cancel_scope.cancel()
            in_send.close()


def parse(line: bytes) -> tuple[JSONRPCMessage | None, JSONRPCMessage | None]:
    """A message; or, for a line that is none, the error to answer."""
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValueError:
        return rescue(line)
    if isinstance(message, JSONRPCNotification) and b'"id"' in line and has_id(line):
        return None, refusal(INVALID_REQUEST, "Invalid request: an id is text or an integer", None)
    return message, None


def read_all(source: int, hand_over: Callable[[bytes | None], object]) -> None:
    """Hand over every line, then None. Runs in a daemon thread: a blocked read must not hold up the end."""
    try:
        for line in lines(source):
            hand_over(line)
        hand_over(None)
    except (anyio.RunFinishedError, anyio.BrokenResourceError, anyio.ClosedResourceError, RuntimeError):
        return


def lines(source: int, longest: int = LONGEST_LINE) -> Iterator[bytes]:
    """Lines without their end. Of a line that is too long, only the start is kept, which is no JSON."""
    held, scanned = bytearray(), 0
    while chunk := os.read(source, CHUNK):
        held += chunk
        while (end := held.find(b"\n", scanned)) >= 0:
            yield bytes(held[:end])
            del held[: end + 1]
            scanned = 0
        if len(held) > longest:
            del held[CHUNK:]
        scanned = len(held)
    if held:
        yield bytes(held)


def fits(sink: int, data: bytes) -> bool:
    """Can `data` be written at once without blocking? True only where the system promises it."""
    if len(data) > AT_ONCE:
        return False
    try:
        return bool(select.select([], [sink], [], 0)[1])
    except (OSError, ValueError):
        return False


def write_all(sink: int, data: bytes) -> None:
    """All of it; a host that is gone is no error."""
    view = memoryview(data)
    try:
        while view:
            view = view[os.write(sink, view) :]
    except BrokenPipeError:
        end_soon()
        os.kill(os.getpid(), signal.SIGTERM)
