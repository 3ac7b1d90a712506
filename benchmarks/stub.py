"""Encoders without a model, so that a store's or a server's own cost shows: numbers from a hash of the text. Needs
numpy alone, so that the peers' environment can use it too."""

from collections.abc import Iterator, Sequence
from hashlib import blake2b, shake_128
from typing import Any

import numpy as np

DIMENSION = 384
TOPICS = 64


class Stub:
    """Unit vectors that know no meaning and cost next to nothing."""

    identity, dimension = "stub-384", DIMENSION

    def embed(self, texts: Sequence[str], kind: str = "query") -> Any:
        """One row a text, `[N, 384]` float32."""
        raw = b"".join(shake_128(text.encode()).digest(DIMENSION) for text in texts)
        rows = np.frombuffer(raw, dtype=np.int8).reshape(len(texts), DIMENSION).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Topical:
    """Vectors around topics, drawn from the text's own hash: no model, no cost worth naming."""

    identity, dimension = "benchmark", DIMENSION

    def __init__(self) -> None:
        self._topics = np.random.default_rng(0).standard_normal((TOPICS, DIMENSION))

    def embed(self, texts: Sequence[str], kind: str = "query") -> Any:
        """One row a text, `[N, 384]` float32, length 1."""
        rows = np.stack([self._row(text) for text in texts])
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)

    def _row(self, text: str) -> Any:
        seed = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
        return self._topics[seed % TOPICS] + np.random.default_rng(seed).standard_normal(DIMENSION)


def stored_texts(count: int) -> Iterator[str]:
    """Questions of the bank. They all share their words, which is the worst case for an index of words."""
    return (f"stored question number {number}: where was the author of the book born?" for number in range(count))


def asked_texts(count: int) -> list[str]:
    """Questions that are asked."""
    return [f"asked question number {number}" for number in range(count)]
