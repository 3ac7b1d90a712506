"""Looking at the bank without a vector: pages of units, and its health."""

import sqlite3
from pathlib import Path

from mia_skill.core.errors import BankError, InputError
from mia_skill.core.types import Outcome, Status
from retrieval.bank import BankHealth, UnitPage
from retrieval.index import faiss_build
from retrieval.live import LiveIndex
from retrieval.rows import UNIT_COLUMNS, unit_of
from retrieval.schema import store_errors, transaction
from retrieval.tables import Tables

__all__ = ["add_functions", "health_of", "list_units"]

MAX_LIMIT = 500


def add_functions(rows: sqlite3.Connection) -> None:
    """`mia_has(needle, *texts)`: any text holds the needle, whatever the case, in every script."""

    def has(needle: str, *texts: str | None) -> bool:
        return any(needle in text.casefold() for text in texts if text is not None)

    rows.create_function("mia_has", -1, has, deterministic=True)


def list_units(
    rows: Tables,
    *,
    namespace: str | None,
    outcome: Outcome | None,
    category: str | None,
    text: str | None,
    limit: int,
    cursor: str | None,
    status: Status | None = None,
) -> UnitPage:
    """A page, newest first.

    Raises:
        InputError: the limit is outside 1..500, or the cursor is none of ours.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InputError(f"limit is {limit}: it goes from 1 to {MAX_LIMIT}")
    if cursor is not None and not (cursor.isascii() and cursor.isdigit() and len(cursor) < 19):
        raise InputError(f"cursor {cursor[:40]!r} did not come from an earlier page: leave it out to start")
    where, given = _filters(namespace=namespace, outcome=outcome, category=category, status=status, text=text)
    (total,) = rows.execute(f"SELECT count(*) FROM units u WHERE {where}", given).fetchone()
    found = rows.execute(
        f"SELECT {UNIT_COLUMNS} FROM units u WHERE {where} AND seq < :below ORDER BY seq DESC LIMIT :limit",
        {**given, "below": int(cursor) if cursor else 2**62, "limit": limit + 1},
    ).fetchall()
    page = found[:limit]
    return UnitPage(
        units=tuple(unit_of(row) for row in page),
        next_cursor=str(page[-1]["seq"]) if len(found) > limit else None,
        total=total,
    )


def _filters(
    *,
    namespace: str | None,
    outcome: Outcome | None,
    category: str | None,
    status: Status | None,
    text: str | None,
) -> tuple[str, dict[str, str]]:
    clauses, given = ["1 = 1"], {}
    for name, value in (("namespace", namespace), ("outcome", outcome), ("category", category), ("status", status)):
        if value is not None:
            clauses.append(f"{name} = :{name}")
            given[name] = str(value)
    if text:
        clauses.append("mia_has(:text, question, caption, workflow)")
        given["text"] = text.casefold()
    return " AND ".join(clauses), given


def health_of(path: Path, rows: sqlite3.Connection, live: LiveIndex, schema_version: int) -> BankHealth:
    """Everything that can be found out; what cannot is listed as a problem."""
    problems: list[str] = []
    counts, namespaces, embedder, index = (0, 0), (), None, "fresh"
    try:
        with store_errors(path), transaction(rows, write=False):
            checked = [row[0] for row in rows.execute("PRAGMA quick_check(5)")]
            problems += [f"the database is damaged: {line}" for line in checked if line != "ok"]
            counts = tuple(rows.execute("SELECT (SELECT count(*) FROM units), (SELECT count(*) FROM pairs)").fetchone())
            names = rows.execute("SELECT DISTINCT namespace FROM units ORDER BY namespace").fetchall()
            namespaces = tuple(row[0] for row in names)
            embedder = rows.execute("SELECT embedder FROM state").fetchone()[0]
    except BankError as error:
        problems.append(str(error))
    try:
        with store_errors(path), transaction(rows, write=False):
            live.follow(rows)
        index = live.story
        problems += _differences(live, counts)
    except BankError as error:
        index = f"unusable ({type(error).__name__})"
        problems.append(str(error))
    return BankHealth(
        path=str(path),
        units=counts[0],
        pairs=counts[1],
        namespaces=namespaces,
        embedder=embedder,
        schema_version=schema_version,
        index=index,
        faiss=faiss_build(),
        size_bytes=_size(path),
        problems=tuple(problems),
    )


def _differences(live: LiveIndex, counts: tuple[int, ...]) -> list[str]:
    problems = []
    for owner, count in zip(("unit", "pair"), counts, strict=True):
        damaged = len(live.damaged[owner])
        if damaged:
            problems.append(
                f"the vectors of {damaged} {owner}s are missing or damaged, so they are not recalled: "
                "run `mia memory reembed`"
            )
        if len(live.shelf(owner)) + damaged != count:
            problems.append(f"the index holds {len(live.shelf(owner))} of {count} {owner}s: please report this")
    return problems


def _size(path: Path) -> int:
    files = (path, path.with_name(path.name + "-wal"))
    return sum(file.stat().st_size for file in files if file.exists())
