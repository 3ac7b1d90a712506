"""What a page shows of a bank, each in a bounded piece: counts, pages of the log, the uses of a unit, a sample."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import orjson
from pydantic import Field

from mia_skill.core.errors import InputError
from mia_skill.core.types import MemoryUnit, Outcome, Status, Value
from retrieval.chain import Entry
from retrieval.gate import Arm, Lift, Tally, lift
from retrieval.log import COLUMNS
from retrieval.rows import UNIT_COLUMNS, masked_rows, unit_of
from retrieval.tables import Row, Tables
from retrieval.trials import tally_of
from retrieval.vectors import Rows

__all__ = ["Census", "CensusRow", "Child", "LogPage", "Sample", "Use", "UseReport", "census", "log_page", "sample"]
__all__ += ["uses_of"]

MOST = 200
"""Of a page of the log, of uses, or of children."""
SEARCHED = 100_000
"""Outcomes that are searched for a unit, the newest first: they are found by reading, not by an index."""
ROUNDS = 20
"""Of drawing rows for a sample: where a namespace is a small part of a bank, most draws miss it."""

Vectors = Callable[[Tables, Sequence[int]], Mapping[int, Rows | None]]
"""Reads question vectors by seq."""


class CensusRow(Value):
    """Units that are alike in these three."""

    namespace: str
    outcome: Outcome | None
    status: Status
    units: int
    uses: int
    wins: int


class Census(Value):
    """How many units of which kind a bank holds."""

    rows: tuple[CensusRow, ...] = ()

    @property
    def units(self) -> int:
        return sum(row.units for row in self.rows)


class LogPage(Value):
    """Some entries of the log, newest first."""

    entries: tuple[Entry, ...]
    next_cursor: str | None = None
    """Hand it back for the next page; None on the last."""


class Use(Value):
    """A task whose outcome tells of a unit: it was shown, or left out by the gate's draw."""

    at: datetime
    task: str
    arm: Arm
    shown: bool
    together: int = Field(ge=0)
    """Units that were shown, itself included."""
    won: bool
    judged_by: str


class Child(Value):
    """A unit of a run that was made in sight of another unit."""

    id: str
    question: str | None = None
    """None: it was forgotten."""
    outcome: Outcome | None = None
    status: Status | None = None


class UseReport(Value):
    """Every use of a unit, newest first, as far back as was searched."""

    uses: tuple[Use, ...]
    searched: int
    """Outcomes that were looked through."""
    outcomes: int
    """Outcomes that the bank keeps."""
    children: tuple[Child, ...]
    descendants: int
    """Children in all, also those that are not listed."""
    tally: Tally = Tally()
    """Outcomes of both arms, as the gate counts them."""
    lift: Lift | None = None


@dataclass(frozen=True)
class Sample:
    """Some units of a bank with their vectors."""

    total: int
    """Units they were drawn from."""
    units: tuple[MemoryUnit, ...]
    vectors_ND: Rows
    without: int
    """Units that were drawn and have no vector of this kind."""


def census(rows: Tables) -> Census:
    """Counts by namespace, outcome and status."""
    found = rows.execute(
        "SELECT namespace, outcome, status, count(*) AS units, CAST(sum(uses) AS bigint) AS uses, "
        "CAST(sum(wins) AS bigint) AS wins FROM units GROUP BY namespace, outcome, status ORDER BY 1, 2, 3"
    )
    return Census(rows=tuple(CensusRow.model_validate(dict(row)) for row in found))


def log_page(rows: Tables, subject: str | None, limit: int, cursor: str | None) -> LogPage:
    """Entries of the log, newest first; of one unit, if named: those about it and the credits that name it.

    Raises:
        InputError: the limit is outside 1..200, or the cursor is none of ours.
    """
    given: dict[str, object] = {"below": number_of(cursor), "limit": checked(limit) + 1}
    names = ", ".join(COLUMNS)
    if subject is None:
        statement = f"SELECT {names} FROM log WHERE number < :below ORDER BY number DESC LIMIT :limit"
    else:
        # Credits name several units, so they stand under no subject.
        given |= {"subject": subject, "named": _holding(subject)}
        one = f"SELECT {names} FROM log WHERE number < :below AND subject = "
        parts = (f"{one}:subject", f"{one}'' AND action = 'credit' AND detail LIKE :named ESCAPE '!'")
        both = " UNION ALL ".join(
            f"SELECT * FROM ({part} ORDER BY number DESC LIMIT :limit) AS part{place}"
            for place, part in enumerate(parts)
        )
        statement = f"SELECT * FROM ({both}) AS both_parts ORDER BY number DESC LIMIT :limit"
    found = rows.execute(statement, given).fetchall()
    page = tuple(Entry.model_validate(dict(row)) for row in found[:limit])
    return LogPage(entries=page, next_cursor=str(page[-1].number) if len(found) > limit else None)


def uses_of(rows: Tables, unit_id: str, limit: int) -> UseReport:
    """The outcomes that tell of a unit, and the units that were made in its sight.

    Raises:
        InputError: the limit is outside 1..200.
    """
    checked(limit)
    (outcomes,) = rows.execute("SELECT count(*) FROM trials").fetchone()
    newest = "SELECT * FROM trials ORDER BY seq DESC LIMIT :searched"
    given = {"searched": SEARCHED, "named": _holding(orjson.dumps(unit_id).decode()), "limit": limit}
    found = rows.execute(
        f"SELECT * FROM ({newest}) AS newest WHERE shown LIKE :named ESCAPE '!' OR withheld LIKE :named ESCAPE '!' "
        "ORDER BY seq DESC LIMIT :limit",
        given,
    ).fetchall()
    own = rows.execute("SELECT namespace FROM units WHERE id = ?", (unit_id,)).fetchone()
    tally = Tally() if own is None else tally_of(rows, "unit", own["namespace"], unit_id)
    (below,) = rows.execute("SELECT count(*) FROM lineage WHERE parent = ?", (unit_id,)).fetchone()
    children = rows.execute(
        "SELECT l.child AS id, u.question, u.outcome, u.status FROM lineage l LEFT JOIN units u ON u.id = l.child "
        "WHERE l.parent = ? ORDER BY u.seq DESC, l.child LIMIT ?",
        (unit_id, limit),
    ).fetchall()
    return UseReport(
        uses=tuple(_use(row, unit_id) for row in found),
        searched=min(outcomes, SEARCHED),
        outcomes=outcomes,
        children=tuple(Child.model_validate(dict(row)) for row in children),
        descendants=below,
        tally=tally,
        lift=lift(tally),
    )


def sample(rows: Tables, count: int, *, namespace: str | None, masked: bool, seed: int, vectors: Vectors) -> Sample:
    """Units drawn evenly (all of them where there are no more), with the vectors of their questions or, if `masked`,
    of the masked ones. A row is drawn by its number, so that a large bank is not read through.

    Raises:
        InputError: the count is outside 2..2000.
    """
    if not 2 <= count <= 2000:
        raise InputError(f"a sample has 2 to 2000 units, not {count}")
    where, given = ("1 = 1", ()) if namespace is None else ("u.namespace = ?", (namespace,))
    total, low, high = rows.execute(
        f"SELECT count(*), coalesce(min(seq), 0), coalesce(max(seq), -1) FROM units u WHERE {where}", given
    ).fetchone()
    statement = f"SELECT {UNIT_COLUMNS} FROM units u WHERE {where}"
    chance = np.random.default_rng(seed)
    held: dict[int, MemoryUnit] = {}
    if total <= count:
        held = {row["seq"]: unit_of(row) for row in rows.execute(f"{statement} ORDER BY seq", given)}
    for _ in range(ROUNDS):
        if len(held) >= min(count, total):
            break
        part = sorted(set(chance.integers(low, high + 1, 4 * count).tolist()) - held.keys())
        places = ", ".join("?" * len(part))
        found = rows.execute(f"{statement} AND seq IN ({places})", (*given, *part))
        held |= {row["seq"]: unit_of(row) for row in found}
    drawn = sorted(held)
    if len(drawn) > count:
        drawn = sorted(chance.choice(drawn, count, replace=False).tolist())
    placed = dict(zip(drawn, masked_rows(rows, drawn), strict=True)) if masked and drawn else vectors(rows, drawn)
    kept = [(held[seq], row) for seq in drawn if (row := placed.get(seq)) is not None]
    return Sample(
        total=total,
        units=tuple(unit for unit, _ in kept),
        vectors_ND=np.stack([row for _, row in kept]) if kept else np.zeros((0, 1), dtype=np.float32),
        without=len(drawn) - len(kept),
    )


def checked(limit: int) -> int:
    """Raises: InputError: the limit is outside 1..200."""
    if not 1 <= limit <= MOST:
        raise InputError(f"limit is {limit}: it goes from 1 to {MOST}")
    return limit


def number_of(cursor: str | None) -> int:
    """Raises: InputError: the cursor is none of ours."""
    if cursor is None:
        return 2**62
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InputError(f"cursor {cursor[:40]!r} did not come from an earlier page: leave it out to start")
    return int(cursor)


def _holding(text: str) -> str:
    """A LIKE pattern for what holds `text` as it is."""
    for special in "!%_":
        text = text.replace(special, f"!{special}")
    return f"%{text}%"


def _use(row: Row, unit_id: str) -> Use:
    shown = orjson.loads(row["shown"])
    return Use(
        at=row["at"],
        task=row["task"],
        arm=row["arm"],
        shown=unit_id in shown,
        together=len(shown),
        won=row["won"],
        judged_by=row["judged_by"],
    )
