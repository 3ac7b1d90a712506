"""A whole evaluation: methods times seeds over one data set, in one folder, begun or taken up again."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import orjson
from pydantic import Field, JsonValue, ValidationError

from mia_skill.core.chat import ChatModel
from mia_skill.core.config import BudgetConfig, MemoryConfig, PriceConfig
from mia_skill.core.errors import InputError
from mia_skill.core.prompts import prompt_digests
from mia_skill.core.together import together as gather
from mia_skill.core.types import Value
from mia_skill.evaluation.advice import Done
from mia_skill.evaluation.methods import make_method
from mia_skill.evaluation.mind import Mind
from mia_skill.evaluation.runner import Grading, Progress, Protocol, Runner, past_of
from mia_skill.evaluation.task import Fault, Task, TaskSet
from mia_skill.evaluation.trace import Journal, TraceUnwritable
from retrieval.embed import Embedder

__all__ = ["Evaluation", "Setup", "open_setup", "read_setup", "trace_path"]

HEAD = "run.json"


class Setup(Value):
    """Everything that makes two runs comparable. Written beside the traces, and checked when a run is taken up."""

    dataset: str
    tasks: int
    tasks_digest: str
    faults: tuple[Fault, ...] = ()
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    shuffled: bool = True
    protocol: Protocol
    agent: str
    models: dict[str, str] = Field(default_factory=dict)
    """Role to model name."""
    endpoints: int = 0
    grader: str
    corpus: str = ""
    """Digest of what was searched."""
    embedder: str
    limits: BudgetConfig
    prices: PriceConfig = PriceConfig()
    prompts: dict[str, str] = Field(default_factory=prompt_digests)
    note: dict[str, JsonValue] = Field(default_factory=dict)


def open_setup(folder: Path, setup: Setup) -> Setup:
    """Writes `run.json`, or checks that the one that is there is of the same run. More methods and seeds may join.

    Raises:
        InputError: the folder holds another run; the difference is named.
        TraceUnwritable: it cannot be written.
    """
    path = folder / HEAD
    if path.is_file():
        before = read_setup(folder)
        free = {"methods", "seeds", "prices", "endpoints"}
        old, new = before.model_dump(mode="json", exclude=free), setup.model_dump(mode="json", exclude=free)
        differing = [name for name in old if old[name] != new[name]]
        if differing:
            other = ", ".join(differing).replace("_", " ")
            raise InputError(f"{folder} holds a run with other {other}: give its options again, or another --out")
        setup = setup.model_copy(
            update={
                "methods": tuple(dict.fromkeys((*before.methods, *setup.methods))),
                "seeds": tuple(dict.fromkeys((*before.seeds, *setup.seeds))),
            }
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(setup.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
    except OSError as cause:
        raise TraceUnwritable(f"cannot write {path}: {cause.strerror}") from None
    return setup


def read_setup(folder: Path) -> Setup:
    """The set-up of a folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    try:
        return Setup.model_validate_json((folder / HEAD).read_bytes())
    except OSError:
        raise InputError(f"{folder} holds no evaluation: there is no {HEAD} in it") from None
    except ValidationError as cause:
        raise InputError(f"{folder / HEAD} is damaged: {cause.errors()[0]['msg']}") from None


def trace_path(folder: Path, method: str, seed: int) -> Path:
    """Where a method's trace is."""
    return folder / f"trace.{method}.{seed}.jsonl"


@dataclass(frozen=True)
class Evaluation:
    """What all its runs share."""

    folder: Path
    tasks: TaskSet
    mind: Mind
    grade: Grading
    embedder: Embedder
    memory: MemoryConfig
    limits: BudgetConfig
    protocol: Protocol = field(default_factory=Protocol)
    limit: int | None = None
    shuffled: bool = True
    compressor: ChatModel | None = None
    watch: Callable[[Progress], None] = lambda _progress: None
    retold: Callable[[str, Done], Done] | None = None
    """What memory is told in place of what happened."""

    def stream(self, seed: int) -> tuple[Task, ...]:
        """The tasks in this seed's order; without shuffling every seed has the file's."""
        return self.tasks.stream(limit=self.limit, seed=seed if self.shuffled else None)

    async def run_one(self, method: str, seed: int) -> None:
        """One method over one order.

        Raises:
            EndpointGone, TraceUnwritable: the run can be taken up later.
        """
        path = trace_path(self.folder, method, seed)
        work = self.folder / "banks" / str(seed)
        work.mkdir(parents=True, exist_ok=True)
        past = past_of(path)
        made = make_method(method, folder=work, embedder=self.embedder, memory=self.memory, compressor=self.compressor)
        journal = Journal(path)
        try:
            runner = Runner(
                made, seed, self.mind, self.grade, self.limits, journal, self.protocol, self.watch, self.retold
            )
            await runner.run(self.stream(seed), past)
        finally:
            journal.close()
            made.close()

    async def run(self, methods: tuple[str, ...], seeds: tuple[int, ...], *, together: int = 1) -> None:
        """All of them, `together` at a time: each has a memory of its own, so none notices the others.

        Raises:
            EndpointGone, TraceUnwritable: one broke off, and the others with it; all can be taken up later.
        """
        await gather((partial(self.run_one, method, seed) for seed in seeds for method in methods), most=together)
