"""What the MCP server costs beside a trivial server of the same SDK: start to listing, and one call.

    python benchmarks/server.py [--starts 11] [--calls 400] [--units 50]

Both servers run as separate processes over stdio and are measured in turns, so that load on the machine meets both.
The trivial one has one tool that returns a small typed result. Ratios are of medians; p10 and the CPU time of the
server process are shown because medians move with the machine's load.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import click

from mia_skill.core.script import missing, script

try:
    import psutil
except ImportError as cause:
    raise missing(cause, __name__, "psutil") from None

TRIVIAL = '''
import logging, sys
logging.basicConfig(level="WARNING", stream=sys.stderr)
from mcp.server import MCPServer
from pydantic import BaseModel
class Out(BaseModel):
    memories: list[str]
    total: int
server = MCPServer("trivial", log_level="WARNING")
@server.tool()
async def memory_list() -> Out:
    """Nothing."""
    return Out(memories=[], total=0)
server.run("stdio")
'''
HELLO = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "benchmark", "version": "1"}}
WARM_UP = 30


@dataclass
class Peer:
    """One server process."""

    command: list[str]
    process: subprocess.Popen[bytes] = field(init=False)
    number: int = 0

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, _kind: type | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """One request and its answer."""
        self.number += 1
        self.send({"jsonrpc": "2.0", "id": self.number, "method": method, "params": params})
        assert self.process.stdout is not None
        while True:
            read: dict[str, Any] = json.loads(self.process.stdout.readline())
            if read.get("id") == self.number:
                return read

    def send(self, message: dict[str, Any]) -> None:
        """One line."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def greet(self) -> "Peer":
        """The handshake."""
        self.ask("initialize", HELLO)
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    def tool(self, name: str, arguments: dict[str, Any]) -> None:
        """One call that must succeed."""
        answer = self.ask("tools/call", {"name": name, "arguments": arguments})
        if "error" in answer or answer["result"].get("isError"):
            raise SystemExit(f"{name} failed: {answer}")

    @property
    def cpu_s(self) -> float:
        """CPU time so far, user and system."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


def start_s(command: list[str]) -> float:
    """Process start to the answer of tools/list, in seconds."""
    began = time.perf_counter()
    with Peer(command) as peer:
        peer.greet().ask("tools/list", {})
        return time.perf_counter() - began


def in_turns(count: int, *jobs: Callable[[], float]) -> list[list[float]]:
    """Each job `count` times, one after the other."""
    taken: list[list[float]] = [[] for _ in jobs]
    for _ in range(count):
        for job, into in zip(jobs, taken, strict=True):
            into.append(job())
    return taken


def timed(job: Callable[[], None]) -> Callable[[], float]:
    """`job` that returns its seconds."""

    def run() -> float:
        began = time.perf_counter()
        job()
        return time.perf_counter() - began

    return run


def cpu_ms(peer: Peer, job: Callable[[], None], count: int) -> float:
    """CPU of the server for one call, in milliseconds."""
    before = peer.cpu_s
    for _ in range(count):
        job()
    return (peer.cpu_s - before) / count * 1000


def row(what: str, times: list[float], base: list[float] | None, cpu: float | None, base_cpu: float | None) -> None:
    """One line of the table, in milliseconds."""
    median, fast = statistics.median(times) * 1000, sorted(times)[len(times) // 10] * 1000
    ratio = f"{median / (statistics.median(base) * 1000):6.2f}x" if base else "      -"
    spent = f"{cpu:8.2f}" if cpu is not None else "       -"
    cpu_ratio = f"{cpu / base_cpu:6.2f}x" if cpu and base_cpu else "      -"
    click.echo(f"{what:44}{median:10.2f}{fast:10.2f}{ratio:>9}{spent:>10}{cpu_ratio:>9}")


def fill(peer: Peer, units: int) -> None:
    """Store small runs, so that retrieval has something to compare with."""
    topics = ["river", "mayor", "bridge", "song", "harbour", "painter", "treaty", "comet"]
    for number in range(units):
        topic = topics[number % len(topics)]
        run = {
            "question": f"Which {topic} belongs to the place number {number} of the {topic} register?",
            "answer": f"{topic} {number}",
            "steps": [{"query": f"{topic} register {number}", "found": f"It is {topic} {number}."}],
            "outcome": "correct",
        }
        peer.tool("memory_store", run)


@click.command()
@click.option("--starts", default=11, show_default=True, help="Starts of each server.")
@click.option("--calls", default=400, show_default=True, help="Calls of each kind.")
@click.option("--units", default=50, show_default=True, help="Memories in the small bank.")
def main(starts: int, calls: int, units: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "trivial.py"
        script.write_text(TRIVIAL)
        trivial = [sys.executable, str(script)]

        def ours(home: str) -> list[str]:
            return [sys.executable, "-m", "mcp_server", "--stdio", "--home", os.path.join(folder, home)]

        click.echo(f"{'milliseconds':44}{'median':>10}{'p10':>10}{'ratio':>9}{'cpu':>10}{'ratio':>9}")
        in_turns(1, lambda: start_s(trivial), lambda: start_s(ours("start")))
        base, own = in_turns(starts, lambda: start_s(trivial), lambda: start_s(ours("start")))
        row("start to tools/list, trivial server", base, None, None, None)
        row("start to tools/list, this server", own, base, None, None)
        with Peer(trivial) as small, Peer(ours("empty")) as empty, Peer(ours("filled")) as filled:
            for peer in (small, empty, filled):
                peer.greet()
            fill(filled, units)
            question = {"question": "Which river belongs to the place number 8 of the river register?"}
            jobs = [
                lambda: small.tool("memory_list", {}),
                lambda: empty.tool("memory_list", {}),
                lambda: filled.tool("memory_retrieve", question),
            ]
            in_turns(WARM_UP, *map(timed, jobs))
            none, listed, recalled = in_turns(calls, *map(timed, jobs))
            cpu = [cpu_ms(peer, job, calls) for peer, job in zip((small, empty, filled), jobs, strict=True)]
            row("call, trivial server", none, None, cpu[0], None)
            row("memory_list, empty bank", listed, none, cpu[1], cpu[0])
            row(f"memory_retrieve, {units} memories (embeds)", recalled, none, cpu[2], cpu[0])


if __name__ == "__main__":
    script(main)
