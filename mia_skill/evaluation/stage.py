"""From an order to a finished report: data set, agent, graders and traces, put together once."""

import os
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Literal

import anyio.to_thread

from mia_skill.agents.mia import Mia
from mia_skill.app import build
from mia_skill.core.chat import ChatModel
from mia_skill.core.config import MiaConfig, PriceConfig, Role
from mia_skill.core.errors import ConfigError
from mia_skill.core.types import Value
from mia_skill.evaluation.datasets import load_tasks
from mia_skill.evaluation.harm import Spoiler
from mia_skill.evaluation.judging import Graders, validate
from mia_skill.evaluation.methods import chosen_methods
from mia_skill.evaluation.mind import Mind, ModelMind, RuleMind
from mia_skill.evaluation.plan import Evaluation, Setup, open_setup
from mia_skill.evaluation.pool import Pool
from mia_skill.evaluation.report import write_report
from mia_skill.evaluation.runner import Progress, Protocol
from mia_skill.evaluation.summary import summarise
from mia_skill.evaluation.task import TaskSet
from mia_skill.evaluation.worlds import pictured, sandbox_tasks, world_stream, world_tasks
from retrieval.embed import build_embedder
from retrieval.world import World, build_world
from trust.panel import Panel
from trust.reference import Grader

__all__ = ["Order", "Staged", "carry_out", "staged"]

Watch = Callable[[Progress], None]


class Order(Value):
    """What is asked for."""

    dataset: str
    out: Path
    form: str = "auto"
    images: Path | None = None
    methods: str = "all"
    limit: int | None = None
    seeds: tuple[int, ...] = (0,)
    in_order: bool = False
    concurrency: int = 1
    together: int = 1
    frozen_after: int | None = None
    agent: Literal["auto", "models", "rules"] = "auto"
    endpoints: tuple[str, ...] = ()
    judge: bool | None = None
    price: tuple[float, float, float] = (0.0, 0.0, 0.0)
    world_size: int = 300
    world_seed: int = 7
    recur: int = 8
    harm: float = 0.0
    ray: bool = False


@dataclass(frozen=True)
class Staged:
    """Everything in place."""

    evaluation: Evaluation
    setup: Setup
    graders: Graders


async def carry_out(config: MiaConfig, order: Order, watch: Watch) -> tuple[Path, Path]:
    """Run, or take up, what is ordered; then write the report.

    Raises:
        InputError: the order cannot be carried out; the message says why.
        EndpointGone, TraceUnwritable: it broke off; the same order goes on.
    """
    methods = chosen_methods(order.methods)
    async with staged(config, order, watch) as made:
        await validate(made.evaluation.stream(order.seeds[0]), made.graders)
        await anyio.to_thread.run_sync(open_setup, order.out, made.setup)
        if order.ray:
            from mia_skill.evaluation.spread import spread

            await anyio.to_thread.run_sync(spread, config, order, methods)
        else:
            await made.evaluation.run(methods, order.seeds, together=order.together)
    summary = await anyio.to_thread.run_sync(summarise, order.out)
    return await anyio.to_thread.run_sync(write_report, summary, order.out)


@asynccontextmanager
async def staged(config: MiaConfig, order: Order, watch: Watch) -> AsyncIterator[Staged]:
    """The parts, closed again at the end.

    Raises:
        InputError, ConfigError: a part cannot be made.
    """
    with tempfile.TemporaryDirectory(prefix="mia-eval-") as scratch:
        world = build_world(order.world_seed, order.world_size) if order.dataset.startswith("world") else None
        tasks = await anyio.to_thread.run_sync(partial(tasks_of, order, world))
        config = await anyio.to_thread.run_sync(partial(searching, config, order, world, Path(scratch)))
        async with build(config) as mia:
            pooled = replace(mia, models=pool(mia, config, order)) if order.endpoints else mia
            yield assembled(config, order, pooled, tasks, watch)


def assembled(config: MiaConfig, order: Order, mia: Mia, tasks: TaskSet, watch: Watch) -> Staged:
    """Agent, graders and the description of the run.

    Raises:
        ConfigError: a model that was asked for is not set.
    """
    with_models = order.agent == "models" or (order.agent == "auto" and "executor" in mia.models)
    if with_models and "executor" not in mia.models:
        raise ConfigError("--agent models needs an endpoint: set models.default.base_url and models.default.model")
    judge = judge_of(config, order, mia, with_models)
    graders = Graders(Grader(judge) if judge else None, Panel(judge, config.trust) if judge else None)
    mind: Mind = ModelMind(mia) if with_models else RuleMind(mia.sources.pick("auto"), k=config.search.k)
    prices = PriceConfig(prompt=order.price[0], completion=order.price[1], search=order.price[2])
    priced = config.budget.money is not None and any(order.price)
    limits = config.budget.model_copy(update={"prices": prices}) if priced else config.budget
    evaluation = Evaluation(
        folder=order.out,
        tasks=tasks,
        mind=mind,
        grade=graders,
        embedder=build_embedder(config.memory, config.home / "cache"),
        memory=config.memory,
        limits=limits,
        protocol=Protocol(concurrency=order.concurrency, frozen_after=order.frozen_after),
        limit=order.limit,
        shuffled=not order.in_order,
        compressor=mia.models.get("manager") if with_models else None,
        watch=watch,
        retold=Spoiler(order.harm) if order.harm else None,
    )
    models = {role: model.name for role, model in mia.models.items()} if with_models else {}
    return Staged(evaluation, described(config, order, evaluation, prices, models, judge), graders)


def judge_of(config: MiaConfig, order: Order, mia: Mia, with_models: bool) -> ChatModel | None:
    """The model that grades, where one is asked for or set by name.

    Raises:
        ConfigError: one is asked for, and there is none.
    """
    judge = mia.models.get("judge") if with_models and order.judge is not False else None
    if order.judge and judge is None:
        raise ConfigError("--judge needs a model: set models.judge or models.default")
    return judge if order.judge or (order.judge is None and config.models.judge is not None) else None


def described(
    config: MiaConfig,
    order: Order,
    evaluation: Evaluation,
    prices: PriceConfig,
    models: Mapping[Role, str],
    judge: ChatModel | None,
) -> Setup:
    """What stands at the head of the report."""
    tasks = evaluation.tasks
    return Setup(
        dataset=tasks.name,
        tasks=len(evaluation.stream(order.seeds[0])),
        tasks_digest=tasks.digest,
        faults=tasks.faults,
        methods=chosen_methods(order.methods),
        seeds=order.seeds,
        shuffled=not order.in_order,
        protocol=evaluation.protocol,
        agent=evaluation.mind.name,
        models={**models},
        endpoints=(len(order.endpoints) + 1) if models else 0,
        grader=f"reference grader ({judge.name})" if judge else "exact match",
        corpus=digest_of(config.search.corpus),
        embedder=evaluation.embedder.identity,
        limits=evaluation.limits,
        prices=prices,
        note={"harm": order.harm, "search k": config.search.k},
    )


def tasks_of(order: Order, world: World | None) -> TaskSet:
    """The data set.

    Raises:
        InputError: it cannot be read.
    """
    if world is not None:
        count = order.limit or len(world.questions)
        tasks = world_tasks(world, world_stream(world, count, order.world_seed, order.recur))
        return pictured(world, tasks) if order.dataset == "world-images" else tasks
    if order.dataset == "sandbox":
        return sandbox_tasks(sandbox_folder())
    return load_tasks(Path(order.dataset), order.form, images=order.images)


def sandbox_folder() -> Path:
    """Where the sandbox encyclopedia is."""
    return Path(os.environ.get("MIA_SHARED_DATA") or "../shared/data") / "sandbox_wiki"


def searching(config: MiaConfig, order: Order, world: World | None, scratch: Path) -> MiaConfig:
    """The settings with the data set's own corpus, where it has one and none is set; and a bank that is not the
    user's."""
    changed: dict[str, object] = {}
    if world is not None:
        world.write(scratch / "world")
        changed = {"corpus": (scratch / "world" / "corpus.jsonl",), "dense": False}
    elif order.dataset == "sandbox" and not config.search.corpus and config.search.corpus_url is None:
        changed = {"corpus": tuple(sorted(sandbox_folder().glob("corpus.*.jsonl"))), "dense": False}
    search = config.search.model_copy(update=changed)
    memory = config.memory.model_copy(update={"path": scratch / "unused.sqlite3"})
    return config.model_copy(update={"search": search, "memory": memory})


def pool(mia: Mia, config: MiaConfig, order: Order) -> dict[Role, ChatModel]:
    """Each role's model over all endpoints."""
    from mia_skill.core.openai_chat import OpenAIChat

    pooled: dict[Role, ChatModel] = {}
    for role, model in mia.models.items():
        own = config.models.of(role)
        if own is not None:
            more = [OpenAIChat(own.model_copy(update={"base_url": url.rstrip("/")})) for url in order.endpoints]
            pooled[role] = Pool([model, *more])
    return pooled


def digest_of(corpus: tuple[Path, ...]) -> str:
    """Of the corpus files' bytes; of a built folder's manifest."""
    seen = sha256()
    for path in corpus:
        place = path.expanduser()
        file = place / "manifest.json" if place.is_dir() else place
        if file.is_file():
            with file.open("rb") as data:
                while block := data.read(1 << 20):
                    seen.update(block)
    return seen.hexdigest()[:12] if corpus else ""
