"""The memory bank on SQLite: rows are the truth, the FAISS index in memory follows them."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock
from typing import Literal

from mia_skill.core.config import BlendWeights, ScoreWeights
from mia_skill.core.errors import EmbedderMismatchError, InputError, UnknownIdError
from mia_skill.core.types import Feedback, MemoryUnit, Outcome, PlanPair, Status, utc_now
from retrieval.audit import AuditReport, audit_units, twins_of
from retrieval.bank import BankHealth, Consolidation, Hit, MemoryQuery, PairHit, Progress, Recall, Stored, UnitPage
from retrieval.contest import Asked, contest, pool_of, shown_apart
from retrieval.gate import Trial
from retrieval.index import Bucket, Shelf
from retrieval.inspect import add_functions, health_of, list_units
from retrieval.live import LiveIndex, pair_bucket
from retrieval.postings import shaped
from retrieval.recall import Ranking, make_hit, nearest, rank, recall_of
from retrieval.reembed import reembed
from retrieval.rows import PAIR_COLUMNS, UNIT_COLUMNS, masked_rows, pair_of, unit_of
from retrieval.schema import SCHEMA_VERSION, connect, store_errors, transaction
from retrieval.steward import Steward
from retrieval.transfer import BrokenLine, ImportReport, adopted, header, pair_line, read_lines, trial_line, unit_line
from retrieval.trials import all_trials
from retrieval.vectors import Embedder
from retrieval.withhold import asked_buckets, settle, sound, together
from retrieval.writer import Kept, Vectors, Writer, vectors_of

__all__ = ["SqliteBank"]

IMPORT_BATCH = 256
"""Lines of one import transaction: an import that is killed is simply run again."""


class SqliteBank(Steward):
    """A `Bank` in one SQLite file. Threads take turns; processes see each other's writes at their next read."""

    def __init__(
        self,
        path: Path,
        rows: sqlite3.Connection,
        embedder: Embedder,
        weights: ScoreWeights,
        merge_similarity: float,
        capacity: int | None = None,
        blend: BlendWeights | None = None,
        environment: str = "",
    ) -> None:
        self._path = path
        self._rows = rows
        self._embedder = embedder
        self._weights = weights
        self._merge_similarity = merge_similarity
        self._capacity = capacity
        self._blend = blend
        self._environment = environment
        self._live = LiveIndex(embedder.identity)
        self._lock = RLock()

    @classmethod
    def open(
        cls,
        path: Path,
        embedder: Embedder,
        *,
        weights: ScoreWeights | None = None,
        merge_similarity: float = 0.97,
        capacity: int | None = None,
        scoring: Literal["paper", "blend"] = "blend",
        blend: BlendWeights | None = None,
        environment: str = "",
        for_reembed: bool = False,
        busy_timeout_s: float = 5.0,
    ) -> "SqliteBank":
        """Open the bank, made if it is not there. The index is loaded at the first recall or write.

        Raises:
            EmbedderMismatchError: its vectors are another embedder's; `for_reembed=True` opens it all the same, and
                then everything works that needs no vector.
            BankError: see `retrieval.schema.connect`.
        """
        rows = connect(path, busy_timeout_s=busy_timeout_s)
        mixed = (blend or BlendWeights()) if scoring == "blend" else None
        bank = cls(path, rows, embedder, weights or ScoreWeights(), merge_similarity, capacity, mixed, environment)
        try:
            add_functions(rows)
            if not for_reembed:
                with bank._work(write=False):
                    bank._live.check(rows)
        except BaseException:
            rows.close()
            raise
        return bank

    # -- reading ------------------------------------------------------------------------------------------------

    def recall(self, query: MemoryQuery) -> Recall:
        asked = asked_buckets(query)
        with self._work(write=False) as rows:
            shelf = self._followed(rows, "unit")
            empty = not any(shelf.bucket(key) for key, _ in asked)
        if empty:
            # Spares the first user the loading of a model.
            with self._work(write=False) as rows:
                return settle(rows, query, recall_of(query, (), ((), ())), ())
        (vectors,) = self._embed([(query.text, query.caption)], masked=1)
        with self._work(write=False) as rows:
            shelf = self._followed(rows, "unit")
            self._same_dimension(rows, vectors)
            category = None if query.category is None else shelf.code(query.category)
            found = [self._rank(rows, shelf.bucket(key), query, k, vectors, category) for key, k in asked]
            rankings, shown, kept_back = together(query, [one for one, _ in found], [hits for _, hits in found])
            return settle(rows, query, recall_of(query, rankings, shown), kept_back)

    def similar_pairs(
        self,
        question: str,
        *,
        caption: str | None = None,
        namespace: str = "default",
        k: int = 4,
        min_similarity: float = 0.0,
    ) -> tuple[PairHit, ...]:
        key = pair_bucket(namespace)
        with self._work(write=False) as rows:
            if not self._followed(rows, "pair").bucket(key):
                return ()
        (vectors,) = self._embed([(question, caption)])
        with self._work(write=False) as rows:
            bucket = self._followed(rows, "pair").bucket(key)
            self._same_dimension(rows, vectors)
            found = nearest(bucket, k, vectors.question, vectors.caption, self._weights, min_similarity=min_similarity)
            return tuple(
                PairHit(
                    pair=pair_of(_one(rows, f"SELECT {PAIR_COLUMNS} FROM pairs p WHERE seq = ?", seq)), similarity=sim
                )
                for seq, sim in found
            )

    def get(self, unit_id: str) -> MemoryUnit:
        with self._work(write=False) as rows:
            row = rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u WHERE id = ?", (unit_id,)).fetchone()
        if row is None:
            raise UnknownIdError(f"there is no memory unit {unit_id!r}: `mia memory list` shows those that are")
        return unit_of(row)

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
        with self._work(write=False) as rows:
            return list_units(
                rows,
                namespace=namespace,
                outcome=outcome,
                category=category,
                text=text,
                limit=limit,
                cursor=cursor,
                status=status,
            )

    def export(self) -> Iterator[dict[str, object]]:
        # A connection of its own: its read transaction is the one moment that is exported.
        rows = connect(self._path)
        try:
            with store_errors(self._path), transaction(rows, write=False):
                yield header(*_one(rows, "SELECT (SELECT count(*) FROM units), (SELECT count(*) FROM pairs)"))
                for row in rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u ORDER BY seq"):
                    yield unit_line(unit_of(row))
                for row in rows.execute(f"SELECT {PAIR_COLUMNS} FROM pairs p ORDER BY seq"):
                    yield pair_line(pair_of(row))
                for trial in all_trials(rows):
                    yield trial_line(trial)
        finally:
            rows.close()

    def audit(self) -> AuditReport:
        with self._work(write=False) as rows:
            shelf = self._followed(rows, "unit")
            by_seq = {
                row["seq"]: unit_of(row) for row in rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u ORDER BY seq")
            }
            groups = [(bucket.columns["seq"].tolist(), bucket.questions()) for _, bucket in shelf.buckets()]
        return audit_units(by_seq.values(), twins_of(by_seq, groups, self._merge_similarity))

    def health(self) -> BankHealth:
        with self._lock:
            return health_of(self._path, self._rows, self._live, SCHEMA_VERSION)

    # -- writing ------------------------------------------------------------------------------------------------

    def consolidate(self, c: Consolidation) -> Stored:
        kept, pair_ids, (credited, unknown) = self._store(c, self._merge_similarity if c.merge else None)
        return Stored(
            unit_ids=tuple(one.id for one in kept),
            merged=tuple(one.merged for one in kept),
            pair_ids=pair_ids,
            credited=credited,
            unknown_credits=unknown,
        )

    def feedback(self, unit_id: str, feedback: Feedback, outcome: Outcome | None = None) -> MemoryUnit:
        with self._work(write=True) as rows:
            return self._pen(rows).feedback(unit_id, feedback, outcome)

    def forget(self, unit_ids: Sequence[str]) -> int:
        with self._work(write=True) as rows:
            count = self._pen(rows).forget(unit_ids)
        with self._lock, store_errors(self._path):
            # The write-ahead log still holds the text; where a reader keeps it, the next checkpoint clears it.
            self._rows.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return count

    def import_(
        self,
        lines: Iterable[str | bytes | dict[str, object]],
        *,
        dry_run: bool = False,
        restore: bool = False,
        namespace: str | None = None,
        listener: Progress | None = None,
    ) -> ImportReport:
        if dry_run:
            return self._rehearse(lines, restore=restore, namespace=namespace, listener=listener)
        broken: list[BrokenLine] = []
        values = read_lines(lines, broken)
        report = ImportReport()
        done = 0
        while batch := tuple(islice(values, IMPORT_BATCH)):
            change = _arriving(batch, restore=restore, namespace=namespace)
            kept, pair_ids, _ = self._store(change, None if restore else self._merge_similarity, restored=restore)
            known = sum(one.known for one in kept)
            merged = sum(one.merged for one in kept) - known
            report = ImportReport(
                added=report.added + len(kept) - known - merged,
                merged=report.merged + merged,
                known=report.known + known,
                pairs=report.pairs + len(pair_ids),
            )
            done += len(batch)
            if listener is not None:
                listener(done, done)
        return report.model_copy(update={"broken": tuple(broken)})

    def reembed(self, listener: Progress | None = None) -> int:
        return reembed(lambda: self._work(write=True), self._embedder, listener)

    def close(self) -> None:
        with self._lock:
            self._rows.close()

    def _writer(self, rows: sqlite3.Connection) -> Writer:
        self._live.follow(rows)
        return self._pen(rows)

    # -- inside -------------------------------------------------------------------------------------------------

    @contextmanager
    def _work(self, *, write: bool) -> Iterator[sqlite3.Connection]:
        """A transaction, alone among this process's threads."""
        with self._lock, store_errors(self._path):
            try:
                with transaction(self._rows, write=write):
                    yield self._rows
            except BaseException:
                if write:
                    self._live.invalidate("a write was rolled back")
                raise

    def _followed(self, rows: sqlite3.Connection, owner: str) -> Shelf:
        self._live.follow(rows)
        return self._live.shelf(owner)

    def _embed(self, texts: Sequence[tuple[str, str | None]], masked: int = 0) -> "tuple[Vectors, ...]":
        return vectors_of(self._embedder, texts, masked, blended=self._blend is not None)

    def _same_dimension(self, rows: sqlite3.Connection, vectors: Vectors) -> None:
        (stored,) = _one(rows, "SELECT dimension FROM state")
        if stored not in (None, len(vectors.question)):
            raise EmbedderMismatchError(
                f"the stored vectors have {stored} dimensions, the embedder now gives {len(vectors.question)}: "
                "the model behind it was changed; run `mia memory reembed`, or bring the old one back"
            )

    def _rank(
        self,
        rows: sqlite3.Connection,
        bucket: Bucket | None,
        query: MemoryQuery,
        k: int,
        asked: Vectors,
        category: int | None,
    ) -> "tuple[Ranking, tuple[Hit, ...]]":
        """The best of one bucket, by the paper's score or by the blend."""
        if self._blend is None:
            ranking = rank(bucket, query, k, asked.question, asked.caption, self._weights, category)
            return ranking, sound(rows, self._hits(rows, ranking))
        question = Asked(asked.question, asked.caption, asked.masked, shaped(asked.shape))
        given = (self._weights, self._blend, category, partial(masked_rows, rows), utc_now(), self._environment)
        pool = pool_of(bucket, query, question, *given) if bucket is not None and k else None
        ranking = contest(pool, query, self._blend, k)
        return shown_apart(ranking, sound(rows, self._hits(rows, ranking)), k, self._blend)

    def _pen(self, rows: sqlite3.Connection) -> Writer:
        return Writer(rows, self._live, self._blend, self._environment)

    def _hits(self, rows: sqlite3.Connection, ranking: Ranking) -> "tuple[Hit, ...]":
        statement = f"SELECT {UNIT_COLUMNS} FROM units u WHERE seq = ?"
        return tuple(make_hit(unit_of(_one(rows, statement, one.seq)), one) for one in ranking.best)

    def _store(
        self, c: Consolidation, merge_similarity: float | None, *, restored: bool = False
    ) -> "tuple[tuple[Kept, ...], tuple[str, ...], tuple[int, tuple[str, ...]]]":
        for unit in c.units:
            if unit.wins > unit.uses:
                raise InputError(f"unit {unit.id!r} has {unit.wins} wins in {unit.uses} uses: nothing was stored")
        if not (c.units or c.pairs or c.credits or c.trials):
            return (), (), (0, ())
        texts = [(unit.question, unit.caption) for unit in c.units] + [
            (pair.question, pair.caption) for pair in c.pairs
        ]
        vectors = self._embed(texts, masked=len(c.units))
        unit_vectors, pair_vectors = vectors[: len(c.units)], vectors[len(c.units) :]
        with self._work(write=True) as rows:
            self._live.follow(rows)
            writer = self._pen(rows)
            if vectors:
                self._same_dimension(rows, vectors[0])
                writer.claim(self._embedder.identity, len(vectors[0].question))
            kept = tuple(
                writer.unit(unit, one, merge_similarity, restored=restored)
                for unit, one in zip(c.units, unit_vectors, strict=True)
            )
            alike = None if restored else self._merge_similarity
            pair_ids = tuple(writer.pair(pair, one, alike) for pair, one in zip(c.pairs, pair_vectors, strict=True))
            credit = writer.credits(c.credits, () if restored else c.trials)
            writer.trials(c.trials, restored=restored)
            writer.fit(c.units, self._capacity)
        return kept, pair_ids, credit

    def _rehearse(
        self,
        lines: Iterable[str | bytes | dict[str, object]],
        *,
        restore: bool,
        namespace: str | None,
        listener: Progress | None,
    ) -> ImportReport:
        """The real import, into a copy that is thrown away."""
        with TemporaryDirectory() as folder, store_errors(self._path):
            copy = Path(folder) / "copy.sqlite3"
            target = sqlite3.connect(copy)
            try:
                with self._lock:
                    self._rows.backup(target)
            finally:
                target.close()
            bank = SqliteBank.open(copy, self._embedder, weights=self._weights, merge_similarity=self._merge_similarity)
            bank._capacity = self._capacity
            try:
                report = bank.import_(lines, restore=restore, namespace=namespace, listener=listener)
            finally:
                bank.close()
        return report.model_copy(update={"dry_run": True})


def _one(rows: sqlite3.Connection, statement: str, *given: object) -> sqlite3.Row:
    row: sqlite3.Row = rows.execute(statement, given).fetchone()
    return row


def _arriving(batch: Sequence[MemoryUnit | PlanPair | Trial], *, restore: bool, namespace: str | None) -> Consolidation:
    moved = {} if namespace is None else {"namespace": namespace}
    units = [one.model_copy(update=moved) for one in batch if isinstance(one, MemoryUnit)]
    pairs = [one.model_copy(update=moved) for one in batch if isinstance(one, PlanPair)]
    # Outcomes are evidence of this bank's own use: only one's own export brings them back.
    trials = [one for one in batch if isinstance(one, Trial)] if restore and namespace is None else []
    return Consolidation(
        units=tuple(units if restore else map(adopted, units)), pairs=tuple(pairs), trials=tuple(trials)
    )
