"""The retrieval service under load, beside the shape of Search-R1's server: same index, same encoder, one run.

    python benchmarks/search_service.py [--baseline PYTHON] [--embedder stub|minilm] [--clients 1,32,256] [--how dense]

`--baseline` is an interpreter that has fastapi, uvicorn, datasets and faiss-cpu (`python -m venv b && b/bin/pip
install fastapi uvicorn datasets faiss-cpu`); without one only this project's service is measured. Servers run as
processes of one thread (OMP_NUM_THREADS=1), in turns, over loopback; clients keep their connections. Questions and
passages are the sandbox wiki's if it is there (`MIA_SHARED_DATA`), else the seeded world's. The stub encoder hashes
texts, so that the servers are compared and not the model; requests ask for the top 3 with scores, as Search-R1's
client does.
"""

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import orjson
import psutil
from stub import Stub

from retrieval.build import build_corpus
from retrieval.corpus import Corpus, How, Ranking
from retrieval.manifest import BuildOptions
from retrieval.minilm import MiniLM
from retrieval.service import RetrieveService
from retrieval.vectors import Embedder
from retrieval.world import build_world

HERE = Path(__file__).resolve().parent
WARM_UP = 64
STEADY = 200
"""Clients of the run that must not fail."""


class Load(NamedTuple):
    """What one run of clients saw."""

    requests_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    """Of the server, a request."""
    errors: int


def main() -> None:
    args = arguments()
    if args.serve:
        serve(Path(args.serve), args.port, args.embedder, args.how)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder, questions = prepare(Path(scratch), args)
        clients = [int(one) for one in args.clients.split(",")]
        print(f"{len(questions)} questions; top 3, {args.per_request} a request, encoder {args.embedder}, {args.how}")
        print(
            f"{'server':12}{'clients':>8}{'requests/s':>12}{'queries/s':>11}{'p50 ms':>9}{'p99 ms':>9}"
            f"{'cpu ms/req':>12}{'errors':>8}"
        )
        with servers(folder, args) as running:
            for count in dict.fromkeys([*clients, STEADY]):
                rates = [measured(name, pid, port, questions, count, args) for name, (pid, port) in running.items()]
                if len(rates) == 2:
                    print(f"{'':12}{count:>8} clients: {rates[0] / rates[1]:.1f} times the requests a second")


def arguments() -> argparse.Namespace:
    beside = HERE.parents[1] / "shared" / "data"
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mia"
    parser = argparse.ArgumentParser(description="The retrieval service under load")
    parser.add_argument("--baseline", help="An interpreter with fastapi, uvicorn, datasets and faiss-cpu.")
    parser.add_argument("--embedder", choices=("stub", "minilm"), default="stub")
    parser.add_argument("--how", choices=("dense", "fused", "bm25"), default="dense")
    parser.add_argument("--clients", default="1,32,256")
    parser.add_argument("--requests", type=int, default=3000, help="Of each run with several clients.")
    parser.add_argument("--per-request", type=int, default=1, help="Queries in a request.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MIA_SHARED_DATA") or beside))
    parser.add_argument("--cache", type=Path, default=Path(os.environ.get("MIA_CACHE") or user))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def embedder_of(name: str) -> Embedder:
    return MiniLM() if name == "minilm" else Stub()


def prepare(scratch: Path, args: argparse.Namespace) -> tuple[Path, list[str]]:
    """A built corpus and questions to ask it. MiniLM embeds a sample of the passages: 2,000 take a minute or two."""
    wiki = args.data / "sandbox_wiki"
    files = sorted(wiki.glob("corpus.0*.jsonl"))
    if files:
        questions = [orjson.loads(line)["question"] for line in (wiki / "train.jsonl").read_bytes().splitlines()]
    else:
        world = build_world(seed=7, size=5000)
        world.write(scratch / "world")
        files = [scratch / "world" / "corpus.jsonl"]
        questions = [one.text for one in world.questions]
    if args.embedder == "minilm":
        sample = scratch / "sample.jsonl"
        sample.write_bytes(b"\n".join(files[0].read_bytes().splitlines()[:2000]))
        files = [sample]
    options = BuildOptions(chunk_chars=0, index="flat", precision="fp32")
    made = build_corpus(files, scratch / "corpus", embedder_of(args.embedder), options)
    print(f"{made.passages} passages")
    return scratch / "corpus", questions


def serve(folder: Path, port: int, embedder: str, how: How) -> None:
    """This project's service, as `mia corpus serve` runs it."""
    import uvicorn

    service = RetrieveService(Ranking(Corpus.load(folder, embedder_of(embedder)), how))
    uvicorn.run(service, host="127.0.0.1", port=port, log_level="warning", access_log=False)


@contextmanager
def servers(folder: Path, args: argparse.Namespace) -> Iterator[dict[str, tuple[int, int]]]:
    """Name to process id and port of what is measured."""
    ports = [free_port(), free_port()]
    own = [sys.executable, __file__, "--serve", str(folder), "--port", str(ports[0])]
    commands = {"mia": [*own, "--embedder", args.embedder, "--how", args.how]}
    if args.baseline:
        shape = str(HERE / "search_r1_shape.py")
        commands["search-r1"] = [args.baseline, shape, str(folder), str(ports[1]), args.embedder]
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": f"{HERE.parent}:{HERE}:{os.environ.get('PYTHONPATH', '')}",
    }
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands.values():
            running.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL))
        for process, port in zip(running, ports, strict=False):
            await_port(process, port)
        yield {name: (process.pid, port) for name, process, port in zip(commands, running, ports, strict=False)}
    finally:
        for process in running:
            process.kill()
            process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


def await_port(process: subprocess.Popen[bytes], port: int) -> None:
    for _ in range(600):
        if process.poll() is not None:
            sys.exit(f"a server ended at its start: run {process.args!r} by hand")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    sys.exit("a server did not start within a minute")


def measured(name: str, pid: int, port: int, questions: Sequence[str], count: int, args: argparse.Namespace) -> float:
    """Load one server, print its row, return requests a second."""
    asyncio.run(load(port, questions, min(count, 32), WARM_UP, args.per_request, pid))
    total = args.requests if count > 1 else args.requests // 6
    seen = asyncio.run(load(port, questions, count, total, args.per_request, pid))
    print(
        f"{name:12}{count:>8}{seen.requests_s:>12.0f}{seen.requests_s * args.per_request:>11.0f}"
        f"{seen.p50_ms:>9.1f}{seen.p99_ms:>9.1f}{seen.cpu_ms:>12.2f}{seen.errors:>8}"
    )
    return seen.requests_s


async def load(port: int, questions: Sequence[str], clients: int, total: int, per_request: int, pid: int) -> Load:
    """`clients` connections that ask one request after the other, `total` in all."""
    asked = [
        request([f"{questions[(number + at) % len(questions)]} {number}" for at in range(per_request)])
        for number in range(total)
    ]
    run = Run(iter(asked), 3 * per_request)
    loop = asyncio.get_running_loop()
    process = psutil.Process(pid)
    before, began = process.cpu_times(), time.perf_counter()
    made = [await loop.create_connection(lambda: Client(run), "127.0.0.1", port) for _ in range(clients)]
    await asyncio.gather(*(client.done for _, client in made))
    seconds, after = time.perf_counter() - began, process.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    taken = sorted(run.taken)
    return Load(
        total / seconds,
        1000 * taken[len(taken) // 2],
        1000 * taken[len(taken) * 99 // 100],
        1000 * cpu_s / total,
        total - run.good,
    )


def request(queries: Sequence[str]) -> bytes:
    """Made before the clock runs: the clients share the machine with the servers."""
    body = orjson.dumps({"queries": queries, "topk": 3, "return_scores": True})
    head = "POST /retrieve HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


@dataclass
class Run:
    """What all clients of a run share."""

    requests: Iterator[bytes]
    scores: int
    """In each right answer."""
    taken: list[float] = field(default_factory=list)
    """Seconds."""
    good: int = 0


class Client(asyncio.Protocol):
    """One kept connection; plain protocol callbacks, which cost a quarter of asyncio's streams."""

    def __init__(self, run: Run) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._run = run
        self._buffer = b""
        self._wanted = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Part of an answer, or all of it."""
        self._buffer += data
        if not self._wanted and (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            at = self._buffer.lower().index(b"content-length:") + 15
            self._wanted = end + 4 + int(self._buffer[at : self._buffer.index(b"\r", at)])
        if self._wanted and len(self._buffer) >= self._wanted:
            self._run.taken.append(time.perf_counter() - self._began)
            self._run.good += b" 200 " in self._buffer[:20] and self._buffer.count(b'"score"') == self._run.scores
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        """A server that hangs up ends this client; its answers are missing from the count of good ones."""
        if not self.done.done():
            self.done.set_result(None)

    def _ask(self) -> None:
        self._buffer, self._wanted = b"", 0
        following = next(self._run.requests, None)
        if following is None:
            self._transport.close()
            return
        self._began = time.perf_counter()
        self._transport.write(following)


if __name__ == "__main__":
    main()
