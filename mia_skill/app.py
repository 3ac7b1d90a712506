"""Composition root: `build(config)` makes the objects. The only place that picks implementations."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, get_args

import anyio
import anyio.to_thread

from mia_skill.agents.canaries import CanaryWatch
from mia_skill.agents.manager import Manager
from mia_skill.agents.mia import Mia, Sources
from mia_skill.agents.results import Found, Judged, Planned, Replanned
from mia_skill.core.chat import ChatModel
from mia_skill.core.config import EndpointConfig, MiaConfig, Role
from mia_skill.core.errors import MissingExtraError
from mia_skill.core.events import Listener, silent
from mia_skill.core.types import Passage
from mia_skill.core.verdict import Case, Verdict
from retrieval.bank import Bank
from retrieval.embed import Embedder
from retrieval.search import SearchEngine
from retrieval.standing import Rules
from trust.canary import CANARIES, read_canaries
from trust.evidence import examine
from trust.panel import Panel
from trust.receipt import Notary

if TYPE_CHECKING:
    from retrieval.corpus import Corpus
    from retrieval.dense import Progress

__all__ = ["Found", "Judged", "Mia", "Planned", "Replanned", "Sources", "build", "open_bank", "open_corpus"]

PATIENCE_S = 3600.0
"""With few judgments a day, the next one after an hour brings a canary, so that nothing waits for days."""


@asynccontextmanager
async def build(config: MiaConfig, *, listener: Listener = silent) -> AsyncIterator[Mia]:
    """Everything that `config` asks for, closed again at the end. The only place that picks implementations.

    Raises:
        MiaError: a part cannot be made; its message holds the fix.
    """
    mia = await anyio.to_thread.run_sync(_assemble, config)
    try:
        yield mia
    finally:
        with anyio.CancelScope(shield=True):
            await mia.aclose()


def open_bank(config: MiaConfig, embedder: Embedder | None = None, *, for_reembed: bool = False) -> Bank:
    """The bank alone, for commands that need nothing else. `embedder` is shared if given, else made as configured;
    `for_reembed` opens a bank whose vectors are foreign, to embed them again.

    Raises:
        BankError: it cannot be opened; the message holds the fix.
    """
    from retrieval.embed import build_embedder

    opener: Callable[..., Bank]
    if config.memory.url is None:
        from retrieval.sqlite_bank import SqliteBank

        opener = partial(SqliteBank.open, config.bank_path)
    else:
        from retrieval.postgres_bank import PostgresBank

        opener = partial(PostgresBank.open, config.memory.url.get_secret_value())
    if config.memory.exact_up_to is not None:
        opener = partial(opener, exact_up_to=config.memory.exact_up_to)
    return opener(
        embedder or build_embedder(config.memory, config.home / "cache"),
        weights=config.memory.weights,
        merge_similarity=config.memory.merge_similarity,
        capacity=config.memory.capacity,
        scoring=config.memory.scoring,
        blend=config.memory.blend,
        environment=config.memory.environment,
        canaries=Rules(honest=config.trust.canary_honest),
        for_reembed=for_reembed,
    )


def _assemble(config: MiaConfig) -> Mia:
    from mia_skill.core.openai_chat import OpenAIChat
    from retrieval.embed import build_embedder

    embedder = build_embedder(config.memory, config.home / "cache")
    bank = open_bank(config, embedder)
    made: dict[EndpointConfig, OpenAIChat] = {}
    models: dict[Role, ChatModel] = {}
    for role in get_args(Role):
        endpoint = config.models.of(role)
        if endpoint is not None:
            models[role] = made.setdefault(endpoint, OpenAIChat(endpoint))
    watch = watch_of(config, bank, models.get("judge")) if config.trust.canaries else None
    judges = frozenset({"endpoint" if "judge" in models else "evidence"})
    return Mia(
        config=config,
        bank=bank,
        manager=Manager(bank, models.get("manager"), judges if watch else frozenset()),
        watch=watch,
        sources=open_sources(config, corpus_engine(config, embedder)),
        models=models,
        notary=Notary.open(config.home, hours=config.trust.receipt_hours),
    )


def watch_of(config: MiaConfig, bank: Bank, model: ChatModel | None) -> CanaryWatch:
    """The canaries of the configured judge: the panel, or the evidence checks. A host's own review has none.

    Raises:
        ConfigError: the file of canaries cannot be used.
    """
    given = config.trust.canary_file
    panel = Panel(model, config.trust) if model is not None else None

    async def ask(case: Case) -> Verdict:
        if panel is not None:
            return await panel.judge(case)
        return await anyio.to_thread.run_sync(examine, case, config.trust.precision)

    return CanaryWatch(
        ask=ask,
        tell=bank.canary,
        cases=CANARIES if given is None else read_canaries(given.expanduser()),
        share=config.trust.canaries,
        patience_s=PATIENCE_S,
        seed=secrets.randbits(32),
    )


def open_sources(config: MiaConfig, corpus: SearchEngine | None = None) -> Sources:
    """Web engines, pages and images of the settings, beside a given corpus. A package that a web engine lacks is told
    when the web is searched.

    Raises:
        ConfigError: a setting cannot be used.
        MissingExtraError: the package of image search is not installed.
    """
    from retrieval.tape import open_tape
    from retrieval.web import build_web

    tape = open_tape(config.search.record, config.search.replay)
    web, lacking = None, None
    try:
        web = build_web(config.search, config.home / "cache" / "web.sqlite3", tape)
    except MissingExtraError as error:
        lacking = error
    visitor = images = None
    if config.visits:
        from retrieval.visit import Visitor

        visitor = Visitor(config.visit, tape=tape)
    if config.images.configured:
        from retrieval.image_build import build_images

        images = build_images(config, visitor, tape)
    return Sources(corpus=corpus, web=web, visitor=visitor, images=images, tape=tape, lacking=lacking)


@dataclass
class LazyCorpus:
    """Opens the corpus at the first search: a big one must not delay the server's start."""

    config: MiaConfig
    embedder: Embedder
    name: str = "corpus"
    _lock: anyio.Lock = field(default_factory=anyio.Lock, repr=False)
    _opened: "Corpus | None" = field(default=None, repr=False)

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """The corpus' best passages.

        Raises:
            CorpusError: a file is missing or broken.
        """
        async with self._lock:
            if self._opened is None:
                self._opened = await anyio.to_thread.run_sync(self._open)
        return await self._opened.search(query, k)

    async def whole(self, id_: str) -> Passage:
        """A passage in full.

        Raises:
            InputError: there is none with this id.
            CorpusError: a file is missing or broken.
        """
        async with self._lock:
            if self._opened is None:
                self._opened = await anyio.to_thread.run_sync(self._open)
        return await anyio.to_thread.run_sync(self._opened.get, id_)

    def _open(self) -> "Corpus":
        return open_corpus(self.config, self.embedder)


def corpus_engine(config: MiaConfig, embedder: Embedder) -> SearchEngine | None:
    """What searches the corpus of the settings: a service, or local files opened at the first search; None if neither
    is set.

    Raises:
        ConfigError: `search.corpus_url` is no address.
    """
    search = config.search
    if search.corpus_url is not None:
        from retrieval.remote import RemoteCorpus

        return RemoteCorpus(
            search.corpus_url, key=search.corpus_key, timeout_s=search.timeout_s, passage_chars=search.passage_chars
        )
    return LazyCorpus(config, embedder) if search.corpus else None


def open_corpus(config: MiaConfig, embedder: Embedder | None = None, *, progress: "Progress | None" = None) -> "Corpus":
    """The corpus of the settings: one folder that `mia corpus build` made, or files read into memory.

    Raises:
        CorpusError: a file is missing or broken.
        CorpusMismatchError: the built corpus is of other files, or of another embedder.
    """
    from retrieval.corpus import Corpus
    from retrieval.embed import build_embedder
    from retrieval.rerank import build_reranker

    search = config.search
    chosen = embedder or build_embedder(config.memory, config.home / "cache") if search.dense else None
    reranker = build_reranker(search)
    if len(search.corpus) == 1 and search.corpus[0].expanduser().is_dir():
        folder = search.corpus[0].expanduser()
        return Corpus.load(folder, chosen, passage_chars=search.passage_chars, reranker=reranker)
    return Corpus.open(
        search.corpus,
        chosen,
        cache=config.home / "cache" / "corpus",
        progress=progress,
        passage_chars=search.passage_chars,
        reranker=reranker,
    )
