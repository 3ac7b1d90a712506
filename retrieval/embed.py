"""The embedders, and which one the settings ask for."""

import re
import sqlite3
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b, sha256
from pathlib import Path
from threading import Lock

import numpy as np

from mia_skill.core.config import MemoryConfig
from mia_skill.core.errors import ConfigError
from retrieval.minilm import MiniLM
from retrieval.openai_embed import OpenAIEmbedder
from retrieval.vectors import Embedder, Kind, Recipe, Rows, unit_rows

__all__ = ["CachedEmbedder", "Embedder", "HashEmbedder", "MiniLM", "OpenAIEmbedder", "build_embedder"]


class HashEmbedder:
    """Words hashed into a small vector: deterministic, instant, and good enough to test with. Knows no meaning."""

    def __init__(self, dimension: int = 64) -> None:
        self._recipe = Recipe(model="hashed-words", pooling="sum", dimension=dimension)

    @property
    def identity(self) -> str:
        return self._recipe.identity

    @property
    def dimension(self) -> int:
        return self._recipe.dimension

    def embed(self, texts: Sequence[str], kind: Kind = "query") -> Rows:
        """Unit vectors; texts with the same words in any order get the same one."""
        rows = np.zeros((len(texts), self.dimension), dtype=np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in re.findall(r"\w+", text.casefold()) or [text]:
                digest = int.from_bytes(blake2b(word.encode(), digest_size=8).digest(), "big")
                row[digest % self.dimension] += 1.0
        return unit_rows(rows, source="HashEmbedder")


class CachedEmbedder:
    """Remembers vectors by identity, kind and the text's sha256: in memory and, given a `path`, in an SQLite file."""

    def __init__(self, inner: Embedder, *, path: Path | None = None, max_entries: int = 20_000) -> None:
        """`max_entries` bounds the memory part; the least recently used go first.

        Raises:
            ConfigError: the file cannot be used; the message names it.
        """
        self._inner = inner
        self._max_entries = max_entries
        self._lock = Lock()
        self._recent: OrderedDict[bytes, Rows] = OrderedDict()
        self._file = _VectorFile(path) if path is not None else None

    @property
    def identity(self) -> str:
        return self._inner.identity

    @property
    def dimension(self) -> int:
        return self._inner.dimension

    def embed(self, texts: Sequence[str], kind: Kind = "query") -> Rows:
        """As the wrapped embedder; only texts not seen before reach it, each once."""
        keys = [self._key(text, kind) for text in texts]
        known = self._known(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in known}
        if missing:
            rows = self._inner.embed(list(missing.values()), kind)
            known |= dict(zip(missing, rows, strict=True))
            self._keep({key: known[key] for key in missing})
        return np.stack([known[key] for key in keys]) if keys else self._inner.embed([], kind)

    def close(self) -> None:
        """Close the cache file."""
        if self._file is not None:
            self._file.close()

    def _key(self, text: str, kind: Kind) -> bytes:
        return sha256(f"{self.identity}\n{kind}\n{text}".encode("utf-8", "surrogatepass")).digest()

    def _known(self, keys: Sequence[bytes]) -> dict[bytes, Rows]:
        with self._lock:
            found = {key: self._recent[key] for key in keys if key in self._recent}
            for key in found:
                self._recent.move_to_end(key)
            if self._file is not None:
                found |= self._file.read([key for key in keys if key not in found])
            return found

    def _keep(self, fresh: dict[bytes, Rows]) -> None:
        with self._lock:
            self._recent |= fresh
            while len(self._recent) > self._max_entries:
                self._recent.popitem(last=False)
            if self._file is not None:
                self._file.write(fresh)


class _VectorFile:
    """Vectors in an SQLite file that may be deleted at any time. It holds hashes of texts, never the texts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._rows = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=5.0)
            self._rows.execute("PRAGMA journal_mode=WAL")
            self._rows.execute("PRAGMA synchronous=OFF")
            self._rows.execute("CREATE TABLE IF NOT EXISTS vectors (key BLOB PRIMARY KEY, vector BLOB NOT NULL)")
        except (sqlite3.Error, OSError) as cause:
            raise self._broken(cause) from cause

    def read(self, keys: Sequence[bytes]) -> dict[bytes, Rows]:
        found: dict[bytes, Rows] = {}
        try:
            for key in keys:
                row = self._rows.execute("SELECT vector FROM vectors WHERE key = ?", (key,)).fetchone()
                if row is not None:
                    found[key] = np.frombuffer(row[0], dtype="<f4")
        except sqlite3.Error as cause:
            raise self._broken(cause) from cause
        return found

    def write(self, fresh: dict[bytes, Rows]) -> None:
        pairs = [(key, row.astype("<f4").tobytes()) for key, row in fresh.items()]
        try:
            self._rows.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?)", pairs)
        except sqlite3.Error as cause:
            raise self._broken(cause) from cause

    def close(self) -> None:
        self._rows.close()

    def _broken(self, cause: Exception) -> ConfigError:
        return ConfigError(f"the embedding cache {self._path} cannot be used ({cause}): delete it, it will be refilled")


def build_embedder(config: MemoryConfig, cache: Path | None) -> Embedder:
    """The embedder that `config` names, with a cache: in memory for the packaged model, which is cheaper to run than
    to look up on disk; also on disk, under `cache`, for a remote one, whose vectors cost money.

    Raises:
        ConfigError: no such embedder, or its address or model is not set.
    """
    match config.embedder:
        case "minilm":
            return CachedEmbedder(MiniLM())
        case "hash":
            return HashEmbedder()
        case "openai" if config.embedder_url and config.embedder_model:
            remote = OpenAIEmbedder(config.embedder_url, config.embedder_model, api_key=config.embedder_key)
            return CachedEmbedder(remote, path=cache / "embeddings.sqlite3" if cache else None)
        case "openai":
            raise ConfigError("memory.embedder is 'openai': set memory.embedder_url and memory.embedder_model too")
        case other:
            raise ConfigError(f"memory.embedder {other!r} is unknown: use 'minilm' or 'openai' ('hash' in tests)")
