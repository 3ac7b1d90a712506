"""The memory bank on PostgreSQL with pgvector: many hosts, one bank (facts: past one machine).

Writers take turns and embed outside their turn. A connection that is lost rolls its transaction back; the next call
connects anew. What one process has acknowledged, all others see at once.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Literal

from mia_skill.core.config import BlendWeights, ScoreWeights
from mia_skill.core.errors import BankError, EmbedderMismatchError
from mia_skill.core.types import MemoryUnit
from retrieval.bank import BankHealth, Consolidation, Progress, Stored
from retrieval.dump import exported
from retrieval.places import bucket_of
from retrieval.postgres import PostgresTables, connect, postgres_errors, shown_url, transaction
from retrieval.postgres_index import PostgresStaging, make_indexes
from retrieval.postgres_places import EXACT_UP_TO, PostgresPlaces, bucket_name
from retrieval.postgres_schema import SCHEMA_VERSION, prepare
from retrieval.reembed import reembed
from retrieval.standing import Rules
from retrieval.table_bank import BankSettings, TableBank
from retrieval.tables import Tables
from retrieval.transfer import ImportReport
from retrieval.vectors import Embedder

__all__ = ["PostgresBank"]

SIZES = """
    SELECT (SELECT count(*) FROM units), (SELECT count(*) FROM pairs),
        (SELECT count(*) FROM vectors WHERE owner = 'unit'), (SELECT count(*) FROM vectors WHERE owner = 'pair'),
        (SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND c.relkind = 'r'),
        (SELECT count(*) FROM pg_indexes WHERE schemaname = current_schema() AND starts_with(indexname, 'hnsw_')),
        (SELECT extversion FROM pg_extension WHERE extname = 'vector'), current_setting('server_version')
"""


class PostgresBank(TableBank):
    """A `Bank` in one schema of a PostgreSQL database. Threads of a process take turns on its one connection."""

    def __init__(
        self,
        url: str,
        schema: str,
        embedder: Embedder,
        settings: BankSettings,
        *,
        exact_up_to: int = EXACT_UP_TO,
        busy_timeout_s: float = 5.0,
    ) -> None:
        super().__init__(embedder, PostgresPlaces(embedder.identity, settings.environment, exact_up_to), settings)
        self._url = url
        self._schema = schema
        self._where = shown_url(url)
        self._exact_up_to = exact_up_to
        self._busy_timeout_s = busy_timeout_s
        self._lock = RLock()
        self._rows: PostgresTables | None = None
        self._rehearsing: PostgresTables | None = None
        self._closed = False

    @classmethod
    def open(
        cls,
        url: str,
        embedder: Embedder,
        *,
        schema: str = "mia",
        weights: ScoreWeights | None = None,
        merge_similarity: float = 0.97,
        capacity: int | None = None,
        scoring: Literal["paper", "blend"] = "blend",
        blend: BlendWeights | None = None,
        environment: str = "",
        canaries: Rules | None = None,
        for_reembed: bool = False,
        busy_timeout_s: float = 5.0,
        exact_up_to: int = EXACT_UP_TO,
    ) -> "PostgresBank":
        """Open the bank at a `postgresql://` address; its schema is made if it is not there. From `exact_up_to` units
        of a bucket on, the blend's candidates come from an HNSW index.

        Raises:
            MissingExtraError: psycopg is not installed.
            EmbedderMismatchError: its vectors are another embedder's; `for_reembed=True` opens it all the same.
            BankUnreachableError: the server is not there.
            BankError: see `retrieval.postgres.postgres_errors`.
        """
        given = (weights or ScoreWeights(), merge_similarity, capacity, scoring, blend or BlendWeights(), environment)
        settings = BankSettings(*given, canaries or Rules())
        timing = {"busy_timeout_s": busy_timeout_s}
        bank = cls(url, schema, embedder, settings, exact_up_to=exact_up_to, **timing)
        try:
            with postgres_errors(bank._where):
                prepare(bank._connected(), schema)
            if not for_reembed:
                with bank._work(write=False) as rows:
                    bank._places.check(rows)
        except BaseException:
            bank.close()
            raise
        return bank

    def consolidate(self, c: Consolidation) -> Stored:
        stored = super().consolidate(c)
        self._index(c.units)
        return stored

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
        report = super().import_(
            lines, dry_run=dry_run, restore=restore, vectors=vectors, namespace=namespace, listener=listener
        )
        if report.added and not dry_run and self._rehearsing is None:
            # Until the server has counted, it plans for empty tables.
            with self._lock, postgres_errors(self._where):
                self._connected().execute("ANALYZE units, vectors, postings")
        return report

    def export(self, *, log: bool = False, vectors: bool = False) -> Iterator[dict[str, object]]:
        # A connection of its own: its read transaction is the one moment that is exported.
        rows = PostgresTables(connect(self._url, self._schema).connection, streaming=True)
        try:
            with postgres_errors(self._where), transaction(rows, write=False):
                yield from exported(rows, self._places, log=log, vectors=vectors)
        finally:
            rows.close()

    def health(self) -> BankHealth:
        problems: list[str] = []
        numbers: tuple[int, ...] = (0, 0, 0, 0, 0, 0)
        namespaces: tuple[str, ...] = ()
        embedder, build, index = None, "pgvector", "unusable"
        try:
            with self._work(write=False) as rows:
                *numbers_, vector, server = rows.execute(SIZES).fetchone()
                numbers = tuple(int(number) for number in numbers_)
                build = f"pgvector {vector} on PostgreSQL {server}"
                names = rows.execute("SELECT DISTINCT namespace FROM units ORDER BY namespace").fetchall()
                namespaces = tuple(row[0] for row in names)
                embedder = rows.execute("SELECT embedder FROM state").fetchone()[0]
                index = "fresh" if not numbers[5] else f"fresh (hnsw for {numbers[5]} large buckets)"
                self._places.check(rows)
        except EmbedderMismatchError as error:
            index = f"unusable ({type(error).__name__})"
            problems.append(str(error))
        except BankError as error:
            problems.append(str(error))
        for owner, lacking in (("units", numbers[0] - numbers[2]), ("pairs", numbers[1] - numbers[3])):
            if lacking:
                problems.append(f"{lacking} {owner} have no vector and are not recalled: run `mia memory reembed`")
        return BankHealth(
            path=self._where,
            units=numbers[0],
            pairs=numbers[1],
            namespaces=namespaces,
            embedder=embedder,
            schema_version=SCHEMA_VERSION,
            index=index,
            faiss=build,
            size_bytes=numbers[4],
            problems=tuple(problems),
        )

    def reembed(self, listener: Progress | None = None) -> int:
        count = reembed(lambda: self._work(write=True), self._embedder, listener, PostgresStaging())
        self._index(None)
        return count

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._rows is not None:
                self._rows.close()

    # -- inside -------------------------------------------------------------------------------------------------

    @contextmanager
    def _work(self, *, write: bool) -> Iterator[Tables]:
        """A transaction, alone among this process's threads; on a new connection where the old one was lost."""
        with self._lock:
            if self._rehearsing is not None:
                yield self._rehearsing
                return
            with postgres_errors(self._where):
                rows = self._connected()
                with transaction(rows, write=write):
                    yield rows

    def _connected(self) -> PostgresTables:
        if self._closed:
            raise BankError(f"the memory bank {self._where} was closed")
        if self._rows is None or self._rows.connection.closed:
            self._rows = connect(self._url, self._schema, busy_timeout_s=self._busy_timeout_s)
        return self._rows

    def _index(self, units: Sequence[MemoryUnit] | None) -> None:
        """Index the buckets that have grown large; `units` were just stored, None looks at all buckets."""
        buckets = None if units is None else list({bucket_name(bucket_of(unit)) for unit in units})
        if buckets == []:
            return
        with self._lock, postgres_errors(self._where):
            if self._rehearsing is None:
                make_indexes(self._connected(), self._exact_up_to, buckets)

    def _rehearse(
        self,
        lines: Iterable[str | bytes | dict[str, object]],
        *,
        restore: bool,
        vectors: bool,
        namespace: str | None,
        listener: Progress | None,
    ) -> ImportReport:
        """The real import, in a transaction that is rolled back. Other writers wait for its end."""
        with self._lock, postgres_errors(self._where):
            rows = self._connected()
            rows.execute("BEGIN")
            try:
                rows.execute("SELECT 1 FROM state FOR UPDATE")
                self._rehearsing = rows
                report = self.import_(lines, restore=restore, vectors=vectors, namespace=namespace, listener=listener)
            finally:
                self._rehearsing = None
                if not rows.connection.closed:
                    rows.execute("ROLLBACK")
        return report.model_copy(update={"dry_run": True})
