"""What this process has shown lately: so that a host can refer by id instead of sending texts back."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

from mia_skill.core.errors import UsedUpError
from mia_skill.core.types import Passage
from retrieval.gate import Draw

__all__ = ["Ledger"]


@dataclass
class Ledger:
    """Bounded memory of passages returned and units shown; the oldest are dropped first. Safe across threads.

    A convenience, never the truth: after a restart a host must send texts and ids itself.
    """

    capacity: int = 4096
    _passages: OrderedDict[str, Passage] = field(default_factory=OrderedDict, repr=False)
    _shown: OrderedDict[tuple[str, str], tuple[str, ...]] = field(default_factory=OrderedDict, repr=False)
    _draws: OrderedDict[tuple[str, str], Draw] = field(default_factory=OrderedDict, repr=False)
    _waiting: OrderedDict[str, Draw] = field(default_factory=OrderedDict, repr=False)
    _spent: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def keep(self, passages: Iterable[Passage]) -> None:
        """Remember passages that were returned."""
        with self._lock:
            for passage in passages:
                self._passages[passage.id] = passage
                self._passages.move_to_end(passage.id)
            while len(self._passages) > self.capacity:
                self._passages.popitem(last=False)

    def passages(self, ids: Iterable[str]) -> tuple[Passage, ...]:
        """Those of `ids` that are still known, in their order."""
        with self._lock:
            return tuple(self._passages[one] for one in ids if one in self._passages)

    @contextmanager
    def once(self, tool: str, question: str) -> Iterator[None]:
        """The one use of `tool` for a question. A use that fails is given back.

        Raises:
            UsedUpError: it was used before.
        """
        key = tool, " ".join(question.split()).casefold()
        with self._lock:
            if key in self._spent:
                raise UsedUpError(
                    f"{tool} was used for this question already, and may be used once per episode: go on with what it "
                    "brought, by search and visit"
                )
            self._spent[key] = None
            while len(self._spent) > self.capacity:
                self._spent.popitem(last=False)
        try:
            yield
        except BaseException:
            with self._lock:
                self._spent.pop(key, None)
            raise

    def show(self, question: str, unit_ids: Iterable[str], *, namespace: str = "default") -> None:
        """Remember which units were shown for a question; further ones are added."""
        with self._lock:
            key = key_of(question, namespace)
            self._shown[key] = tuple(dict.fromkeys((*self._shown.get(key, ()), *unit_ids)))
            self._shown.move_to_end(key)
            while len(self._shown) > self.capacity:
                self._shown.popitem(last=False)

    def shown(self, question: str, *, namespace: str = "default") -> tuple[str, ...]:
        """The units shown for a question, for the credit when its outcome is known."""
        with self._lock:
            return self._shown.get(key_of(question, namespace), ())

    def drew(self, question: str, draw: Draw, *, namespace: str = "default") -> None:
        """Remember which arm the gate drew for a question."""
        with self._lock:
            key = key_of(question, namespace)
            self._draws[key] = draw
            self._draws.move_to_end(key)
            while len(self._draws) > self.capacity:
                self._draws.popitem(last=False)

    def take_draw(self, question: str, *, namespace: str = "default") -> Draw | None:
        """The draw of a question, once: its outcome counts one time."""
        with self._lock:
            return self._draws.pop(key_of(question, namespace), None)

    def wait(self, unit_ids: Iterable[str], draw: Draw) -> None:
        """Remember the draw of a run that nobody could judge, until a user says how it ended."""
        with self._lock:
            for unit_id in unit_ids:
                self._waiting[unit_id] = draw
            while len(self._waiting) > self.capacity:
                self._waiting.popitem(last=False)

    def take_waiting(self, unit_id: str) -> Draw | None:
        """The draw of a unit's run that waits for its outcome, once."""
        with self._lock:
            return self._waiting.pop(unit_id, None)


def key_of(question: str, namespace: str) -> tuple[str, str]:
    """The same question, however it is spaced and capitalised. Namespaces never see each other's."""
    return namespace, " ".join(question.split()).casefold()
