"""HNSW indexes of large buckets: made when one passes the size, dropped before vectors of another kind come."""

from collections.abc import Sequence

from retrieval.postgres import PostgresTables
from retrieval.postgres_places import as_fields, index_name, literal
from retrieval.reembed import settle_swap
from retrieval.tables import Tables
from retrieval.vectors import Vectors

__all__ = ["PostgresStaging", "drop_indexes", "make_indexes"]

M, EF_CONSTRUCTION = 16, 64
"""pgvector's defaults; its recall on the bank's questions is in docs/lab_notes.md."""
MEMORY = "512MB"
"""While an index is made; one of 100,000 vectors of 384 dimensions fits."""


def make_indexes(rows: PostgresTables, exact_up_to: int, buckets: Sequence[str] | None = None) -> tuple[str, ...]:
    """Index the buckets over the size that have none, of those given or of all; returns them. Others read and write
    meanwhile. Outside a transaction; one process at a time, the others leave it to that one."""
    if not rows.execute("SELECT pg_try_advisory_lock(hashtext('mia ' || current_schema()))").fetchone()[0]:
        return ()
    try:
        found = rows.execute(
            "SELECT bucket FROM vectors WHERE owner = 'unit' AND (?::text[] IS NULL OR bucket = ANY(?)) "
            "GROUP BY bucket HAVING count(*) > ? ORDER BY bucket",
            (None if buckets is None else list(buckets), list(buckets or ()), exact_up_to),
        ).fetchall()
        wanting = [row[0] for row in found if not _ready(rows, row[0])]
        (dimension,) = rows.execute("SELECT dimension FROM state").fetchone()
        for bucket in wanting:
            _make(rows, bucket, dimension)
        return tuple(wanting)
    finally:
        rows.execute("SELECT pg_advisory_unlock(hashtext('mia ' || current_schema()))")


def drop_indexes(rows: Tables) -> None:
    """All of them; they are made again when a bucket is next written to."""
    found = rows.execute(
        "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND indexname LIKE 'hnsw!_%' ESCAPE '!'"
    ).fetchall()
    for row in found:
        rows.execute(f'DROP INDEX "{row[0]}"')


class PostgresStaging:
    """`retrieval.reembed.Staging` on pgvector."""

    def put(self, rows: Tables, identity: str, staged: Sequence[tuple[str, int, Vectors]]) -> None:
        rows.executemany(
            "INSERT INTO staged_vectors (embedder, owner, seq, question, caption, masked) "
            "VALUES (?, ?, ?, ?::vector, ?::vector, ?) ON CONFLICT (embedder, owner, seq) DO UPDATE SET "
            "question = excluded.question, caption = excluded.caption, masked = excluded.masked",
            [(identity, owner, seq, *as_fields(made)) for owner, seq, made in staged],
        )

    def swap(self, rows: Tables, identity: str) -> bool:
        statement = "SELECT DISTINCT vector_dims(question) FROM staged_vectors WHERE embedder = ?"
        sizes = [size for (size,) in rows.execute(statement, (identity,))]
        if len(sizes) > 1:
            rows.execute("DELETE FROM staged_vectors WHERE embedder = ?", (identity,))
            return False
        drop_indexes(rows)
        rows.execute("DELETE FROM vectors")
        for owner, source, bucket in (("unit", "units", "t.bucket"), ("pair", "pairs", "t.namespace")):
            rows.execute(
                "INSERT INTO vectors (owner, seq, bucket, question, caption, masked) "
                f"SELECT s.owner, s.seq, {bucket}, s.question, s.caption, s.masked FROM staged_vectors s "
                f"JOIN {source} t ON t.seq = s.seq WHERE s.embedder = ? AND s.owner = ?",
                (identity, owner),
            )
        rows.execute("DELETE FROM staged_vectors")
        settle_swap(rows, identity, sizes[0] if sizes else None)
        return True


def _ready(rows: PostgresTables, bucket: str) -> bool:
    statement = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(?)"
    found = rows.execute(statement, (index_name(bucket),)).fetchone()
    if found is not None and not found[0]:
        # Left by a process that was killed while it made the index.
        rows.execute(f'DROP INDEX CONCURRENTLY "{index_name(bucket)}"')
    return found is not None and bool(found[0])


def _make(rows: PostgresTables, bucket: str, dimension: int) -> None:
    rows.execute("SELECT set_config('maintenance_work_mem', ?, false)", (MEMORY,))
    rows.execute(
        f'CREATE INDEX CONCURRENTLY "{index_name(bucket)}" ON vectors USING hnsw '
        f"((question::halfvec({dimension})) halfvec_ip_ops) WITH (m = {M}, ef_construction = {EF_CONSTRUCTION}) "
        f"WHERE owner = 'unit' AND bucket = {literal(bucket)}"
    )
