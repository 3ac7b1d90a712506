"""The check of log and units in stretches, so that a page can check a bank of any size: first the chain from its first
entry on, then every unit against the log, in the order in which they came in."""

import re

from mia_skill.core.errors import InputError
from mia_skill.core.types import Value
from retrieval.chain import GENESIS, Entry, LogReport, fingerprint, verify
from retrieval.log import COLUMNS
from retrieval.rows import UNIT_COLUMNS, unit_of
from retrieval.tables import Tables

__all__ = ["Stretch", "verify_stretch"]

MOST = 20_000
"""Entries or units of one stretch: a second or two."""
CURSOR = re.compile(r"(?P<part>log|units):(?P<place>\d{1,18}):(?P<entries>\d{1,18}):(?P<head>[0-9a-f]{64})", re.ASCII)
START = f"log:0:0:{GENESIS}"


class Stretch(Value):
    """What one stretch found."""

    report: LogReport
    """`entries` and `head` are of all stretches so far, `changed_units` of this one."""
    next_cursor: str | None = None
    """Hand it back for the next stretch; None when all is checked, or the chain is broken."""


def verify_stretch(rows: Tables, limit: int = MOST, cursor: str | None = None) -> Stretch:
    """The next `limit` entries of the chain; behind its end, units.

    Raises:
        InputError: the limit is outside 1..20,000, or the cursor is none of ours.
    """
    if not 1 <= limit <= MOST:
        raise InputError(f"limit is {limit}: it goes from 1 to {MOST}")
    found = CURSOR.fullmatch(START if cursor is None else cursor)
    if found is None:
        raise InputError(f"cursor {cursor!r:.60} did not come from an earlier stretch: leave it out to start")
    place, entries, head = int(found["place"]), int(found["entries"]), found["head"]
    return chain(rows, limit, entries, head) if found["part"] == "log" else units(rows, limit, place, entries, head)


def chain(rows: Tables, limit: int, number: int, head: str) -> Stretch:
    """Entries behind `number`, whose hash is `head`."""
    names = ", ".join(COLUMNS)
    read = rows.execute(f"SELECT {names} FROM log WHERE number > ? ORDER BY number LIMIT ?", (number, limit)).fetchall()
    report = verify((Entry.model_validate(dict(row)) for row in read), after=(number, head))
    if report.first_bad is not None:
        return Stretch(report=report)
    part = f"log:{report.entries}" if len(read) == limit else "units:0"
    return Stretch(report=report, next_cursor=f"{part}:{report.entries}:{report.head}")


def units(rows: Tables, limit: int, place: int, entries: int, head: str) -> Stretch:
    """Units behind `place`, each against the last entry that tells what it is."""
    read = rows.execute(
        f"SELECT {UNIT_COLUMNS}, (SELECT l.digest FROM log l WHERE l.subject = u.id AND l.digest <> '' "
        "ORDER BY l.number DESC LIMIT 1) AS told FROM units u WHERE u.seq > ? ORDER BY u.seq LIMIT ?",
        (place, limit),
    ).fetchall()
    changed = tuple(row["id"] for row in read if row["told"] != fingerprint(unit_of(row)))
    more = f"units:{read[-1]['seq']}:{entries}:{head}" if len(read) == limit else None
    return Stretch(report=LogReport(entries=entries, head=head, changed_units=changed), next_cursor=more)
