"""A corpus of passages, searched by words and by meaning at once."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import anyio
import numpy as np

from mia_skill.core.errors import CorpusMismatchError, InputError
from mia_skill.core.types import Passage
from retrieval.ann import gpu_search, load_index
from retrieval.build import INDEX, RAW, WORDS, embedded_text
from retrieval.dense import DenseIndex, Progress
from retrieval.lexical import LexicalIndex
from retrieval.manifest import Manifest, read_manifest
from retrieval.passages import read_passages, shortened
from retrieval.raw_vectors import raw_rows
from retrieval.rerank import Reranker
from retrieval.search import checked, reciprocal_rank_fusion
from retrieval.store import DiskStore, MemoryStore, PassageStore
from retrieval.vectors import Embedder

__all__ = ["Corpus", "How", "Ranking"]

How = Literal["reranked", "fused", "bm25", "dense"]
SAME_VECTOR = 0.999
"""Cosine of one text embedded twice; float16 costs 0.00001 of it."""
DEPTH = 100
"""Hits of each ranking that are fused."""


class Corpus:
    """Passages from jsonl files: BM25 and embeddings, fused by reciprocal ranks (a `SearchEngine`).

    Measured on the development wiki with the packaged embedder: see benchmarks/search_quality.py.
    """

    def __init__(
        self,
        store: PassageStore,
        lexical: LexicalIndex,
        dense: DenseIndex | None,
        *,
        passage_chars: int,
        reranker: Reranker | None = None,
    ) -> None:
        self._store = store
        self._lexical = lexical
        self._dense = dense
        self._chars = passage_chars
        self._reranker = reranker

    @classmethod
    def open(
        cls,
        paths: Sequence[Path],
        embedder: Embedder | None,
        *,
        cache: Path | None,
        progress: Progress | None = None,
        passage_chars: int = 1200,
        dense: bool = True,
        reranker: Reranker | None = None,
    ) -> "Corpus":
        """Read, index and embed. What was derived is kept under `cache` and used again for the same bytes and the
        same embedder; a part that is missing or damaged is made anew. Without an embedder, or with `dense` false,
        BM25 alone.

        Raises:
            CorpusError: a file is missing or broken, or the cache cannot be written.
            ModelError: the embedder gave no vectors.
        """
        passages = read_passages(paths)
        lexical = LexicalIndex.open(passages.items, passages.digest, cache)
        meaning = None
        if embedder is not None and dense:
            texts = [embedded_text(passage) for passage in passages.items]
            meaning = DenseIndex.open(texts, embedder, cache, progress)
        return cls(MemoryStore(passages.items), lexical, meaning, passage_chars=passage_chars, reranker=reranker)

    @classmethod
    def load(
        cls, folder: Path, embedder: Embedder | None, *, passage_chars: int = 1200, reranker: Reranker | None = None
    ) -> "Corpus":
        """A corpus that `mia corpus build` made, read from its memory-mapped files; the vectors go to the GPUs if
        FAISS has a GPU build and sees any. BM25 alone without an embedder, or if it was built of words only.

        Raises:
            CorpusError: the folder holds no corpus, or a damaged one.
            CorpusMismatchError: a source has changed since, or the vectors are another embedder's.
            ModelError: the embedder gave no vectors.
        """
        made = read_manifest(folder)
        made.check(folder)
        store = DiskStore(folder)
        dense = None
        if embedder is not None and made.layout is not None:
            raw = raw_rows(folder / RAW, made.layout.dimension)
            _same_embedder(made, folder, embedder, store)
            index = gpu_search(raw, made.layout) or load_index(folder / INDEX, made.layout, raw)
            dense = DenseIndex(embedder, index)
        words = LexicalIndex.load(folder / WORDS)
        return cls(store, words, dense, passage_chars=passage_chars, reranker=reranker)

    @property
    def name(self) -> str:
        return "corpus"

    def __len__(self) -> int:
        return len(self._store)

    def get(self, id_: str) -> Passage:
        """A passage in full.

        Raises:
            InputError: there is none with this id.
        """
        place = self._store.place(id_)
        if place is None:
            raise InputError(f"no passage {id_[:80]!r} in the corpus: use an id that a search returned")
        return self._store.passage(place)

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """The `k` best passages.

        Raises:
            InputError: the query is empty or too long, or `k` is out of range.
            ModelError: the query could not be embedded.
        """
        return await anyio.to_thread.run_sync(partial(self.find, query, k))

    @property
    def best(self) -> How:
        """The best way of searching that this corpus has."""
        return "reranked" if self._reranker is not None else "fused"

    def find(self, query: str, k: int = 5, how: How | None = None) -> tuple[Passage, ...]:
        """As `search`, in this thread; `how` can ask for another ranking than the best.

        Raises:
            InputError: as `search`, or "dense" is asked of a corpus without embeddings.
            ModelError: the query could not be embedded.
        """
        (found,) = self.rank_many([checked(query, k)], k, how)
        return tuple(
            shortened(self._store.passage(place), self._chars).model_copy(update={"score": score})
            for place, score in found
        )

    def fragment(self, place: int) -> bytes:
        """The passage at a position as a service sends it: JSON of `{id, contents}`."""
        return self._store.fragment(place)

    def rank_many(self, queries: Sequence[str], k: int, how: How | None = None) -> list[list[tuple[int, float]]]:
        """For each checked query the `k` best positions with their scores: one encoding, one vector search for all.

        Raises:
            InputError: "dense" is asked of a corpus without embeddings.
            ModelError: the queries could not be embedded.
        """
        match how or self.best:
            case "bm25":
                return self._by_words(queries, k)
            case "dense":
                return self._by_meaning(queries, k)
            case "fused":
                return [ranked[:k] for ranked in self._fused(queries, max(k, DEPTH))]
            case "reranked":
                found = self._fused(queries, max(k, DEPTH))
                return [self._reranked(query, ranked)[:k] for query, ranked in zip(queries, found, strict=True)]

    def _by_words(self, queries: Sequence[str], depth: int) -> list[list[tuple[int, float]]]:
        return [self._lexical.rank(query, depth) for query in queries]

    def _by_meaning(self, queries: Sequence[str], depth: int) -> list[list[tuple[int, float]]]:
        if self._dense is None:
            raise InputError("this corpus was opened without embeddings: set search.dense = true")
        return self._dense.rank_many(queries, depth)

    def _fused(self, queries: Sequence[str], depth: int) -> list[list[tuple[int, float]]]:
        """All of both rankings: up to twice `depth`."""
        rankings = [self._by_words(queries, depth)]
        rankings += [self._by_meaning(queries, depth)] if self._dense is not None else []
        return [fused(*ranked) for ranked in zip(*rankings, strict=True)]

    def _reranked(self, query: str, ranked: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
        if self._reranker is None:
            raise InputError("this corpus was opened without a reranker: set search.rerank")
        candidates = [(self._store.passage(place), score) for place, score in ranked]
        return [(ranked[at][0], score) for at, score in self._reranker.rerank(query, candidates)]


@dataclass(frozen=True)
class Ranking:
    """One way of searching a corpus, as a service wants it."""

    corpus: Corpus
    how: How | None = None
    """None: the best it has."""

    def __len__(self) -> int:
        return len(self.corpus)

    def rank_many(self, queries: Sequence[str], k: int, /) -> list[list[tuple[int, float]]]:
        """See `Corpus.rank_many`."""
        return self.corpus.rank_many(queries, k, self.how)

    def fragment(self, place: int) -> bytes:
        """See `Corpus.fragment`."""
        return self.corpus.fragment(place)


def fused(*rankings: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """Positions by the sum of their reciprocal ranks, best first."""
    named = [[str(place) for place, _ in ranking] for ranking in rankings]
    return [(int(place), score) for place, score in reciprocal_rank_fusion(named)]


def _same_embedder(made: Manifest, folder: Path, embedder: Embedder, store: PassageStore) -> None:
    """Are the stored vectors this embedder's? By its identity, and by embedding the first passage again: the name of
    a remote model does not change when what is behind it does.
    """
    same = made.recipe.embedder == embedder.identity
    if same:
        (fresh,) = embedder.embed([embedded_text(store.passage(0))], "passage")
        kept = raw_rows(folder / RAW, embedder.dimension)[0].astype(np.float32)
        same = float(fresh @ kept) > SAME_VECTOR
    if not same:
        raise CorpusMismatchError(
            f"the vectors of {folder} were made with another embedder: set memory.embedder back, or build again: "
            f"{made.recipe.command} --out {shlex.quote(str(folder))}"
        )
