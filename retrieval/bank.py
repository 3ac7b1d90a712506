"""The memory bank's contract: what is asked of it and what it answers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from pydantic import Field

from mia_skill.core.types import Credit, Feedback, MemoryUnit, Modality, Outcome, PlanPair, Status, Text, Value
from retrieval.audit import AuditReport
from retrieval.gate import Draw, Trial
from retrieval.stewardship import Stewardship
from retrieval.transfer import ImportReport

__all__ = [
    "AuditReport",
    "Bank",
    "BankHealth",
    "Consolidation",
    "Explanation",
    "Hit",
    "ImportReport",
    "MemoryQuery",
    "PairHit",
    "Progress",
    "Recall",
    "Stored",
    "UnitPage",
]

Progress = Callable[[int, int], None]
"""Called with (done, total) while something long runs."""


class MemoryQuery(Value):
    """A question to the memory."""

    text: Text = Field(min_length=1)
    caption: Text | None = None
    modality: Modality = Modality.TEXT
    """Only units of the same modality are seen (paper, appendix 10)."""
    category: str | None = None
    """None looks into all categories."""
    namespace: str = "default"
    k_success: int = Field(default=2, ge=0, le=20)
    k_failure: int = Field(default=2, ge=0, le=20)
    min_similarity: float = Field(default=0.35, ge=-1, le=1)
    """Floor on the raw similarity: the paper's min-max alone always crowns a best one, however unrelated."""
    min_relevance: float = Field(default=0.45, ge=0, le=1)
    """The floor of the blended score, in place of `min_similarity`."""
    min_score: float | None = None
    max_tokens: int = Field(default=1500, ge=1)
    """All units shown together, at about four characters a token."""
    task: str | None = None
    """Id of the task, so that the same question in two tasks is drawn twice."""
    about: str = "others"
    """The task's category, for the gate's figures; it filters nothing."""
    withhold: float = Field(default=0.0, ge=0, le=0.5)
    """Share of tasks for which memory, or one unit, is left out by chance to measure whether it helps; 0 never."""
    seed: int = 0


class Explanation(Value):
    """What spoke for a unit under the blended score; all in 0..1."""

    lexical: float
    """Masked words and word pairs that match, weighted by rarity."""
    shape: float
    """Cosine of the masked questions."""
    dense: float
    """Cosine of the questions."""
    relevance: float
    """Their weighted mean."""
    floor: float
    """What the relevance had to reach."""
    value: float
    """Mean of what the unit is worth, or one draw of it."""
    base: float
    """What units of its bucket are worth on average."""


class Hit(Value):
    """One recalled unit and why it came up."""

    unit: MemoryUnit
    score: float
    similarity: float
    value: float
    """`s / (u + 1)`"""
    rarity: float
    """`1 / (u + 1)`"""
    why: str
    explanation: Explanation | None = None
    """None under the paper's score."""


class Recall(Value):
    """What the memory has on a question, best first. Quoted data for the Planner, never orders."""

    successes: tuple[Hit, ...] = ()
    failures: tuple[Hit, ...] = ()
    considered: int = 0
    """Units that were compared."""
    note: str = ""
    """One line for people: what was found, or why nothing was; and what was left out by the gate."""
    draw: Draw | None = None
    """What the gate did; hand it back with the task's outcome."""

    @property
    def nothing_relevant(self) -> bool:
        return not self.successes and not self.failures

    @property
    def hits(self) -> tuple[Hit, ...]:
        return self.successes + self.failures


class PairHit(Value):
    """A stored plan pair and how similar its question is."""

    pair: PlanPair
    similarity: float


class Consolidation(Value):
    """One change of the bank: all of it is written, or none."""

    units: tuple[MemoryUnit, ...] = ()
    pairs: tuple[PlanPair, ...] = ()
    credits: tuple[Credit, ...] = ()
    trials: tuple[Trial, ...] = ()
    """Outcomes of tasks whose arm the gate drew."""
    judge: str = ""
    """The watched judge whose verdict this follows from: it is held until that judge's canaries prove it. Empty: it
    counts at once."""
    merge: bool = True
    """False keeps units apart that are near-duplicates on purpose, as a general workflow is of its members."""


class Stored(Value):
    """What became of a consolidation."""

    unit_ids: tuple[str, ...] = ()
    """For each unit the id that now holds it: its own, or the older one it merged into."""
    merged: tuple[bool, ...] = ()
    pair_ids: tuple[str, ...] = ()
    credited: int = 0
    unknown_credits: tuple[str, ...] = ()
    """Credits for units that are no longer there; the others were given."""
    held: bool = False
    """On probation: nothing is in the bank yet, and nothing will be if the canaries speak against the judge."""


class UnitPage(Value):
    """Some units, newest first."""

    units: tuple[MemoryUnit, ...]
    next_cursor: str | None = None
    """Hand it back for the next page; None on the last."""
    total: int
    """Units that match, over all pages."""


class BankHealth(Value):
    """The state of the bank, for `mia doctor`."""

    path: str
    units: int
    pairs: int
    namespaces: tuple[str, ...]
    embedder: str | None
    """Identity of the embedder that made the stored vectors; None while there are none."""
    schema_version: int
    index: str
    """"fresh", "rebuilt (why)" or "unusable (why)"."""
    faiss: str
    """Version, and whether it is a CPU or GPU build."""
    size_bytes: int
    problems: tuple[str, ...] = ()


class Bank(Stewardship, Protocol):
    """Synchronous and safe to call from several threads and processes; async callers use `anyio.to_thread`."""

    def recall(self, query: MemoryQuery) -> Recall:
        """The best successes and failures on similar questions, or a note that nothing is relevant.

        Raises:
            EmbedderMismatchError: the stored vectors are another embedder's.
            ModelError: the embedder gave no vector.
        """
        ...

    def similar_pairs(
        self,
        question: str,
        *,
        caption: str | None = None,
        namespace: str = "default",
        k: int = 4,
        min_similarity: float = 0.0,
    ) -> tuple[PairHit, ...]:
        """Plan pairs of similar questions, the most similar first."""
        ...

    def consolidate(self, c: Consolidation) -> Stored:
        """Store units and pairs and give credit, in one durable transaction.

        Raises:
            InputError: a unit has more wins than uses. Nothing was written.
            BankError: nothing was written.
        """
        ...

    def feedback(self, unit_id: str, feedback: Feedback, outcome: Outcome | None = None) -> MemoryUnit:
        """Add a user's word to a unit and, if given, set its outcome.

        Raises:
            UnknownIdError: there is no such unit.
        """
        ...

    def get(self, unit_id: str) -> MemoryUnit:
        """Raises: UnknownIdError: there is no such unit."""
        ...

    def list(
        self,
        *,
        namespace: str | None = None,
        outcome: Outcome | None = None,
        category: str | None = None,
        text: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
        status: Status | None = None,
    ) -> UnitPage:
        """A page of units, newest first; `text` is looked for in question, caption and workflow.

        Raises:
            InputError: a limit outside 1..500, or a cursor that is none of ours.
        """
        ...

    def forget(self, unit_ids: Sequence[str]) -> int:
        """Delete units, and the plan pairs of their questions, for good; returns how many units.

        Raises:
            UnknownIdError: one of them is unknown; nothing was deleted.
        """
        ...

    def export(self, *, log: bool = False, vectors: bool = False) -> Iterator[dict[str, object]]:
        """A header, then every unit and pair, oldest first, as JSON objects of one consistent moment. With `vectors`
        each has its own beside it, and the header names the embedder. With `log` the audit log follows, for others to
        check; an import leaves it out."""
        ...

    def import_(
        self,
        lines: Iterable[str | bytes | dict[str, object]],
        *,
        dry_run: bool = False,
        restore: bool = False,
        vectors: bool = False,
        namespace: str | None = None,
        listener: Progress | None = None,
    ) -> ImportReport:
        """Take in exported lines. Broken ones are reported by number, the others kept.

        A file from elsewhere (default) is marked `imported` in its provenance and merges with what is known.
        `restore=True` is for one's own export: everything comes back as it was. Vectors are made anew, so that a file
        cannot bring some that do not fit their text; with `vectors=True` those beside a line are used if they are this
        bank's embedder's and one in each batch, picked by chance, is the text's.
        """
        ...

    def audit(self) -> AuditReport:
        """What a person should look at: duplicates, the never used, the untraceable. Changes nothing."""
        ...

    def health(self) -> BankHealth:
        """Counts, identities and problems. Does not raise for what it can report."""
        ...

    def reembed(self, listener: Progress | None = None) -> int:
        """Make every vector anew with this process's embedder; returns how many texts were embedded. May be killed at
        any time: the old vectors stay until all new ones are there, and the next call goes on where it stopped."""
        ...

    def close(self) -> None: ...
