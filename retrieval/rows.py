"""Rows of the bank's tables as values, and the statements that write them."""

from collections.abc import Iterable, Sequence

import numpy as np
import orjson

from mia_skill.core.types import MemoryUnit, PlanPair
from retrieval.lineage import TRUSTED, least
from retrieval.shape import features
from retrieval.tables import Row, Tables
from retrieval.value import Evidence
from retrieval.vectors import Rows

__all__ = [
    "PAIR_COLUMNS",
    "SEEN",
    "UNIT_COLUMNS",
    "first_evidence",
    "insert_pair",
    "insert_unit",
    "masked_rows",
    "next_change",
    "pair_of",
    "put_vectors",
    "shape_all",
    "unit_of",
    "update_unit",
]

UNIT_FIELDS = (
    *("id", "namespace", "modality", "category", "outcome", "question", "caption", "workflow", "plan"),
    *("uses", "wins", "steps", "feedback", "provenance", "status", "created_at", "updated_at"),
)
PAIR_FIELDS = (
    *("id", "namespace", "modality", "category", "question", "caption", "good_plan", "bad_plan", "created_at"),
)
UNIT_COLUMNS = ", ".join(f"u.{name}" for name in ("seq", *UNIT_FIELDS))
SEEN = "seen_uses, seen_wins, seen_at, seen_in"
"""The fading evidence of a unit (`retrieval.value.Evidence`)."""
PAIR_COLUMNS = ", ".join(f"p.{name}" for name in ("seq", *PAIR_FIELDS))


def unit_of(row: Row) -> MemoryUnit:
    """The unit of a row that holds `UNIT_COLUMNS`."""
    fields = {name: row[name] for name in UNIT_FIELDS}
    for name in ("feedback", "provenance"):
        fields[name] = orjson.loads(fields[name])
    return MemoryUnit.model_validate(fields)


def pair_of(row: Row) -> PlanPair:
    """The pair of a row that holds `PAIR_COLUMNS`."""
    return PlanPair.model_validate({name: row[name] for name in PAIR_FIELDS})


def unit_fields(unit: MemoryUnit) -> dict[str, object]:
    fields = unit.model_dump(mode="json")
    for name in ("feedback", "provenance"):
        fields[name] = orjson.dumps(fields[name]).decode()
    # Asked for by the recursive query on lineages.
    return {**fields, "tainted": int(least(unit.provenance.origins) not in TRUSTED)}


def insert_unit(rows: Tables, unit: MemoryUnit, digest: str, change: int) -> int:
    """Write a new unit with its fingerprint; returns its seq."""
    seen = dict(zip(SEEN.split(", "), first_evidence(unit), strict=True))
    return _insert(rows, "units", {**unit_fields(unit), **seen, "digest": digest, "change": change})


def first_evidence(unit: MemoryUnit) -> Evidence:
    """Of a new unit: the uses it came with."""
    return Evidence(unit.uses, unit.wins, unit.updated_at.timestamp())


def insert_pair(rows: Tables, pair: PlanPair, change: int) -> int:
    """Write a new pair; returns its seq."""
    return _insert(rows, "pairs", {**pair.model_dump(mode="json"), "change": change})


def update_unit(rows: Tables, seq: int, unit: MemoryUnit, change: int) -> None:
    """Overwrite all fields of a unit; uses and wins that are new are new evidence."""
    fields = {**unit_fields(unit), "change": change}
    assigned = ", ".join(f"{name} = :{name}" for name in fields)
    seen = "seen_uses = seen_uses + :uses - uses, seen_wins = seen_wins + :wins - wins"
    rows.execute(f"UPDATE units SET {seen}, {assigned} WHERE seq = :seq", {**fields, "seq": seq})


def put_vectors(
    rows: Tables,
    owner: str,
    seq: int,
    question: bytes,
    caption: bytes | None,
    masked: bytes | None = None,
    shape: bytes | None = None,
) -> None:
    """Write the vectors of one row, and the features of its question."""
    statement = (
        "INSERT OR REPLACE INTO vectors (owner, seq, question, caption, masked, shape) VALUES (?, ?, ?, ?, ?, ?)"
    )
    rows.execute(statement, (owner, seq, question, caption, masked, shape))


def masked_rows(rows: Tables, seqs: Sequence[int]) -> list[Rows | None]:
    """The masked vectors of units, in the order asked; None where there is none."""
    places = ", ".join("?" * len(seqs))
    statement = f"SELECT seq, masked FROM vectors WHERE owner = 'unit' AND masked IS NOT NULL AND seq IN ({places})"
    found = {seq: np.frombuffer(masked, dtype="<f4") for seq, masked in rows.execute(statement, seqs)}
    return [found.get(seq) for seq in seqs]


def shape_all(rows: Tables) -> None:
    """Give units of an older schema their features; their masked vectors come with the next re-embedding."""
    found = rows.execute("SELECT seq, question FROM units ORDER BY seq").fetchall()
    shapes = [(features(row["question"]).tobytes(), row["seq"]) for row in found]
    rows.executemany("UPDATE vectors SET shape = ? WHERE owner = 'unit' AND seq = ?", shapes)


def next_change(rows: Tables) -> int:
    """Count one more change; the write transaction that calls it owns the number."""
    rows.execute("UPDATE state SET change = change + 1")
    return int(rows.execute("SELECT change FROM state").fetchone()[0])


def _insert(rows: Tables, table: str, fields: dict[str, object]) -> int:
    names: Iterable[str] = fields
    places = ", ".join(f":{name}" for name in names)
    statement = f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({places}) RETURNING seq"
    (seq,) = rows.execute(statement, fields).fetchone()
    return int(seq)
