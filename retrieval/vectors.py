"""Embedding vectors: what an embedder promises, and the name its vectors are kept under."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.errors import ModelReplyError
from mia_skill.core.types import Value

__all__ = ["Embedder", "Kind", "Recipe", "Rows", "Vectors", "blob", "grown", "received", "unit_rows"]

Rows = NDArray[np.float32]
Kind = Literal["query", "passage"]


class Vectors(NamedTuple):
    """The vectors of one unit or pair."""

    question: Rows
    caption: Rows | None
    masked: Rows | None = None
    shape: bytes | None = None
    """Features of the masked question."""


class Embedder(Protocol):
    """Turns texts into unit vectors. Safe to call from several threads."""

    @property
    def identity(self) -> str:
        """Changes whenever vectors would; vectors of two identities are never mixed."""
        ...

    @property
    def dimension(self) -> int: ...

    def embed(self, texts: Sequence[str], kind: Kind = "query") -> Rows:
        """One L2-normalised row per text, in order: `[N, D]` float32.

        Raises:
            ModelError: there are no vectors.
        """
        ...


class Recipe(Value):
    """Everything a vector depends on."""

    model: str
    weights: str = ""
    """sha256 of the weight file; empty for a remote model, whose name is all there is to go by."""
    vocabulary: str = ""
    query_prefix: str = ""
    passage_prefix: str = ""
    pooling: str = "mean"
    max_tokens: int = 0
    dimension: int = 0
    """0 where only the server knows."""
    normalise: bool = True

    @property
    def identity(self) -> str:
        """The name under which vectors made this way are stored."""
        return sha256(self.model_dump_json().encode()).hexdigest()[:32]


def unit_rows(rows: NDArray[np.floating], *, source: str) -> Rows:
    """`rows` scaled to length 1.

    Raises:
        ModelReplyError: a row is zero or not finite: it points nowhere.
    """
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        raise ModelReplyError(f"{source} gave a vector that is zero or not finite", raw="")
    return np.ascontiguousarray(rows / norms, dtype=np.float32)


def grown(array: NDArray[Any], size: int) -> NDArray[Any]:
    """A copy with room for `size` rows; the new ones are zeros."""
    larger = np.zeros((size, *array.shape[1:]), dtype=array.dtype)
    larger[: len(array)] = array
    return larger


def blob(row_D: Rows) -> bytes:
    """A vector as it is stored: little-endian float32."""
    return row_D.astype("<f4").tobytes()


def received(stored: bytes | None) -> Rows | None:
    """`blob`, read again."""
    return None if stored is None else np.frombuffer(stored, dtype="<f4")
