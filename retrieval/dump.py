"""Lines of an export."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

from retrieval.log import entries
from retrieval.places import Places
from retrieval.rows import PAIR_COLUMNS, UNIT_COLUMNS, pair_of, unit_of
from retrieval.tables import Tables
from retrieval.transfer import header, log_line, pair_line, trial_line, unit_line
from retrieval.trials import all_trials
from retrieval.vectors import Vectors

__all__ = ["exported"]

CHUNK = 256
"""Rows whose vectors are read at once."""


def exported(rows: Tables, places: Places, *, log: bool, vectors: bool) -> Iterator[dict[str, object]]:
    """Lines of an export; the caller's transaction is the one moment that is exported."""
    count = "SELECT (SELECT count(*) FROM units), (SELECT count(*) FROM pairs), embedder FROM state"
    units, pairs, embedder = rows.execute(count).fetchone()
    yield header(units, pairs, embedder if vectors else None)
    beside = places.vectors if vectors else _no_vectors
    found = rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u ORDER BY seq")
    while chunk := tuple(islice(found, CHUNK)):
        stored = beside(rows, "unit", [row["seq"] for row in chunk])
        yield from (unit_line(unit_of(row), stored.get(row["seq"])) for row in chunk)
    found = rows.execute(f"SELECT {PAIR_COLUMNS} FROM pairs p ORDER BY seq")
    while chunk := tuple(islice(found, CHUNK)):
        stored = beside(rows, "pair", [row["seq"] for row in chunk])
        yield from (pair_line(pair_of(row), stored.get(row["seq"])) for row in chunk)
    for trial in all_trials(rows):
        yield trial_line(trial)
    for entry in entries(rows) if log else ():
        yield log_line(entry)


def _no_vectors(rows: Tables, owner: str, seqs: Sequence[int]) -> "Mapping[int, Vectors]":
    return {}
