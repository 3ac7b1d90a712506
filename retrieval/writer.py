"""Writes of one open transaction: units that merge or are new, pairs, credit, feedback, deletions."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from mia_skill.core.config import BlendWeights
from mia_skill.core.errors import UnknownIdError
from mia_skill.core.types import Credit, Feedback, MemoryUnit, Outcome, PlanPair, Status, utc_now
from retrieval.chain import fingerprint
from retrieval.custody import back, entry_status, reconsider
from retrieval.echo import echoed
from retrieval.gate import Arm, Trial
from retrieval.lineage import record_lineage
from retrieval.log import append, append_unit
from retrieval.merge import merged
from retrieval.places import KEPT_FORGOTTEN, Places, pair_bucket, place_of, unit_bucket
from retrieval.prune import over_budget
from retrieval.rows import (
    PAIR_COLUMNS,
    SEEN,
    UNIT_COLUMNS,
    insert_pair,
    insert_unit,
    next_change,
    pair_of,
    unit_of,
    update_unit,
)
from retrieval.shape import features_of, mask, sentence
from retrieval.tables import Tables
from retrieval.trials import known, record
from retrieval.value import Evidence, credited
from retrieval.vectors import Embedder, Rows, Vectors

__all__ = ["Kept", "Vectors", "Writer", "vectors_of"]

SLACK = 20
"""A namespace over its capacity is cut to 1/20 under it: one sort pays for many writes."""


def vectors_of(
    embedder: Embedder, texts: Sequence[tuple[str, str | None]], masked: int, *, blended: bool
) -> tuple[Vectors, ...]:
    """Vectors of (question, caption) pairs; the first `masked` of them with the features of the masked question and,
    if `blended`, its vector. Questions are compared with questions: all are of kind "query"."""
    if not texts:
        return ()
    captions = [caption for _, caption in texts if caption is not None]
    shapes = [mask(question) for question, _ in texts[:masked]]
    hidden = [sentence(words) for words in shapes] if blended else []
    vectors = embedder.embed([question for question, _ in texts] + captions + hidden, "query")
    shape = iter([features_of(words).tobytes() for words in shapes])
    rest: Iterator[Rows] = iter(vectors[len(texts) :])
    after: Iterator[Rows] = iter(vectors[len(texts) + len(captions) :])
    return tuple(
        Vectors(vector, None if caption is None else next(rest), next(after, None), next(shape, None))
        for vector, (_, caption) in zip(vectors[: len(texts)], texts, strict=True)
    )


class Kept(NamedTuple):
    """Where a unit ended up."""

    id: str
    merged: bool
    known: bool
    """Its id was there already; nothing changed."""


class Writer:
    """One change of the bank. Lives inside a write transaction, with places that have followed the rows."""

    def __init__(self, rows: Tables, places: Places, blend: BlendWeights | None = None, environment: str = "") -> None:
        self._rows = rows
        self._places = places
        self._blend = blend or BlendWeights()
        self._environment = environment
        self.change = next_change(rows)

    def claim(self, identity: str, dimension: int) -> None:
        """The first vectors of an empty bank decide whose vectors it holds."""
        self._rows.execute("UPDATE state SET embedder = ?, dimension = ? WHERE embedder IS NULL", (identity, dimension))
        self._places.use(dimension)

    def unit(
        self, unit: MemoryUnit, vectors: Vectors, merge_similarity: float | None, *, restored: bool = False
    ) -> Kept:
        """Store a unit, or merge it into its twin; `merge_similarity` None never merges. The bank says what it may do;
        only one that is `restored` from our own export keeps the status it had."""
        if self._rows.execute("SELECT 1 FROM units WHERE id = ?", (unit.id,)).fetchone():
            return Kept(unit.id, merged=True, known=True)
        if not restored:
            unit = unit.model_copy(update={"status": entry_status(self._rows, unit)})
        if merge_similarity is not None:
            shown = echoed(unit, self._parents(unit))
            if shown is not None:
                append(self._rows, "echo", subject=shown.id, detail="recalled text came back; not stored again")
                return Kept(shown.id, merged=True, known=False)
            twin = self._twin(unit, vectors, merge_similarity)
            if twin is not None:
                return self._merge(twin, unit, vectors)
        digest = fingerprint(unit)
        seq = insert_unit(self._rows, unit, digest, self.change)
        self._places.keep_unit(self._rows, seq, unit, vectors)
        record_lineage(self._rows, unit)
        told = f"{unit.status}; judged by {unit.provenance.judged_by}"
        append(self._rows, "store", subject=unit.id, detail=told, digest=digest)
        return Kept(unit.id, merged=False, known=False)

    def trials(self, given: Iterable[Trial], *, restored: bool = False) -> None:
        """Keep outcomes of both arms, and draw the consequences: promotion, withholding, release. Those of one's own
        export are counted as they were; their consequences are in the units."""
        for trial in given:
            if restored:
                if not known(self._rows, trial):
                    record(self._rows, trial, self.change)
                continue
            moved = record(self._rows, trial, self.change)
            reconsider(self._rows, moved, self.change)
            back(self._rows, trial, self.change)

    def pair(self, pair: PlanPair, vectors: Vectors, merge_similarity: float | None) -> str:
        """Store a pair; returns the id that holds it. The same two plans for nearly the same question are kept once;
        with None every pair is kept, as a lossless restore needs."""
        known = self._rows.execute("SELECT id FROM pairs WHERE id = ?", (pair.id,)).fetchone()
        if known is not None:
            return pair.id
        alike: Sequence[int] = ()
        if merge_similarity is not None:
            alike = self._places.close(self._rows, "pair", pair_bucket(pair.namespace), vectors, merge_similarity)
        for seq in alike:
            row = self._rows.execute(f"SELECT {PAIR_COLUMNS} FROM pairs p WHERE seq = ?", (seq,)).fetchone()
            old = pair_of(row)
            if (old.good_plan, old.bad_plan) == (pair.good_plan, pair.bad_plan):
                return old.id
        seq = insert_pair(self._rows, pair, self.change)
        self._places.keep_pair(self._rows, seq, pair, vectors)
        return pair.id

    def fit(self, units: Sequence[MemoryUnit], capacity: int | None) -> None:
        """Forget what a full namespace can spare; with a little slack, so that not every write has to."""
        for namespace in dict.fromkeys(unit.namespace for unit in units) if capacity is not None else ():
            (count,) = self._rows.execute("SELECT count(*) FROM units WHERE namespace = ?", (namespace,)).fetchone()
            if capacity is not None and count > capacity:
                found = self._rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u WHERE namespace = ?", (namespace,))
                most = capacity - capacity // SLACK
                going = over_budget([unit_of(row) for row in found], most, spared=[unit.id for unit in units])
                append(self._rows, "prune", detail=f"namespace {namespace!r} may keep {capacity}")
                self.forget([unit.id for unit in going])

    def credits(self, given: Iterable[Credit], trials: Sequence[Trial] = ()) -> tuple[int, tuple[str, ...]]:
        """Count one use, and the win if it was one, for each unit named; returns how many, and the unknown ids.

        What a unit is worth moves by its share: units that were shown together share one outcome, and one that chance
        left out gets the reverse of what happened without it (leave-one-out)."""
        unknown: list[str] = []
        count = 0
        every = tuple(given)
        self._weigh(every, trials)
        for credit in every:
            found = self._rows.execute(
                "UPDATE units SET uses = uses + 1, wins = wins + ?, change = ?, updated_at = ? WHERE id = ?",
                (int(credit.won), self.change, utc_now().isoformat(), credit.unit_id),
            )
            if found.rowcount:
                count += 1
            else:
                unknown.append(credit.unit_id)
        if count:
            told = ", ".join(f"{credit.unit_id} {'won' if credit.won else 'lost'}" for credit in every)
            append(self._rows, "credit", detail=told)
        return count, tuple(unknown)

    def _weigh(self, given: Sequence[Credit], trials: Sequence[Trial]) -> None:
        shares = {one: 1 / len(trial.draw.shown) for trial in trials for one in trial.draw.shown}
        told = [(credit.unit_id, shares.get(credit.unit_id, 1.0), credit.won) for credit in given]
        for trial in trials:
            draw = trial.draw
            if draw.randomised and draw.arm is Arm.PARTLY:
                told += [(one, 1 / (len(draw.shown) + 1), not trial.won) for one in draw.withheld]
        for unit_id, share, won in told:
            row = self._rows.execute(f"SELECT {SEEN} FROM units WHERE id = ?", (unit_id,)).fetchone()
            if row is not None:
                seen = credited(Evidence(*row), share, share * won, utc_now(), self._blend, self._environment)
                self._rows.execute(
                    "UPDATE units SET seen_uses = ?, seen_wins = ?, seen_at = ?, seen_in = ?, change = ? WHERE id = ?",
                    (*seen, self.change, unit_id),
                )

    def feedback(self, unit_id: str, spoken: Feedback, outcome: Outcome | None) -> MemoryUnit:
        """Raises: UnknownIdError: there is no such unit."""
        row = self._rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u WHERE id = ?", (unit_id,)).fetchone()
        if row is None:
            raise UnknownIdError(f"there is no memory unit {unit_id!r}: `mia memory list` shows those that are")
        unit = unit_of(row)
        change = {"feedback": (*unit.feedback, spoken), "updated_at": utc_now()}
        if outcome is not None:
            provenance = unit.provenance.model_copy(update={"judged_by": "user"})
            change |= {"outcome": outcome, "provenance": provenance}
        unit = unit.model_copy(update=change)
        update_unit(self._rows, row["seq"], unit, self.change)
        append_unit(self._rows, "feedback", unit, "good" if spoken.good else "bad")
        return unit

    def forget(self, unit_ids: Sequence[str], *, listed: int = KEPT_FORGOTTEN) -> int:
        """Delete units and the pairs of their questions; at most `listed` deletions stay listed for other processes.

        Raises:
            UnknownIdError: one is unknown.
        """
        for unit_id in dict.fromkeys(unit_ids):
            row = self._rows.execute("SELECT seq, namespace, question FROM units WHERE id = ?", (unit_id,)).fetchone()
            if row is None:
                raise UnknownIdError(f"there is no memory unit {unit_id!r}: nothing was forgotten")
            self._delete("unit", row["seq"])
            append(self._rows, "forget", subject=unit_id)
            pairs = self._rows.execute(
                "SELECT seq FROM pairs WHERE question = ? AND namespace = ?", (row["question"], row["namespace"])
            ).fetchall()
            for pair in pairs:
                self._delete("pair", pair["seq"])
        self._trim(listed)
        return len(dict.fromkeys(unit_ids))

    def _merge(self, twin: int, unit: MemoryUnit, vectors: Vectors) -> Kept:
        row = self._rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u WHERE seq = ?", (twin,)).fetchone()
        old = unit_of(row)
        if unit.status is Status.QUARANTINED and old.status is not Status.QUARANTINED:
            # What is known from a better source gains nothing from a worse one.
            append(self._rows, "absorb", subject=old.id, detail=f"a twin that is not trusted: {unit.id}")
            return Kept(old.id, merged=True, known=False)
        unit = merged(old, unit)
        update_unit(self._rows, twin, unit, self.change)
        self._places.renew(self._rows, twin, unit, vectors)
        record_lineage(self._rows, unit)
        append_unit(self._rows, "merge", unit)
        return Kept(unit.id, merged=True, known=False)

    def _parents(self, unit: MemoryUnit) -> list[MemoryUnit]:
        statement = f"SELECT {UNIT_COLUMNS} FROM units u WHERE id = ?"
        found = (self._rows.execute(statement, (one,)).fetchone() for one in unit.provenance.parents)
        return [unit_of(row) for row in found if row is not None]

    def _twin(self, unit: MemoryUnit, vectors: Vectors, threshold: float) -> int | None:
        """The row of a near-identical question. A withheld one counts too: a copy must not slip past the gate."""
        own = (Status.ACTIVE, Status.QUARANTINED) if unit.status is Status.QUARANTINED else (unit.status,)
        for status in dict.fromkeys((*own, Status.WITHHELD)):
            place = place_of(unit.outcome, status)
            key = unit_bucket(unit.namespace, unit.modality, place)
            for seq in self._places.close(self._rows, "unit", key, vectors, threshold):
                # What is pending and what is revoked share a bucket.
                row = self._rows.execute("SELECT status, outcome FROM units WHERE seq = ?", (seq,)).fetchone()
                if tuple(row) == (status.value, unit.outcome):
                    return seq
        return None

    def _delete(self, owner: str, seq: int) -> None:
        table = {"unit": "units", "pair": "pairs"}[owner]
        self._rows.execute(f"DELETE FROM {table} WHERE seq = ?", (seq,))
        self._rows.execute("DELETE FROM vectors WHERE owner = ? AND seq = ?", (owner, seq))
        self._rows.execute("DELETE FROM staged_vectors WHERE owner = ? AND seq = ?", (owner, seq))
        self._rows.execute("INSERT INTO forgotten VALUES (?, ?, ?)", (owner, seq, self.change))

    def _trim(self, listed: int) -> None:
        (count,) = self._rows.execute("SELECT count(*) FROM forgotten").fetchone()
        if count > listed:
            # Whoever has not seen the changes up to here loads anew.
            (below,) = self._rows.execute(
                "SELECT change FROM forgotten ORDER BY change DESC LIMIT 1 OFFSET ?", (listed // 2,)
            ).fetchone()
            self._rows.execute("DELETE FROM forgotten WHERE change <= ?", (below,))
            self._rows.execute("UPDATE state SET forgotten_below = ?", (below,))
