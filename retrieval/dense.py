"""Exact nearest neighbours of a query among embedded passages (FAISS), with vectors kept on disk chunk by chunk."""

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from mia_skill.core.errors import CorpusError
from mia_skill.core.require import require
from retrieval.ann import Layout, VectorSearch
from retrieval.vectors import Embedder, Rows

__all__ = ["DenseIndex", "Progress"]

CHUNK = 256
"""Passages embedded and kept together: what an interrupted run loses at most (10 seconds with the packaged model)."""
Progress = Callable[[int, int], None]
"""Told how many passages of how many have their vectors."""


class DenseIndex:
    """Ranks passages, by position, for queries."""

    def __init__(self, embedder: Embedder, index: VectorSearch) -> None:
        self._embedder = embedder
        self._index = index

    @classmethod
    def open(
        cls, texts: Sequence[str], embedder: Embedder, cache: Path | None, progress: Progress | None = None
    ) -> "DenseIndex":
        """The exact index of `texts`, in memory. Vectors found whole in `cache` are used, the others made and kept; a
        run that was broken off goes on where it was.

        Raises:
            CorpusError: the cache cannot be written.
            ModelError: the embedder gave no vectors.
        """
        faiss: Any = require("faiss", extra="faiss-gpu")
        layout = Layout(kind="flat", precision="fp32", dimension=embedder.dimension)
        index = faiss.IndexFlatIP(layout.dimension)
        for rows in _vectors(texts, embedder, cache):
            index.add(np.ascontiguousarray(rows, dtype=np.float32))
            if progress is not None:
                progress(int(index.ntotal), len(texts))
        return cls(embedder, VectorSearch(index, layout))

    def rank(self, query: str, depth: int) -> list[tuple[int, float]]:
        """The `depth` nearest positions with their cosines, nearest first; equal ones in the order of the corpus.

        Raises:
            ModelError: the query could not be embedded.
        """
        return self.rank_many([query], depth)[0]

    def rank_many(self, queries: Sequence[str], depth: int) -> list[list[tuple[int, float]]]:
        """As `rank` for each query, with one encoding and one search for all.

        Raises:
            ModelError: the queries could not be embedded.
        """
        return self._index.search(self._embedder.embed(queries, "query"), depth)


def _vectors(texts: Sequence[str], embedder: Embedder, cache: Path | None) -> Iterator[Rows]:
    folder = cache / "vectors" / sha256(embedder.identity.encode()).hexdigest()[:32] if cache is not None else None
    for start in range(0, len(texts), CHUNK):
        chunk = texts[start : start + CHUNK]
        if folder is None:
            yield embedder.embed(chunk, "passage")
            continue
        path = folder / f"{_key(chunk)}.f32"
        rows = _read(path, len(chunk), embedder.dimension)
        if rows is None:
            rows = embedder.embed(chunk, "passage")
            _write(path, rows)
        yield rows


def _key(chunk: Sequence[str]) -> str:
    """Named by content, so that a corpus that grew at its end keeps its earlier chunks."""
    digest = sha256()
    for text in chunk:
        raw = text.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:32]


def _read(path: Path, count: int, dimension: int) -> Rows | None:
    """The chunk's vectors; None when the file is missing or not as it was written."""
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    checksum, body = raw[:32], raw[32:]
    if len(body) != 4 * count * dimension or sha256(body).digest() != checksum:
        return None
    return np.frombuffer(body, dtype="<f4").reshape(count, dimension)


def _write(path: Path, rows: Rows) -> None:
    body = rows.astype("<f4").tobytes()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(sha256(body).digest() + body)
        os.replace(name, path)
    except OSError as cause:
        raise CorpusError(f"the vector cache {path.parent} cannot be written: {cause}") from cause
