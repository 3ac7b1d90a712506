"""The memory bank on SQLite: rows are the truth, the FAISS index in memory follows them."""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import RLock
from typing import Literal

from mia_skill.core.config import BlendWeights, ScoreWeights
from retrieval.bank import BankHealth, Progress
from retrieval.dump import exported
from retrieval.inspect import add_functions, health_of
from retrieval.live import EXACT_UP_TO, LiveIndex
from retrieval.reembed import reembed
from retrieval.schema import SCHEMA_VERSION, connect, store_errors, transaction
from retrieval.standing import Rules
from retrieval.table_bank import BankSettings, TableBank
from retrieval.transfer import ImportReport
from retrieval.vectors import Embedder

__all__ = ["SqliteBank"]


class SqliteBank(TableBank):
    """A `Bank` in one SQLite file. Threads take turns; processes see each other's writes at their next read."""

    def __init__(
        self,
        path: Path,
        rows: sqlite3.Connection,
        embedder: Embedder,
        settings: BankSettings,
        exact_up_to: int = EXACT_UP_TO,
    ) -> None:
        blended = settings.scoring == "blend"
        self._live = LiveIndex(embedder.identity, masked=blended, exact_up_to=exact_up_to if blended else None)
        super().__init__(embedder, self._live, settings)
        self._path = path
        self._exact_up_to = exact_up_to
        self._rows = rows
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
        canaries: Rules | None = None,
        exact_up_to: int = EXACT_UP_TO,
        for_reembed: bool = False,
        busy_timeout_s: float = 15.0,
    ) -> "SqliteBank":
        """Open the bank, made if it is not there. The index is loaded at the first recall or write.

        Of buckets with more than `exact_up_to` units it holds vectors of half precision, and reads those that decide;
        not with the paper's score, which needs every similarity of a bucket.

        Raises:
            EmbedderMismatchError: its vectors are another embedder's; `for_reembed=True` opens it all the same, and
                then everything works that needs no vector.
            BankError: see `retrieval.schema.connect`.
        """
        rows = connect(path, busy_timeout_s=busy_timeout_s)
        given = (weights or ScoreWeights(), merge_similarity, capacity, scoring, blend or BlendWeights(), environment)
        settings = BankSettings(*given, canaries or Rules())
        bank = cls(path, rows, embedder, settings, exact_up_to)
        try:
            add_functions(rows)
            if not for_reembed:
                with bank._work(write=False):
                    bank._live.check(rows)
        except BaseException:
            rows.close()
            raise
        return bank

    def export(self, *, log: bool = False, vectors: bool = False) -> Iterator[dict[str, object]]:
        # A connection of its own: its read transaction is the one moment that is exported.
        rows = connect(self._path)
        try:
            with store_errors(self._path), transaction(rows, write=False):
                yield from exported(rows, self._places, log=log, vectors=vectors)
        finally:
            rows.close()

    def health(self) -> BankHealth:
        with self._lock:
            return health_of(self._path, self._rows, self._live, SCHEMA_VERSION)

    def forget(self, unit_ids: Sequence[str]) -> int:
        count = super().forget(unit_ids)
        with self._lock, store_errors(self._path):
            # The write-ahead log still holds the text; where a reader keeps it, the next checkpoint clears it.
            self._rows.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return count

    def reembed(self, listener: Progress | None = None) -> int:
        return reembed(lambda: self._work(write=True), self._embedder, listener)

    def close(self) -> None:
        with self._lock:
            self._rows.close()

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

    def _rehearse(
        self,
        lines: Iterable[str | bytes | dict[str, object]],
        *,
        restore: bool,
        vectors: bool,
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
            bank = SqliteBank(copy, connect(copy), self._embedder, self._settings, self._exact_up_to)
            try:
                report = bank.import_(lines, restore=restore, vectors=vectors, namespace=namespace, listener=listener)
            finally:
                bank.close()
        return report.model_copy(update={"dry_run": True})
