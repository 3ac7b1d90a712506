"""The memory of a baseline: entries with vectors, changed only by `Change`s, so that a run can be taken up again."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.types import Outcome, Text, Value
from retrieval.vectors import Embedder

__all__ = ["Change", "Entry", "Shelf"]


class Entry(Value):
    """One remembered thing, in the terms of its method."""

    id: str
    kind: str
    """"trajectory", "insight", "item", "case", "note" or "fact"."""
    key: Text
    """What it is found by."""
    text: Text
    """What is shown."""
    question: Text = ""
    outcome: Outcome | None = None
    steps: tuple[Text, ...] = ()
    """Its procedure, where it holds one."""
    strength: int = 0
    links: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()


class Change(Value):
    """What one episode taught: entries put in place of those with the same id, and entries dropped."""

    put: tuple[Entry, ...] = ()
    drop: tuple[str, ...] = ()


@dataclass
class Shelf:
    """Entries in the order in which they came."""

    embedder: Embedder
    entries: dict[str, Entry] = field(default_factory=dict)
    _vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def apply(self, change: Change) -> None:
        """Carry out a change. Dropping what is not there changes nothing."""
        fresh = [one for one in change.put if one.id not in self.entries or self.entries[one.id].key != one.key]
        if fresh:
            rows = self.embedder.embed([one.key for one in fresh], "passage")
            self._vectors |= {one.id: row for one, row in zip(fresh, rows, strict=True)}
        self.entries |= {one.id: one for one in change.put}
        for id_ in change.drop:
            self.entries.pop(id_, None)
            self._vectors.pop(id_, None)

    def similar(
        self, text: str, k: int, *, kind: str = "", outcome: Outcome | None = None, least: float = -1.0
    ) -> tuple[Entry, ...]:
        """The `k` entries most similar to `text`; the older one first where they are equally so."""
        pool = [
            one
            for one in self.entries.values()
            if (not kind or one.kind == kind) and (outcome is None or one.outcome is outcome)
        ]
        if not pool or k <= 0:
            return ()
        query = self.embedder.embed([text], "query")[0]
        scores = np.stack([self._vectors[one.id] for one in pool]) @ query
        best = np.argsort(-scores, kind="stable")[:k]
        return tuple(pool[place] for place in best if scores[place] >= least)

    def of(self, kind: str) -> tuple[Entry, ...]:
        """All of a kind, oldest first."""
        return tuple(one for one in self.entries.values() if one.kind == kind)

    def get(self, ids: Iterable[str]) -> tuple[Entry, ...]:
        """Those of `ids` that are there."""
        return tuple(self.entries[one] for one in ids if one in self.entries)
