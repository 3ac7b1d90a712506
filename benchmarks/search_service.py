"""The retrieval service under load, beside the shape of Search-R1's server: same index, same encoder, one run.

    python benchmarks/search_service.py [--baseline PYTHON] [--embedder stub|minilm] [--clients 1,32,256] [--how dense]

`--baseline` is an interpreter that has fastapi, uvicorn, datasets and faiss-cpu (`python -m venv b && b/bin/pip
install fastapi uvicorn datasets faiss-cpu`); without one only this project's service is measured. Each server is a
process of one thread for its arithmetic (OMP_NUM_THREADS=1) that keeps to the first core; the clients are a process on
the last one (`retrieve_load.py`). The servers take turns, `--rounds` times; medians are printed. Questions and
passages are the sandbox wiki's if it is there (`MIA_SHARED_DATA`), else the seeded world's. The stub encoder hashes
texts, so that the servers are compared and not the model; requests ask for the top 3 with scores, as Search-R1's
client does.
"""

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

import orjson

from benchmarks.stub import Stub
from mia_skill.core.script import missing, script
from retrieval.build import build_corpus
from retrieval.corpus import Corpus, How, Ranking
from retrieval.manifest import BuildOptions
from retrieval.minilm import MiniLM
from retrieval.service import RetrieveService
from retrieval.vectors import Embedder
from retrieval.world import build_world

try:
    import psutil
except ImportError as cause:
    raise missing(cause, __name__, "psutil") from None

HERE = Path(__file__).resolve().parent
WARM_UP = 64
STEADY = 200
"""Clients of the run that must not fail."""


class Load(NamedTuple):
    """What one run of clients saw."""

    requests_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    client_cpu_ms: float
    """A request."""
    cpu_ms: float = 0.0
    """Of the server, a request."""


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
            f"{'cpu ms/req':>12}{'client ms':>11}{'errors':>8}"
        )
        (Path(scratch) / "questions").write_text("\n".join(questions), encoding="utf-8")
        with servers(folder, args) as running:
            for count in dict.fromkeys([*clients, STEADY]):
                rounds = [
                    [measured(pid, port, Path(scratch) / "questions", count, args) for pid, port in running.values()]
                    for _ in range(args.rounds)
                ]
                for name, loads in zip(running, zip(*rounds, strict=True), strict=True):
                    show(name, count, loads, args.per_request)
                if len(running) == 2:
                    faster = median(own.requests_s / other.requests_s for own, other in rounds)
                    cheaper = median(other.cpu_ms / own.cpu_ms for own, other in rounds)
                    print(f"{'':12}{count:>8} clients: {faster:.1f} times the requests, {cheaper:.1f} times less CPU")


def arguments() -> argparse.Namespace:
    beside = HERE.parents[1] / "shared" / "data"
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mia"
    parser = argparse.ArgumentParser(description="The retrieval service under load")
    parser.add_argument("--baseline", help="An interpreter with fastapi, uvicorn, datasets and faiss-cpu.")
    parser.add_argument("--embedder", choices=("stub", "minilm"), default="stub")
    parser.add_argument("--how", choices=("dense", "fused", "bm25"), default="dense")
    parser.add_argument("--clients", default="1,32,256")
    parser.add_argument("--requests", type=int, default=3000, help="Of each run with several clients.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cores", type=int, default=1, help="Of each server, the first ones.")
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
    pinned = partial(os.sched_setaffinity, 0, cores()[: args.cores])
    running: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands.values():
            running.append(subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, preexec_fn=pinned))
        for process, port in zip(running, ports, strict=False):
            await_port(process, port)
        yield {name: (process.pid, port) for name, process, port in zip(commands, running, ports, strict=False)}
    finally:
        for process in running:
            process.kill()
            process.wait()


def cores() -> list[int]:
    """Those that this process may use."""
    return sorted(os.sched_getaffinity(0))


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


def measured(pid: int, port: int, questions: Path, count: int, args: argparse.Namespace) -> Load:
    """Load one server: a short run to warm up, then one that counts."""
    total = args.requests if count > 1 else args.requests // 6
    load(port, questions, min(count, 32), WARM_UP, args.per_request)
    process = psutil.Process(pid)
    before = process.cpu_times()
    seen = load(port, questions, count, total, args.per_request)
    after = process.cpu_times()
    cpu_s = after.user + after.system - before.user - before.system
    return seen._replace(cpu_ms=1000 * cpu_s / total)


def load(port: int, questions: Path, clients: int, total: int, per_request: int) -> Load:
    """`clients` connections that ask one request after the other, `total` in all."""
    command = [sys.executable, HERE / "retrieve_load.py", port, questions, clients, total, per_request, cores()[-1]]
    done = subprocess.run([str(one) for one in command], capture_output=True, check=True)
    return Load(**orjson.loads(done.stdout))


def show(name: str, clients: int, loads: Sequence[Load], per_request: int) -> None:
    """One row: medians of the rounds, and all errors."""
    rate, p50, p99, _, client, cpu = (median(one[at] for one in loads) for at in range(len(Load._fields)))
    print(
        f"{name:12}{clients:>8}{rate:>12.0f}{rate * per_request:>11.0f}{p50:>9.1f}{p99:>9.1f}{cpu:>12.2f}"
        f"{client:>11.2f}{sum(one.errors for one in loads):>8}"
    )


if __name__ == "__main__":
    script(main)
