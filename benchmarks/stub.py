"""An encoder without a model, so that a server's own cost shows: numbers from a hash of the text."""

from collections.abc import Sequence
from hashlib import shake_128
from typing import Any

import numpy as np

DIMENSION = 384


class Stub:
    """Unit vectors that know no meaning and cost next to nothing."""

    identity, dimension = "stub-384", DIMENSION

    def embed(self, texts: Sequence[str], kind: str = "query") -> Any:
        """One row a text, `[N, 384]` float32."""
        raw = b"".join(shake_128(text.encode()).digest(DIMENSION) for text in texts)
        rows = np.frombuffer(raw, dtype=np.int8).reshape(len(texts), DIMENSION).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)
