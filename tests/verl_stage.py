"""A stage for whole training runs: the seeded world behind a live `/retrieve` service, rows, a model that knows the
form of a reply, and veRL's own entry in a process of its own."""

import asyncio
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from small_model import small_model, small_tokenizer

from mia_skill.core.prompts import load_prompt
from mia_skill.core.types import Passage
from retrieval.corpus import Corpus, Ranking
from retrieval.dense import DenseIndex
from retrieval.embed import HashEmbedder
from retrieval.lexical import LexicalIndex
from retrieval.service import RetrieveService
from retrieval.store import MemoryStore
from retrieval.world import World
from training.coldstart import Example, expert_examples
from training.policy import Renderer
from training.record import row_of
from training.task import Task, WorldShelf, world_tasks

__all__ = ["Run", "Service", "cold_start", "frozen_agent", "serving_world", "train", "write_rows"]

SEED, SIZE = 5, 40


@dataclass
class Service:
    """Where it listens, and what it was asked."""

    url: str = ""
    requests: list[str] = field(default_factory=list)
    down: int = 0
    """So many requests more are answered as an overloaded server does."""


@contextmanager
def serving_world(world: World) -> Iterator[Service]:
    """The pages of a world behind HTTP."""
    pages = [Passage(id=page.id, title=page.title, text=page.text) for page in world.pages]
    texts = [f"{page.title}\n{page.text}" for page in pages]
    words = LexicalIndex.open(pages, "x", None)
    corpus = Corpus(MemoryStore(pages), words, DenseIndex.open(texts, HashEmbedder(), None), passage_chars=400)
    service = RetrieveService(Ranking(corpus))
    told = Service()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            told.requests.append(scope["path"])
            if told.down:
                told.down -= 1
                await send({"type": "http.response.start", "status": 503, "headers": []})
                await send({"type": "http.response.body", "body": b"busy"})
                return
        await service(scope, receive, send)

    with listening(app, 0) as port:
        told.url = f"http://127.0.0.1:{port}"
        yield told


@contextmanager
def frozen_agent(port: int, reply: str) -> Iterator[Service]:
    """Stands in for the server of a frozen agent: an OpenAI endpoint that says one thing."""
    told = Service(f"http://127.0.0.1:{port}/v1")
    choice = {"index": 0, "message": {"role": "assistant", "content": reply}, "finish_reason": "stop"}
    body = orjson.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}})

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            told.requests.append(scope["path"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": body})

    with listening(app, port):
        yield told


@contextmanager
def listening(app: Any, port: int) -> Iterator[int]:
    """An application on loopback, in a thread of its own; the port it got."""
    import uvicorn

    ready = threading.Event()

    class Ready(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            ready.set()

    server = Ready(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


def write_rows(tasks: list[Task], file: Path, corpus: str) -> Path:
    """A parquet file of tasks that search at `corpus`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [row_of(task.model_copy(update={"corpus": corpus}), n, source="world") for n, task in enumerate(tasks)]
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file


def experts(tokenizer: Any, limit: int) -> tuple[tuple[Task, ...], World, tuple[Example, ...]]:
    tasks, questions, world = world_tasks(SEED, SIZE, hops=(1,), limit=limit)
    made = asyncio.run(
        expert_examples(tasks, questions, WorldShelf(world), Renderer(tokenizer), failures=0.0, k=1, context=100_000)
    )
    return tasks, world, made


def cold_start(folder: Path, *, steps: int = 60, width: int = 64) -> tuple[Path, tuple[Task, ...], World]:
    """A small model that has learnt the form of calls, answers and plans from expert runs, and little else."""
    from training.tiny import Learner, load

    _, _, world = world_tasks(SEED, SIZE, limit=1)
    texts = [page.text for page in world.pages]
    texts += [load_prompt(name).text for name in ("executor", "plan", "replan")] * 8
    tokenizer = small_tokenizer(texts)
    tasks, world, made = experts(tokenizer, 32)
    model, loaded = load(small_model(tokenizer, folder / "random", width=width), "cpu")
    learner = Learner(model, loaded, lr=3e-3)
    talks = [talk for one in made for talk in (*one.planner, *one.executor)]
    for step in range(steps):
        first = 8 * step % len(talks)
        learner.imitate((talks + talks)[first : first + 8])
    learner.save(folder / "cold")
    return folder / "cold", tasks, world


@dataclass
class Run:
    """A finished process."""

    code: int
    log: str

    def series(self, name: str) -> list[float]:
        """A metric, step by step, as veRL prints it."""
        found = re.findall(rf"(?<![\w/]){re.escape(name)}:(?:np\.\w+\()?(-?[\d.]+(?:e[+-]?\d+)?|nan|inf)", self.log)
        return [float(one) for one in found]


def train(*arguments: str, timeout: float = 900) -> Run:
    """`python -m training.onverl.main --config-name cpu ...`."""
    environment = {
        **os.environ,
        "VERL_PLATFORM": "cpu",
        "VERL_USE_EXTERNAL_MODULES": "training.onverl.cpu_platform",
        "RAY_memory_monitor_refresh_ms": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]),
    }
    done = subprocess.run(
        [sys.executable, "-m", "training.onverl.main", "--config-name", "cpu", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=timeout,
        check=False,
    )
    return Run(done.returncode, done.stdout)
