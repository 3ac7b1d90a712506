"""Mem0 through its own package: its prompts, pipeline and search, over the models and the embedder of every method."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import md5
from typing import Any

import anyio.from_thread
import anyio.to_thread

from mia_skill.core.chat import ChatModel, Message
from mia_skill.core.errors import InputError, ModelError
from mia_skill.core.require import require
from mia_skill.core.types import Question, Usage
from mia_skill.evaluation.advice import Advice, Done
from mia_skill.evaluation.baselines import told
from mia_skill.evaluation.method import Shelved
from mia_skill.evaluation.mind import Mind, ModelMind
from mia_skill.evaluation.shelf import Change, Entry
from retrieval.embed import Embedder

__all__ = ["Mem0Package"]

FACTS_K = 10
USER = "agent"
"""The package keeps memories by user; here there is one."""


@contextmanager
def environment(**told: str) -> Iterator[None]:
    """Variables of this process for a while: whatever else it starts or imports later is not told them."""
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@dataclass
class Asked:
    """What the package takes for its language model. It calls from a thread of ours."""

    model: ChatModel
    usage: Usage = field(default_factory=Usage)
    failure: ModelError | None = None

    def generate_response(self, messages: Sequence[dict[str, str]], **_options: object) -> str:
        turns = [Message.model_validate({"role": one["role"], "content": one["content"]}) for one in messages]
        try:
            (reply,) = anyio.from_thread.run(partial(self.model.complete, turns))
        except ModelError as error:
            self.failure = error
            raise
        self.usage = self.usage + reply.usage
        return reply.text


@dataclass(frozen=True)
class Embedded:
    """What the package takes for its embedder."""

    embedder: Embedder

    def embed(self, text: str, memory_action: str = "add") -> list[float]:
        return self.embed_batch([text], memory_action)[0]

    def embed_batch(self, texts: Sequence[str], memory_action: str = "add") -> list[list[float]]:
        kind = "query" if memory_action == "search" else "passage"
        return [[float(one) for one in row] for row in self.embedder.embed(list(texts), kind)]  # type: ignore[arg-type]


@dataclass
class Mem0Package(Shelved):
    """The package's memory in its in-process vector store; our shelf holds what it kept, for the trace."""

    independent: bool = False
    name: str = "mem0-package"
    source: str = "Mem0 (Chhikara et al. 2025), the package mem0ai"
    differs: str = (
        f"the package's own extraction, deduplication and search (its current algorithm only adds), top {FACTS_K}; the "
        "same model and embedder as every other method; needs a model"
    )
    supervised: bool = False
    made: Any = field(default=None, repr=False)
    folder: Any = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """Raises: MissingExtraError: the package is not installed."""
        self.folder = tempfile.TemporaryDirectory(prefix="mia-mem0-")
        with environment(MEM0_TELEMETRY="False", MEM0_DIR=self.folder.name):  # read when it is imported
            mem0, qdrant = require("mem0", extra="mem0"), require("qdrant_client", extra="mem0")
            self.made = self._built(mem0, qdrant)

    def _built(self, mem0: Any, qdrant: Any) -> Any:
        """The package's memory with our embedder in it."""
        embedded = Embedded(self.shelf.embedder)
        unused = {"provider": "openai", "config": {"api_key": "unused"}}  # its constructor wants one; it is replaced
        store = {"client": qdrant.QdrantClient(":memory:"), "embedding_model_dims": len(embedded.embed("x"))}
        made = mem0.Memory.from_config(
            {
                "vector_store": {"provider": "qdrant", "config": store},
                "llm": unused,
                "embedder": unused,
                "history_db_path": ":memory:",
            }
        )
        made.embedding_model = embedded
        return made

    async def advise(self, question: Question) -> Advice:
        """What the package finds, shown to the Executor."""
        search = partial(self.made.search, question.text, filters={"user_id": USER}, top_k=FACTS_K)
        found = (await anyio.to_thread.run_sync(search))["results"]
        notes = "\n".join(str(one["memory"]) for one in found)
        return Advice(notes=notes, shown=tuple(str(one["id"]) for one in found))

    async def lesson(self, id_: str, done: Done, mind: Mind) -> tuple[Change, Usage]:
        """What the package keeps of a run. It is in its store at once, and comes back by `apply` after a restart.

        Raises:
            InputError: there is no model.
            ModelError: the model failed.
        """
        if not isinstance(mind, ModelMind) or "manager" not in mind.mia.models:
            raise InputError("mem0-package draws facts with a model: set models.manager or models.default")
        asked = self.made.llm = Asked(mind.mia.models["manager"])
        errors = require("mem0.exceptions", extra="mem0")
        try:
            kept = await anyio.to_thread.run_sync(partial(self.made.add, told(done), user_id=USER))
        except errors.LLMError:
            raise asked.failure or InputError("mem0 failed in its model call") from None
        put = tuple(
            Entry(id=str(one["id"]), kind="fact", key=str(one["memory"]), text=str(one["memory"]))
            for one in kept["results"]
        )
        return Change(put=put), asked.usage

    def apply(self, change: dict[str, Any]) -> None:
        """Into the package's store, what is not in it yet."""
        super().apply(change)
        for one in Change.model_validate(change).put:
            if self.made.vector_store.get(one.id) is None:
                payload = {"data": one.text, "user_id": USER, "hash": md5(one.text.encode()).hexdigest()}
                vector = self.made.embedding_model.embed(one.text)
                self.made.vector_store.insert(vectors=[vector], ids=[one.id], payloads=[payload])

    def close(self) -> None:
        """Close its files."""
        self.made.close()
        self.folder.cleanup()
