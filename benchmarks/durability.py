"""Is anything lost that a memory had acknowledged? Writers that are killed in the middle of it, and two at once:

    python benchmarks/durability.py [--kills 500] [--units 10000] [--peers VENV] [--npm FOLDER] [--peer-kills 20]

`make peers` makes both environments: VENV for mem0 (embedder replaced, no language model asked), FOLDER with the
reference MCP memory server, which is driven over its stdio as a host would. Three scenarios:

  killed   one writer, SIGKILL at a random moment, started again; ours: until --kills and --units are both reached
  two      two writers at once on one store, nobody killed
  both     two writers at once, a random one killed

Then the store is opened by a fresh process and every acknowledged unit is looked for.
"""

import argparse
import contextlib
import json
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.killed import Writer
from mia_skill.core.types import MemoryUnit, Outcome
from retrieval.bank import Consolidation
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank

HERE = Path(__file__).resolve().parent
SCENARIOS = {"killed": 1, "two": 2, "both": 2}
PEER_SECONDS, PATIENCE_S = 60.0, 15.0


class Written(Protocol):
    """A writer, whatever it writes to."""

    acked: list[str]
    started: int

    def start(self) -> None: ...

    def read(self, wait_s: float) -> None: ...

    def kill(self) -> None: ...

    def finish(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Store:
    """What is tested: how its writers are made, and what a fresh opening finds."""

    name: str
    writer: Callable[[Path, str], Written]
    held: Callable[[Path], set[str]]


@dataclass(frozen=True)
class Run:
    """What came of one scenario."""

    kills: int
    acknowledged: int
    lost: int
    seconds: float


class ServerMemory:
    """A writer through the reference MCP memory server, one entity a call; ended and started as a whole."""

    def __init__(self, npm: Path, folder: Path, name: str) -> None:
        self._command = ["node", str(npm / "node_modules/@modelcontextprotocol/server-memory/dist/index.js")]
        self._path, self.name = folder / "memory.jsonl", name
        self.acked: list[str] = []
        self.started = self._number = 0
        self._sent, self._rest, self._over = "", b"", False
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.started += 1
        environment = {**os.environ, "MEMORY_FILE_PATH": str(self._path)}
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        self._rest, self._sent = b"", ""
        client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "b", "version": "1"}}
        self._say({"id": 0, "method": "initialize", "params": client})

    def read(self, wait_s: float) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], wait_s)
        got = os.read(self._process.stdout.fileno(), 1 << 16) if ready else b""
        *lines, self._rest = (self._rest + got).split(b"\n")
        for line in lines:
            reply = json.loads(line)
            if reply.get("id") == 0:
                self._say({"method": "notifications/initialized"})
            elif "result" in reply and not reply["result"].get("isError"):
                self.acked.append(self._sent)
            self._store()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.read(0.0)
        self._close()

    def finish(self) -> None:
        self._over = True
        while self._sent:
            self.read(1.0)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._close()

    def _store(self) -> None:
        if self._over:
            self._sent = ""
            return
        self._number += 1
        self._sent = f"{self.name}{self.started}-{self._number}"
        entity = {"name": self._sent, "entityType": "procedure", "observations": [f"step {self._number}"]}
        call = {"name": "create_entities", "arguments": {"entities": [entity]}}
        self._say({"id": self._number, "method": "tools/call", "params": call})

    def _say(self, message: dict[str, object]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError):
            self._sent = ""

    def _close(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                if pipe is not None:
                    pipe.close()
        self._process = None


def ours() -> Store:
    """The bank on SQLite."""
    environment = {"PYTHONPATH": str(HERE.parent)}

    def opened(folder: Path) -> SqliteBank:
        return SqliteBank.open(folder / "bank.sqlite3", HashEmbedder(), merge_similarity=1.0)

    def writer(folder: Path, name: str) -> Writer:
        bank = opened(folder)
        known = MemoryUnit(id="known", question="who gets the credit", workflow="1. count", outcome=Outcome.CORRECT)
        bank.consolidate(Consolidation(units=(known,)))
        bank.close()
        command = [sys.executable, str(HERE / "bank_writers.py")]
        return Writer(command, f"{folder / 'bank.sqlite3'} {{name}} known", name, environment)

    def held(folder: Path) -> set[str]:
        bank = opened(folder)
        problems = bank.health().problems
        found = {str(line["id"]) for line in bank.export() if line["kind"] == "unit"}
        bank.close()
        assert not problems, problems
        return found

    return Store("ours", writer, held)


def mem0(python: str, kind: str) -> Store:
    """mem0 over one of its stores."""
    script = str(HERE / "mem0_writers.py")

    def held(folder: Path) -> set[str]:
        command = [python, script, "--held", str(folder), kind]
        done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        lines = done.stdout.splitlines()
        return set(json.loads(lines[-1])) if done.returncode == 0 and lines else set()

    return Store(
        f"mem0, {kind}", lambda folder, name: Writer([python, script], f"{folder} {kind} {{name}}", name), held
    )


def server_memory(npm: Path) -> Store:
    """The reference MCP memory server; what its file holds is what it would load."""

    def held(folder: Path) -> set[str]:
        path = folder / "memory.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return {json.loads(line)["name"] for line in lines if line.strip()}

    return Store("server-memory", lambda folder, name: ServerMemory(npm, folder, name), held)


def run(store: Store, scenario: str, kills: int, units: int, seconds: float, seed: int) -> Run:
    """One scenario of one store."""
    rng, began, killed = random.Random(seed), time.monotonic(), 0
    with TemporaryDirectory() as name:
        folder = Path(name)
        writers = [store.writer(folder, one) for one in "ab"[: SCENARIOS[scenario]]]
        try:
            for writer in writers:
                writer.start()
            while time.monotonic() < began + seconds:
                victim = rng.choice(writers)
                until = len(victim.acked) + rng.randrange(1, 2 + units // max(kills, 1))
                listen(writers, rng.uniform(0.005, 0.1))
                patience = min(time.monotonic() + PATIENCE_S, began + seconds)
                while scenario != "two" and len(victim.acked) < until and time.monotonic() < patience:
                    listen(writers, 0.01)
                if scenario != "two":
                    victim.kill()
                    killed += 1
                if killed >= (0 if scenario == "two" else kills) and acknowledged(writers) >= units:
                    break
                if scenario != "two":
                    victim.start()
            if scenario == "two":
                for writer in writers:
                    writer.finish()
        finally:
            for writer in writers:
                writer.stop()
        acked = {one for writer in writers for one in writer.acked}
        lost = len(acked - store.held(folder))
    return Run(killed, len(acked), lost, time.monotonic() - began)


def acknowledged(writers: Sequence[Written]) -> int:
    return sum(len(writer.acked) for writer in writers)


def listen(writers: Sequence[Written], seconds: float) -> None:
    """Take in what the writers say, for so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for writer in writers:
            writer.read(0.002)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--peers", type=Path, help="environment with mem0 (make peers)")
    parser.add_argument("--npm", type=Path, help="folder with the reference MCP memory server (make peers)")
    parser.add_argument("--peer-kills", type=int, default=20)
    parser.add_argument("--peer-units", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    stores = [(ours(), given.kills, given.units, 3600.0)]
    peers = []
    if given.peers is not None:
        peers += [mem0(str(given.peers / "bin" / "python"), kind) for kind in ("faiss", "qdrant")]
    if given.npm is not None:
        peers.append(server_memory(given.npm))
    stores += [(peer, given.peer_kills, given.peer_units, PEER_SECONDS) for peer in peers]
    print(f"{'':16} {'scenario':10} {'kills':>6} {'acknowledged':>13} {'lost':>6} {'seconds':>8}", flush=True)
    for store, kills, units, seconds in stores:
        for scenario in SCENARIOS:
            most = units if scenario != "two" else min(units, 2000)
            of = run(store, scenario, kills, most, seconds, given.seed)
            row = f"{of.kills:6} {of.acknowledged:13,} {of.lost:6,} {of.seconds:8.0f}"
            print(f"{store.name:16} {scenario:10} {row}", flush=True)


if __name__ == "__main__":
    main()
