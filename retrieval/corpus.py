"""A corpus of passages, searched by words and by meaning at once."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import anyio

from mia_skill.core.errors import InputError
from mia_skill.core.types import Passage
from retrieval.dense import DenseIndex, Progress
from retrieval.lexical import LexicalIndex
from retrieval.passages import Passages, read_passages, shortened
from retrieval.search import checked, reciprocal_rank_fusion
from retrieval.vectors import Embedder

__all__ = ["Corpus", "How"]

How = Literal["fused", "bm25", "dense"]
DEPTH = 100
"""Hits of each ranking that are fused."""


class Corpus:
    """Passages from jsonl files: BM25 and embeddings, fused by reciprocal ranks (a `SearchEngine`).

    Measured on the development wiki with the packaged embedder: see benchmarks/search_quality.py.
    """

    def __init__(
        self, passages: Passages, lexical: LexicalIndex, dense: DenseIndex | None, *, passage_chars: int
    ) -> None:
        self._passages = passages.items
        self._places = {passage.id: place for place, passage in enumerate(passages.items)}
        self._lexical = lexical
        self._dense = dense
        self._chars = passage_chars

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
            texts = [f"{passage.title}\n{passage.text}" for passage in passages.items]
            meaning = DenseIndex.open(texts, embedder, cache, progress)
        return cls(passages, lexical, meaning, passage_chars=passage_chars)

    @property
    def name(self) -> str:
        return "corpus"

    def __len__(self) -> int:
        return len(self._passages)

    def get(self, id_: str) -> Passage:
        """A passage in full.

        Raises:
            InputError: there is none with this id.
        """
        if id_ not in self._places:
            raise InputError(f"no passage {id_[:80]!r} in the corpus: use an id that a search returned")
        return self._passages[self._places[id_]]

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """The `k` best passages.

        Raises:
            InputError: the query is empty or too long, or `k` is out of range.
            ModelError: the query could not be embedded.
        """
        return await anyio.to_thread.run_sync(partial(self.find, query, k))

    def find(self, query: str, k: int = 5, how: How = "fused") -> tuple[Passage, ...]:
        """As `search`, in this thread; `how` can ask for one ranking alone.

        Raises:
            InputError: as `search`, or "dense" is asked of a corpus without embeddings.
            ModelError: the query could not be embedded.
        """
        query = checked(query, k)
        found = self._rank(query, k, how)
        return tuple(
            shortened(self._passages[place], self._chars).model_copy(update={"score": score}) for place, score in found
        )

    def _rank(self, query: str, k: int, how: How) -> list[tuple[int, float]]:
        if self._dense is None:
            if how == "dense":
                raise InputError("this corpus was opened without embeddings: set search.dense = true")
            return self._lexical.rank(query, k)
        match how:
            case "bm25":
                return self._lexical.rank(query, k)
            case "dense":
                return self._dense.rank(query, k)
            case "fused":
                depth = max(k, DEPTH)
                rankings = [
                    [str(place) for place, _ in index.rank(query, depth)] for index in (self._lexical, self._dense)
                ]
                return [(int(place), score) for place, score in reciprocal_rank_fusion(rankings)[:k]]
