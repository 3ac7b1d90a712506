"""Rows found by pgvector: a bucket is compared as a whole while it is small, and by an HNSW index when it is large.

The index is one of half-precision vectors for each large bucket, so that no other tenant's units stand in the way of
the right ones; what it finds is compared again with the full vectors. Words are found through the table of postings.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np
import orjson
from numpy.typing import NDArray

from mia_skill.core.types import MemoryUnit, PlanPair
from retrieval.index import ROUNDING
from retrieval.places import Compared, bucket_of, known_state, pair_bucket
from retrieval.postgres_schema import SEPARATOR
from retrieval.postings import PSEUDO, Shaped, shaped
from retrieval.tables import Row, Tables
from retrieval.value import Standing, standing
from retrieval.vectors import Rows, Vectors, blob, received

__all__ = [
    "EXACT_UP_TO",
    "CandidateColumns",
    "PostgresPlaces",
    "as_fields",
    "as_vector",
    "bucket_name",
    "index_name",
    "literal",
]

EXACT_UP_TO = 20_000
"""Units of a bucket up to which all are compared (docs/lab_notes.md)."""
FOUND = 200
"""Candidates that each of the two searches brings from a larger bucket; the blend looks at 64 of each."""
PACKED = np.dtype(
    [
        *(
            ("seq", ">i8"),
            ("sim", ">f4"),
            ("caption_sim", ">f4"),
            ("captioned", ">i2"),
            ("uses", ">i8"),
            ("wins", ">i8"),
        ),
        *(("seen_uses", ">f8"), ("seen_wins", ">f8"), ("seen_at", ">f8"), ("seen_in", ">i8"), ("share", ">f4")),
    ]
)
"""A unit as the server packs it: one value for a whole bucket is much faster to read than a row for each unit."""

SHARES = """
    WITH asked AS (
        SELECT * FROM unnest(:features::bigint[], :impacts::real[]) AS asked(feature, impact)
    ), hit AS (
        SELECT p.seq, p.feature, p.impact FROM postings p WHERE p.bucket = :bucket AND p.feature = ANY(:features)
    ), rarity AS (
        SELECT a.feature, a.impact, ln(1 + (:size - count(h.seq) + 0.5) / (count(h.seq) + 0.5)) AS idf
        FROM asked a LEFT JOIN hit h ON h.feature = a.feature GROUP BY a.feature, a.impact
    ), best AS (
        SELECT greatest(sum(impact * idf), 1e-9) AS best FROM rarity
    ), shares AS (
        SELECT h.seq, least(sum(h.impact * r.idf) / (SELECT best FROM best), 1)::real AS share
        FROM hit h JOIN rarity r ON r.feature = h.feature GROUP BY h.seq
    )
"""
"""BM25 as a share of the best that is possible: `retrieval.postings.Postings.shares` in SQL."""
PACK = """
    SELECT string_agg(
        int8send(u.seq) || float4send((-(v.question <#> :question::vector))::real)
        || float4send(CASE WHEN v.caption IS NULL OR :caption::vector IS NULL THEN 0
                      ELSE -(v.caption <#> :caption::vector) END::real)
        || int2send((v.caption IS NOT NULL)::int::int2) || int8send(u.uses) || int8send(u.wins)
        || float8send(u.seen_uses) || float8send(u.seen_wins) || float8send(u.seen_at)
        || int8send((u.seen_in = :environment)::int::bigint) || float4send(coalesce(s.share, 0)),
        ''::bytea ORDER BY u.seq)
    FROM vectors v JOIN units u ON u.seq = v.seq LEFT JOIN shares s ON s.seq = u.seq
    WHERE v.owner = 'unit' AND v.bucket = :bucket AND (:category::text IS NULL OR u.category = :category)
"""

PAIRS = """
    SELECT string_agg(
        int8send(seq) || float4send((-(question <#> :question::vector))::real)
        || float4send(CASE WHEN caption IS NULL OR :caption::vector IS NULL THEN 0
                      ELSE -(caption <#> :caption::vector) END::real)
        || int2send((caption IS NOT NULL)::int::int2) || decode(repeat('00', 52), 'hex'),
        ''::bytea ORDER BY seq)
    FROM vectors WHERE owner = 'pair' AND bucket = :bucket
"""


def bucket_name(key: Hashable) -> str:
    """A bucket as the tables name it."""
    assert isinstance(key, tuple)
    return SEPARATOR.join("" if part is None else str(part) for part in key)


def as_vector(row_D: Rows) -> str:
    """A vector as pgvector reads it."""
    return orjson.dumps(np.ascontiguousarray(row_D, dtype=np.float32), option=orjson.OPT_SERIALIZE_NUMPY).decode()


def index_name(bucket: str) -> str:
    """Of the HNSW index of a bucket."""
    return f"hnsw_{crc32(bucket.encode()):08x}"


class CandidateColumns:
    """`retrieval.index.Columns` from what the server packed."""

    def __init__(self, packed: NDArray[Any], environment: str) -> None:
        here = crc32(environment.encode())
        self._arrays: dict[str, NDArray[Any]] = {
            name: packed[name].astype(packed[name].dtype.newbyteorder("="))
            for name in ("seq", "uses", "wins", "seen_uses", "seen_wins", "seen_at")
        }
        self._arrays["captioned"] = packed["captioned"].astype(bool)
        self._arrays["category"] = np.zeros(len(packed), dtype=np.int32)
        # The server has told whether it was here; any other number stands for elsewhere.
        self._arrays["seen_in"] = np.where(packed["seen_in"] == 1, here, here ^ 1).astype(np.uint32)
        for name in ("uses", "wins"):
            self._arrays[name] = self._arrays[name].astype(np.float64)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._arrays[name]


class Candidates:
    """`Compared`: units with the similarities to the question they were drawn for."""

    def __init__(self, packed: NDArray[Any], environment: str) -> None:
        self._packed = packed
        self.columns = CandidateColumns(packed, environment)

    def __len__(self) -> int:
        return len(self._packed)

    def rounded_questions(self) -> None:
        """The server compares at full precision."""

    def question_similarities(self, query_D: Rows) -> Rows:
        return np.asarray(self._packed["sim"], dtype=np.float32)

    def caption_similarities(self, query_D: Rows | None) -> Rows | None:
        if query_D is None or not self._packed["captioned"].any():
            return None
        return np.asarray(self._packed["caption_sim"], dtype=np.float32)

    def lexical_shares(self, asked: Shaped) -> Rows:
        return np.asarray(self._packed["share"], dtype=np.float32)

    def masked_products(self, query_D: Rows, at_E: NDArray[np.intp]) -> None:
        """They stay on the server; those of the candidates are fetched."""

    def standing(self, half_life_days: float, elsewhere: float, environment: str) -> Standing:
        return standing(self.columns, half_life_days, elsewhere, environment)


class PostgresPlaces:
    """`Places` on pgvector. Holds nothing of the rows: every process sees every write at once."""

    def __init__(self, identity: str, environment: str, exact_up_to: int = EXACT_UP_TO) -> None:
        self._identity = identity
        self._environment = environment
        self._exact_up_to = exact_up_to

    def follow(self, rows: Tables) -> None:
        self.check(rows)

    def check(self, rows: Tables) -> Row:
        return known_state(rows, self._identity)

    def use(self, dimension: int) -> None:
        """Nothing is kept in memory."""

    def invalidate(self, why: str) -> None:
        """Nothing is kept in memory."""

    def any_in(self, rows: Tables, owner: str, keys: Sequence[Hashable]) -> bool:
        self.check(rows)
        statement = "SELECT 1 FROM vectors WHERE owner = ? AND bucket = ANY(?) LIMIT 1"
        return rows.execute(statement, (owner, [bucket_name(key) for key in keys])).fetchone() is not None

    def compared(
        self, rows: Tables, owner: str, key: Hashable, asked: Vectors, category: str | None, *, every: bool
    ) -> tuple[Compared | None, int | None]:
        bucket = bucket_name(key)
        given = {
            "bucket": bucket,
            "question": as_vector(asked.question),
            "caption": None if asked.caption is None else as_vector(asked.caption),
            "environment": self._environment,
            "category": category,
        }
        if owner == "pair":
            packed = _unpacked(self._pairs(rows, given))
        else:
            packed = _unpacked(self._units(rows, given, asked, every=every))
        found = Candidates(packed, self._environment) if len(packed) else None
        return found, None if category is None else 0

    def close(self, rows: Tables, owner: str, key: Hashable, vectors: Vectors, threshold: float) -> Sequence[int]:
        bucket = bucket_name(key)
        least = threshold - ROUNDING
        alike = "caption IS NULL" if vectors.caption is None else "-(caption <#> :caption::vector) >= :least"
        given = {
            "owner": owner,
            "bucket": bucket,
            "question": as_vector(vectors.question),
            "caption": None if vectors.caption is None else as_vector(vectors.caption),
            "least": least,
            "found": FOUND,
        }
        whole = "SELECT seq, question, caption FROM vectors WHERE owner = :owner AND bucket = :bucket"
        if owner == "unit" and self._indexed(rows, bucket):
            whole = self._nearest(rows, bucket, len(vectors.question))
        found = rows.execute(
            f"SELECT seq FROM ({whole}) AS near WHERE -(question <#> :question::vector) >= :least AND {alike} "
            "ORDER BY question <#> :question::vector, seq",
            given,
        )
        return [int(row[0]) for row in found]

    def keep_unit(self, rows: Tables, seq: int, unit: MemoryUnit, vectors: Vectors) -> None:
        bucket = bucket_name(bucket_of(unit))
        _insert(rows, "unit", seq, bucket, vectors)
        shape = shaped(vectors.shape)
        rows.execute(
            "INSERT INTO postings SELECT ?, feature, ?, impact "
            "FROM unnest(?::bigint[], ?::real[]) AS f(feature, impact)",
            (bucket, seq, shape["feature"].tolist(), shape["impact"].tolist()),
        )

    def keep_pair(self, rows: Tables, seq: int, pair: PlanPair, vectors: Vectors) -> None:
        _insert(rows, "pair", seq, bucket_name(pair_bucket(pair.namespace)), vectors)

    def renew(self, rows: Tables, seq: int, unit: MemoryUnit, vectors: Vectors) -> None:
        """The counts are in the rows."""

    def groups(self, rows: Tables) -> Iterable[tuple[Sequence[int], Rows]]:
        buckets = [
            row[0] for row in rows.execute("SELECT DISTINCT bucket FROM vectors WHERE owner = 'unit'").fetchall()
        ]
        statement = "SELECT seq, vector_send(question) FROM vectors WHERE owner = 'unit' AND bucket = ? ORDER BY seq"
        for bucket in buckets:
            found = rows.execute(statement, (bucket,)).fetchall()
            yield [row[0] for row in found], np.stack([_received(row[1]) for row in found])

    def questions(self, rows: Tables, seqs: Sequence[int]) -> Mapping[int, Rows | None]:
        statement = "SELECT seq, vector_send(question) FROM vectors WHERE owner = 'unit' AND seq = ANY(?)"
        return {seq: _received(vector) for seq, vector in rows.execute(statement, (list(seqs),))}

    def vectors(self, rows: Tables, owner: str, seqs: Sequence[int]) -> Mapping[int, Vectors]:
        statement = (
            "SELECT seq, vector_send(question), vector_send(caption), masked FROM vectors "
            "WHERE owner = ? AND seq = ANY(?)"
        )
        found = rows.execute(statement, (owner, list(seqs))).fetchall()
        return {
            seq: Vectors(_received(question), None if caption is None else _received(caption), received(masked))
            for seq, question, caption, masked in found
        }

    # -- inside -------------------------------------------------------------------------------------------------

    def _units(self, rows: Tables, given: dict[str, Any], asked: Vectors, *, every: bool) -> bytes | None:
        shape = shaped(asked.shape)
        (size,) = rows.execute(
            "SELECT count(*) FROM vectors WHERE owner = 'unit' AND bucket = :bucket", given
        ).fetchone()
        if not size:
            return None
        given = given | {
            "features": shape["feature"].tolist(),
            "impacts": shape["impact"].tolist(),
            "size": PSEUDO + size,
            "found": FOUND,
        }
        packed = PACK
        if not every and size > self._exact_up_to and self._indexed(rows, given["bucket"]):
            nearest = self._nearest(rows, given["bucket"], len(asked.question), category=True)
            worded = "SELECT s.seq FROM shares s JOIN units u ON u.seq = s.seq " + (
                "WHERE :category::text IS NULL OR u.category = :category ORDER BY s.share DESC, s.seq LIMIT :found"
            )
            packed += f" AND u.seq IN ((SELECT seq FROM ({nearest}) AS near) UNION ({worded}))"
        found: bytes | None = rows.execute(SHARES + packed, given).fetchone()[0]
        return found

    def _pairs(self, rows: Tables, given: dict[str, Any]) -> bytes | None:
        found: bytes | None = rows.execute(PAIRS, given).fetchone()[0]
        return found

    def _indexed(self, rows: Tables, bucket: str) -> bool:
        """Is there an index of this bucket, ready for use?"""
        statement = "SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(?) AND indisvalid"
        return rows.execute(statement, (index_name(bucket),)).fetchone() is not None

    def _nearest(self, rows: Tables, bucket: str, dimension: int, *, category: bool = False) -> str:
        """A statement for the nearest of a bucket, by its index."""
        rows.execute("SELECT set_config('hnsw.ef_search', ?, true)", (str(FOUND),))
        rows.execute("SELECT set_config('hnsw.iterative_scan', 'strict_order', true)")
        wanted = ""
        if category:
            wanted = (
                " AND (:category::text IS NULL OR EXISTS "
                "(SELECT 1 FROM units c WHERE c.seq = vectors.seq AND c.category = :category))"
            )
        return (
            f"SELECT seq, question, caption FROM vectors WHERE owner = 'unit' AND bucket = {literal(bucket)}{wanted} "
            f"ORDER BY question::halfvec({dimension}) <#> :question::vector::halfvec({dimension}) LIMIT :found"
        )


def literal(text: str) -> str:
    """A text in a statement. An index over a part of a table is only used where its condition is spelt out."""
    return "E'" + "".join(sign if sign.isascii() and sign.isalnum() else f"\\U{ord(sign):08x}" for sign in text) + "'"


def as_fields(vectors: Vectors) -> tuple[str, str | None, bytes | None]:
    """Question, caption and masked vector as the table takes them."""
    caption = None if vectors.caption is None else as_vector(vectors.caption)
    return as_vector(vectors.question), caption, None if vectors.masked is None else blob(vectors.masked)


def _insert(rows: Tables, owner: str, seq: int, bucket: str, vectors: Vectors) -> None:
    rows.execute(
        "INSERT INTO vectors (owner, seq, bucket, question, caption, masked) VALUES (?, ?, ?, ?::vector, ?::vector, ?)",
        (owner, seq, bucket, *as_fields(vectors)),
    )


def _unpacked(packed: bytes | None) -> NDArray[Any]:
    return np.frombuffer(packed or b"", dtype=PACKED)


def _received(sent: bytes) -> Rows:
    """A vector as `vector_send` gives it: its dimension, two unused bytes, float32 big-endian."""
    return np.frombuffer(sent, dtype=">f4", offset=4).astype(np.float32)
