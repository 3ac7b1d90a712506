"""What every search engine promises, and how several rankings become one."""

from collections.abc import Sequence
from typing import Protocol

from mia_skill.core.errors import InputError
from mia_skill.core.types import Passage, clean_text

__all__ = ["MAX_K", "MAX_QUERY_CHARS", "SearchEngine", "checked", "reciprocal_rank_fusion"]

MAX_QUERY_CHARS = 2_000
MAX_K = 1_000
"""More would only fill the caller's memory (an unbounded top-k is how a known retrieval server is brought down)."""


class SearchEngine(Protocol):
    """Finds passages for a query. Safe to call from several tasks at once."""

    @property
    def name(self) -> str:
        """Which engine it is; every passage it gives carries this as its source."""
        ...

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """At most `k` passages, best first. Empty means that there is nothing, never that something failed.

        Raises:
            InputError: the query is empty or too long, or `k` is out of range.
            SearchError: the engine failed.
            CorpusError: the corpus is missing or broken.
        """
        ...


def checked(query: str, k: int) -> str:
    """The query as it may be sent: without NULs and lone surrogates, white space collapsed.

    Raises:
        InputError: nothing is left of it, it is too long, or `k` is outside 1..`MAX_K`.
    """
    if not 1 <= k <= MAX_K:
        raise InputError(f"k is {k}: ask for 1 to {MAX_K} passages")
    query = " ".join(clean_text(query.replace("\x00", " ")).split())
    if not query:
        raise InputError("the search query is empty: say what to look for")
    if len(query) > MAX_QUERY_CHARS:
        raise InputError(f"the search query has {len(query)} characters: use at most {MAX_QUERY_CHARS}")
    return query


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[str]], k: int = 10, weights: Sequence[float] | None = None
) -> list[tuple[str, float]]:
    """Ids with `sum over rankings of weight / (k + rank)`, best first; equal ones in the order in which they are met.

    `k` is 10, not the customary 60: +0.01 recall at 5 on the training questions of the sandbox wiki.

    Raises:
        InputError: not one weight per ranking, or `k` below 0.
    """
    if k < 0:
        raise InputError(f"k is {k}: the constant of the fusion cannot be negative")
    shares = [1.0] * len(rankings) if weights is None else list(weights)
    if len(shares) != len(rankings):
        raise InputError(f"{len(shares)} weights for {len(rankings)} rankings: give one each")
    scores: dict[str, float] = {}
    for ranking, share in zip(rankings, shares, strict=True):
        for rank, id_ in enumerate(dict.fromkeys(ranking), 1):
            scores[id_] = scores.get(id_, 0.0) + share / (k + rank)
    return sorted(scores.items(), key=lambda item: -item[1])
