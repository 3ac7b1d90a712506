"""All vectors anew: staged beside the old ones, swapped in by one transaction (crash-safe, resumable)."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from mia_skill.core.errors import BankError
from retrieval.bank import Progress
from retrieval.rows import next_change, shape_all
from retrieval.shape import masked_text
from retrieval.tables import Row, Tables
from retrieval.vectors import Embedder, Vectors, blob

__all__ = ["Staging", "reembed", "settle_swap"]

BATCH = 64
Work = Callable[[], AbstractContextManager[Tables]]
"""Opens a write transaction of the bank."""

UNSTAGED = """
    SELECT 'unit' AS owner, seq, question, caption FROM units r WHERE NOT EXISTS (
        SELECT 1 FROM staged_vectors s WHERE s.embedder = :embedder AND s.owner = 'unit' AND s.seq = r.seq)
    UNION ALL
    SELECT 'pair', seq, question, caption FROM pairs r WHERE NOT EXISTS (
        SELECT 1 FROM staged_vectors s WHERE s.embedder = :embedder AND s.owner = 'pair' AND s.seq = r.seq)
"""


class Staging(Protocol):
    """New vectors beside the old ones."""

    def put(self, rows: Tables, identity: str, staged: Sequence[tuple[str, int, Vectors]]) -> None:
        """Store some."""
        ...

    def swap(self, rows: Tables, identity: str) -> bool:
        """Put them in the place of the old; False, with them dropped, where they are of several dimensions."""
        ...


def reembed(work: Work, embedder: Embedder, listener: Progress | None, staging: "Staging | None" = None) -> int:
    """Embed what is not staged yet, batch by batch without holding a lock, then swap. Returns the texts embedded.

    Raises:
        BankError: the embedder changed its dimension on the way; the old vectors are in place.
    """
    identity = embedder.identity
    staging = staging or SqliteStaging()
    done = texts = 0
    while True:
        with work() as rows:
            todo = rows.execute(f"{UNSTAGED} LIMIT {BATCH}", {"embedder": identity}).fetchall()
            (total,) = rows.execute("SELECT (SELECT count(*) FROM units) + (SELECT count(*) FROM pairs)").fetchone()
            if not todo:
                # Checked and swapped under one lock: nothing can have come in between.
                if staging.swap(rows, identity):
                    return texts
                break
        texts += _stage(work, embedder, staging, todo)
        done += len(todo)
        if listener is not None:
            listener(min(done, total), total)
    raise BankError("the embedder changed its dimension while re-embedding: run `mia memory reembed` once more")


def _stage(work: Work, embedder: Embedder, staging: Staging, todo: list[Row]) -> int:
    captioned = [row for row in todo if row["caption"] is not None]
    units = [row for row in todo if row["owner"] == "unit"]
    texts = [row["question"] for row in todo] + [row["caption"] for row in captioned]
    vectors = embedder.embed([*texts, *(masked_text(row["question"]) for row in units)])
    keyed = [(row["owner"], row["seq"]) for row in captioned]
    captions = dict(zip(keyed, vectors[len(todo) : len(texts)], strict=True))
    masked = dict(zip([("unit", row["seq"]) for row in units], vectors[len(texts) :], strict=True))
    keys = ((row["owner"], row["seq"]) for row in todo)
    made = [(*key, Vectors(row, captions.get(key), masked.get(key))) for key, row in zip(keys, vectors, strict=False)]
    with work() as rows:
        staging.put(rows, embedder.identity, made)
    return len(texts)


class SqliteStaging:
    """`Staging` where vectors are bytes."""

    def put(self, rows: Tables, identity: str, staged: Sequence[tuple[str, int, Vectors]]) -> None:
        rows.executemany(
            "INSERT OR REPLACE INTO staged_vectors (embedder, owner, seq, question, caption, masked) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    *(identity, owner, seq, blob(made.question)),
                    *(None if row is None else blob(row) for row in (made.caption, made.masked)),
                )
                for owner, seq, made in staged
            ],
        )

    def swap(self, rows: Tables, identity: str) -> bool:
        statement = "SELECT DISTINCT length(question) FROM staged_vectors WHERE embedder = ?"
        sizes = [size for (size,) in rows.execute(statement, (identity,))]
        if len(sizes) > 1:
            rows.execute("DELETE FROM staged_vectors WHERE embedder = ?", (identity,))
            return False
        rows.execute("DELETE FROM vectors")
        for owner, table in (("unit", "units"), ("pair", "pairs")):
            rows.execute(
                "INSERT INTO vectors (owner, seq, question, caption, masked) "
                "SELECT owner, seq, question, caption, masked FROM staged_vectors "
                f"WHERE embedder = ? AND owner = ? AND seq IN (SELECT seq FROM {table})",
                (identity, owner),
            )
        rows.execute("DELETE FROM staged_vectors")
        shape_all(rows)
        settle_swap(rows, identity, sizes[0] // 4 if sizes else None)
        return True


def settle_swap(rows: Tables, identity: str, dimension: int | None) -> None:
    """Say whose vectors they are now. Every process, this one included, loads anew."""
    change = next_change(rows)
    given = (None if dimension is None else identity, dimension, change)
    rows.execute("UPDATE state SET embedder = ?, dimension = ?, forgotten_below = ?", given)
