"""Rows of the bank's tables as values, and the statements that write them."""

import sqlite3
from collections.abc import Iterable

import orjson

from mia_skill.core.types import MemoryUnit, PlanPair
from retrieval.lineage import TRUSTED, least
from retrieval.vectors import Rows

__all__ = [
    "PAIR_COLUMNS",
    "UNIT_COLUMNS",
    "blob",
    "insert_pair",
    "insert_unit",
    "next_change",
    "pair_of",
    "put_vectors",
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
PAIR_COLUMNS = ", ".join(f"p.{name}" for name in ("seq", *PAIR_FIELDS))


def unit_of(row: sqlite3.Row) -> MemoryUnit:
    """The unit of a row that holds `UNIT_COLUMNS`."""
    fields = {name: row[name] for name in UNIT_FIELDS}
    for name in ("feedback", "provenance"):
        fields[name] = orjson.loads(fields[name])
    return MemoryUnit.model_validate(fields)


def pair_of(row: sqlite3.Row) -> PlanPair:
    """The pair of a row that holds `PAIR_COLUMNS`."""
    return PlanPair.model_validate({name: row[name] for name in PAIR_FIELDS})


def unit_fields(unit: MemoryUnit) -> dict[str, object]:
    fields = unit.model_dump(mode="json")
    for name in ("feedback", "provenance"):
        fields[name] = orjson.dumps(fields[name]).decode()
    # Asked for by the recursive query on lineages.
    return {**fields, "tainted": int(least(unit.provenance.origins) not in TRUSTED)}


def insert_unit(rows: sqlite3.Connection, unit: MemoryUnit, change: int) -> int:
    """Write a new unit; returns its seq."""
    return _insert(rows, "units", {**unit_fields(unit), "change": change})


def insert_pair(rows: sqlite3.Connection, pair: PlanPair, change: int) -> int:
    """Write a new pair; returns its seq."""
    return _insert(rows, "pairs", {**pair.model_dump(mode="json"), "change": change})


def update_unit(rows: sqlite3.Connection, seq: int, unit: MemoryUnit, change: int) -> None:
    """Overwrite all fields of a unit."""
    fields = {**unit_fields(unit), "change": change}
    assigned = ", ".join(f"{name} = :{name}" for name in fields)
    rows.execute(f"UPDATE units SET {assigned} WHERE seq = :seq", {**fields, "seq": seq})


def put_vectors(rows: sqlite3.Connection, owner: str, seq: int, question: bytes, caption: bytes | None) -> None:
    """Write the vectors of one row."""
    rows.execute("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", (owner, seq, question, caption))


def next_change(rows: sqlite3.Connection) -> int:
    """Count one more change; the write transaction that calls it owns the number."""
    rows.execute("UPDATE state SET change = change + 1")
    return int(rows.execute("SELECT change FROM state").fetchone()[0])


def blob(row_D: Rows) -> bytes:
    """A vector as it is stored: little-endian float32."""
    return row_D.astype("<f4").tobytes()


def _insert(rows: sqlite3.Connection, table: str, fields: dict[str, object]) -> int:
    names: Iterable[str] = fields
    places = ", ".join(f":{name}" for name in names)
    cursor = rows.execute(f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({places})", fields)
    assert cursor.lastrowid is not None
    return cursor.lastrowid
