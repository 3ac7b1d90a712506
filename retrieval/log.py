"""The chained log in the bank's own file: written in the transaction of the change it tells of."""

from collections.abc import Iterator

from mia_skill.core.types import MemoryUnit, utc_now
from retrieval.chain import GENESIS, Entry, LogReport, fingerprint, linked, verify
from retrieval.rows import UNIT_COLUMNS, unit_of
from retrieval.tables import Tables

__all__ = ["append", "append_unit", "entries", "verify_log"]

COLUMNS = ("number", "at", "action", "subject", "detail", "digest", "previous", "hash")


def append(rows: Tables, action: str, *, subject: str = "", detail: str = "", digest: str = "") -> None:
    """Add an entry. The caller holds the write transaction, so no two entries follow the same one."""
    last = rows.execute("SELECT number, hash FROM log ORDER BY number DESC LIMIT 1").fetchone()
    number, previous = (last["number"] + 1, last["hash"]) if last else (1, GENESIS)
    entry = linked(previous, number, utc_now(), action, subject=subject, detail=detail, digest=digest)
    given = {**entry.model_dump(), "at": entry.at.isoformat()}
    places = ", ".join(f":{name}" for name in COLUMNS)
    rows.execute(f"INSERT INTO log ({', '.join(COLUMNS)}) VALUES ({places})", given)


def append_unit(rows: Tables, action: str, unit: MemoryUnit, detail: str = "") -> None:
    """Add an entry about a unit as it now is, and note its fingerprint beside it."""
    digest = fingerprint(unit)
    rows.execute("UPDATE units SET digest = ? WHERE id = ?", (digest, unit.id))
    append(rows, action, subject=unit.id, detail=detail, digest=digest)


def entries(rows: Tables) -> Iterator[Entry]:
    """The log, oldest first."""
    for row in rows.execute(f"SELECT {', '.join(COLUMNS)} FROM log ORDER BY number"):
        yield Entry.model_validate(dict(row))


def verify_log(rows: Tables, *, head: str | None = None) -> LogReport:
    """Check the chain, and that every unit is what the log says was stored last."""
    report = verify(entries(rows), head=head)
    if report.first_bad is not None:
        return report
    told = dict(
        rows.execute(
            "SELECT subject, digest FROM log WHERE number IN "
            "(SELECT max(number) FROM log WHERE digest <> '' GROUP BY subject)"
        ).fetchall()
    )
    units = (unit_of(row) for row in rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u ORDER BY seq"))
    changed = tuple(unit.id for unit in units if told.get(unit.id) != fingerprint(unit))
    return report.model_copy(update={"changed_units": changed})
