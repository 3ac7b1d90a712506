"""Where rows are found by their vectors: what the bank's rules ask of FAISS in memory, or of pgvector."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.errors import EmbedderMismatchError
from mia_skill.core.types import MemoryUnit, Outcome, PlanPair, Status
from retrieval.postings import Shaped
from retrieval.tables import Row, Tables
from retrieval.vectors import Rows, Vectors

if TYPE_CHECKING:
    from retrieval.half import HalfIndex
    from retrieval.value import Standing

__all__ = [
    "KEPT_FORGOTTEN",
    "Columns",
    "Compared",
    "Places",
    "bucket_of",
    "known_state",
    "pair_bucket",
    "place_of",
    "unit_bucket",
]

KEPT_FORGOTTEN = 10_000
"""Deletions that stay listed for the other processes; one that missed more loads anew."""


class Columns(Protocol):
    """Columns of equal length, by name (`retrieval.index.Columns`)."""

    def __getitem__(self, name: str, /) -> NDArray[Any]: ...


class Compared(Protocol):
    """N units of one bucket, to be compared with one question."""

    @property
    def columns(self) -> Columns: ...

    def __len__(self) -> int: ...

    def rounded_questions(self) -> "HalfIndex | None":
        """The questions' vectors, where only rounded ones are in memory; None: `question_similarities` are exact."""
        ...

    def question_similarities(self, query_D: Rows) -> Rows:
        """`[N]`; of rounded ones, good to their slack."""
        ...

    def caption_similarities(self, query_D: Rows | None) -> Rows | None:
        """`[N]`, 0 for units without a caption; None when the query or all units have none."""
        ...

    def lexical_shares(self, asked: Shaped) -> Rows:
        """`[N]`, how much of the masked question each unit's matches, 0..1."""
        ...

    def masked_products(self, query_D: Rows, at_E: NDArray[np.intp]) -> tuple[Rows, NDArray[np.bool_], float] | None:
        """Cosines of the masked questions of some units, which of them have one, and how far a cosine may be off.
        None: they are not in memory."""
        ...

    def standing(self, half_life_days: float, elsewhere: float, environment: str) -> "Standing":
        """The evidence of the whole bucket."""
        ...


class Places(Protocol):
    """Not thread-safe: the bank holds its lock around every call."""

    def follow(self, rows: Tables) -> None:
        """Take in what other processes have written.

        Raises:
            EmbedderMismatchError: the rows' vectors are another embedder's.
        """
        ...

    def check(self, rows: Tables) -> Row:
        """The bank's state, if its vectors are ours.

        Raises:
            EmbedderMismatchError: they are another embedder's.
        """
        ...

    def use(self, dimension: int) -> None:
        """The first vectors of an empty bank have this dimension."""
        ...

    def invalidate(self, why: str) -> None:
        """A write was rolled back."""
        ...

    def any_in(self, rows: Tables, owner: str, keys: Sequence[Hashable]) -> bool:
        """Does one of the buckets hold anything?"""
        ...

    def compared(
        self, rows: Tables, owner: str, key: Hashable, asked: Vectors, category: str | None, *, every: bool
    ) -> tuple[Compared | None, int | None]:
        """What of a bucket can be compared with a question, and the number of `category` in its columns. `every` asks
        for the whole bucket: the paper's min-max is over all of it."""
        ...

    def close(self, rows: Tables, owner: str, key: Hashable, vectors: Vectors, threshold: float) -> Sequence[int]:
        """Seqs whose question reaches `threshold`, the most similar first, ties to the older. What two images show
        must be as similar as the questions: "who is this?" is asked of every picture."""
        ...

    def keep_unit(self, rows: Tables, seq: int, unit: MemoryUnit, vectors: Vectors) -> None:
        """Store the vectors of a new unit."""
        ...

    def keep_pair(self, rows: Tables, seq: int, pair: PlanPair, vectors: Vectors) -> None:
        """Store the vectors of a new pair."""
        ...

    def renew(self, rows: Tables, seq: int, unit: MemoryUnit, vectors: Vectors) -> None:
        """A unit took in its twin: its counts moved, its vectors stay."""
        ...

    def groups(self, rows: Tables) -> Iterable[tuple[Sequence[int], Rows]]:
        """Seqs and question vectors of every bucket of units."""
        ...

    def questions(self, rows: Tables, seqs: Sequence[int]) -> Mapping[int, Rows | None]:
        """Question vectors of single units, those that have one."""
        ...

    def vectors(self, rows: Tables, owner: str, seqs: Sequence[int]) -> Mapping[int, Vectors]:
        """All vectors of single rows, as they are stored, without the features; those that have some."""
        ...


def known_state(rows: Tables, identity: str) -> Row:
    """See `Places.check`.

    Raises:
        EmbedderMismatchError: the vectors were made by another embedder than `identity`.
    """
    state: Row = rows.execute("SELECT bank_id, change, forgotten_below, embedder, dimension FROM state").fetchone()
    if state["embedder"] not in (None, identity):
        raise EmbedderMismatchError(
            "the stored vectors were made by another embedder "
            f"({state['embedder'][:12]}, not {identity[:12]}): run `mia memory reembed`, or go back to the "
            "embedder that memory.embedder named before"
        )
    return state


def unit_bucket(namespace: str, modality: str, outcome: str | None) -> Hashable:
    """Units of one bucket compete. Pending ones (outcome None) have buckets that recall never asks."""
    return (namespace, str(modality), None if outcome is None else str(outcome))


def place_of(outcome: Outcome | None, status: Status) -> str | None:
    """Which bucket of a polarity: what may not direct never competes with what may, and what is revoked with nobody."""
    if outcome is None or status is Status.REVOKED:
        return None
    return outcome.value if status is Status.ACTIVE else f"{outcome.value}:{status.value}"


def pair_bucket(namespace: str) -> Hashable:
    """Pairs of one namespace."""
    return (namespace,)


def bucket_of(unit: MemoryUnit) -> Hashable:
    """The bucket a unit is in."""
    return unit_bucket(unit.namespace, unit.modality, place_of(unit.outcome, unit.status))
