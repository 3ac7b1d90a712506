"""A second look at the first hits."""

import re
from collections.abc import Sequence
from typing import Protocol

from mia_skill.core.config import SearchConfig
from mia_skill.core.types import Passage

__all__ = ["LinkReranker", "Reranker", "build_reranker"]

WORD = re.compile(r"\w+")
QUALIFIER = re.compile(r"\s*\([^)]*\)$")
"""An encyclopedia's "(film)" at the end of a title: texts do not repeat it."""
SHORTEST_TITLE = 3
"""Characters; a title of one or two is in every text."""


class Reranker(Protocol):
    """Orders candidates anew. Safe to call from several threads."""

    def rerank(self, query: str, candidates: Sequence[tuple[Passage, float]]) -> list[tuple[int, float]]:
        """Positions in `candidates` (passage and first score, best first) with their new scores, best first."""
        ...


class LinkReranker:
    """Lifts pages whose title is named by the query or by the text of one of the first hits.

    A question of several hops names the first page and not the second; the first page's text does. No model, one
    millisecond. The constants are in units of a reciprocal-rank score, whose best is about .18. Five times stronger
    ones gain more for whole questions and cost an agent that asks hop by hop .08 of its recall (docs/lab_notes.md).
    """

    def __init__(self, *, linked: float = 0.03, named: float = 0.05, sources: int = 5, decay: float = 0.7) -> None:
        """`linked` for a title in the text of the first hit, times `decay` for each place further down, up to
        `sources` hits; `named` for a title in the query."""
        self._linked, self._named = linked, named
        self._sources, self._decay = sources, decay

    def rerank(self, query: str, candidates: Sequence[tuple[Passage, float]]) -> list[tuple[int, float]]:
        """See `Reranker`; equal scores keep their order."""
        asked = folded(query)
        texts = [(folded(passage.text), _title(passage)) for passage, _ in candidates[: self._sources]]
        scores = []
        for place, (passage, score) in enumerate(candidates):
            title = _title(passage)
            if len(title.strip()) >= SHORTEST_TITLE:
                score += self._named * (title in asked) + self._linked * self._link(title, place, texts)
            scores.append((place, score))
        return sorted(scores, key=lambda one: -one[1])

    def _link(self, title: str, place: int, texts: Sequence[tuple[str, str]]) -> float:
        for rank, (text, own_title) in enumerate(texts):
            if rank != place and own_title != title and title in text:
                return self._decay**rank
        return 0.0


def folded(text: str) -> str:
    """The words in lower case with one blank around each, so that a title can be looked for as whole words."""
    return f" {' '.join(WORD.findall(text.casefold()))} "


def _title(passage: Passage) -> str:
    return folded(QUALIFIER.sub("", passage.title))


def build_reranker(config: SearchConfig) -> Reranker | None:
    """The one that the settings ask for."""
    return LinkReranker() if config.rerank == "links" else None
