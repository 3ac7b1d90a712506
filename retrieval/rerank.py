"""A second look at the first hits."""

from collections.abc import Sequence
from typing import Protocol

from mia_skill.core.config import SearchConfig
from mia_skill.core.types import Passage

__all__ = ["Reranker", "build_reranker"]


class Reranker(Protocol):
    """Orders candidates anew. Safe to call from several threads."""

    def rerank(self, query: str, candidates: Sequence[tuple[Passage, float]]) -> list[tuple[int, float]]:
        """Positions in `candidates` (passage and first score, best first) with their new scores, best first."""
        ...


def build_reranker(config: SearchConfig) -> Reranker | None:
    """The one that the settings ask for."""
    return None
