"""The bank's SQLite file: connection, numbered migrations, and its errors as ours.

Durability: WAL with `synchronous=FULL`. A transaction that was acknowledged survives SIGKILL of every process, and a
power loss as far as the disk honours fsync; one that was not acknowledged is there whole or not at all.
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mia_skill.core.errors import BankCorruptError, BankError, BankUnwritableError
from retrieval.custody import take_into_custody
from retrieval.rows import shape_all

__all__ = ["MIGRATIONS", "SCHEMA_VERSION", "connect", "store_errors", "transaction"]

APPLICATION_ID = 0x4D494162
"""Marks a file as ours ("MIAb"), so that another program's database is never migrated."""

PAUSE_S = 0.01

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE state (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        bank_id TEXT NOT NULL,
        change INTEGER NOT NULL,            -- grows with every write; readers catch up from the last one they saw
        forgotten_below INTEGER NOT NULL,   -- deletions before this change are no longer listed
        embedder TEXT,                      -- identity of whoever made the vectors; NULL while there are none
        dimension INTEGER
    );
    CREATE TABLE units (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        namespace TEXT NOT NULL,
        modality TEXT NOT NULL,
        category TEXT NOT NULL,
        outcome TEXT,
        question TEXT NOT NULL,
        caption TEXT,
        workflow TEXT NOT NULL,
        plan TEXT NOT NULL,
        uses INTEGER NOT NULL,
        wins INTEGER NOT NULL,
        steps INTEGER NOT NULL,
        feedback TEXT NOT NULL,
        provenance TEXT NOT NULL,
        created_at TEXT NOT NULL,
        updated_at TEXT NOT NULL,
        change INTEGER NOT NULL
    );
    CREATE INDEX units_by_change ON units (change);
    CREATE TABLE pairs (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        namespace TEXT NOT NULL,
        modality TEXT NOT NULL,
        category TEXT NOT NULL,
        question TEXT NOT NULL,
        caption TEXT,
        good_plan TEXT NOT NULL,
        bad_plan TEXT NOT NULL,
        created_at TEXT NOT NULL,
        change INTEGER NOT NULL
    );
    CREATE INDEX pairs_by_change ON pairs (change);
    CREATE INDEX pairs_by_question ON pairs (question);
    CREATE TABLE vectors (
        owner TEXT NOT NULL,                -- "unit" or "pair"
        seq INTEGER NOT NULL,
        question BLOB NOT NULL,             -- float32, little-endian, length 1
        caption BLOB,
        PRIMARY KEY (owner, seq)
    );
    CREATE TABLE staged_vectors (           -- a re-embedding under way; swapped in by one transaction
        embedder TEXT NOT NULL,
        owner TEXT NOT NULL,
        seq INTEGER NOT NULL,
        question BLOB NOT NULL,
        caption BLOB,
        PRIMARY KEY (embedder, owner, seq)
    );
    CREATE TABLE forgotten (
        owner TEXT NOT NULL,
        seq INTEGER NOT NULL,
        change INTEGER NOT NULL
    );
    CREATE INDEX forgotten_by_change ON forgotten (change);
    INSERT INTO state VALUES (1, lower(hex(randomblob(16))), 0, 0, NULL, NULL);
    """,
    """
    ALTER TABLE units ADD COLUMN status TEXT NOT NULL DEFAULT 'active';
    ALTER TABLE units ADD COLUMN tainted INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE units ADD COLUMN digest TEXT NOT NULL DEFAULT '';
    CREATE TABLE lineage (child TEXT NOT NULL, parent TEXT NOT NULL, PRIMARY KEY (child, parent)) WITHOUT ROWID;
    CREATE INDEX lineage_by_parent ON lineage (parent);
    CREATE TABLE marks (mark TEXT NOT NULL, unit TEXT NOT NULL, PRIMARY KEY (mark, unit)) WITHOUT ROWID;
    CREATE TABLE revoked (mark TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE trials (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        task TEXT NOT NULL,                 -- digest of namespace, question and task id
        namespace TEXT NOT NULL,
        category TEXT NOT NULL,
        arm TEXT NOT NULL,
        shown TEXT NOT NULL,                -- ids, as JSON
        withheld TEXT NOT NULL,
        randomised INTEGER NOT NULL,
        won INTEGER NOT NULL,
        judged_by TEXT NOT NULL,
        at TEXT NOT NULL,
        change INTEGER NOT NULL
    );
    CREATE INDEX trials_by_task ON trials (task);
    CREATE TABLE tallies (
        scope TEXT NOT NULL,                -- "tasks", "namespace", "category" or "unit"
        namespace TEXT NOT NULL,
        key TEXT NOT NULL,
        shown INTEGER NOT NULL,
        shown_wins INTEGER NOT NULL,
        withheld INTEGER NOT NULL,
        withheld_wins INTEGER NOT NULL,
        PRIMARY KEY (scope, namespace, key)
    ) WITHOUT ROWID;
    CREATE TABLE backing (                  -- outcomes that speak for a quarantined unit, one a task
        unit TEXT NOT NULL,
        task TEXT NOT NULL,
        won INTEGER NOT NULL,
        PRIMARY KEY (unit, task)
    ) WITHOUT ROWID;
    CREATE TABLE log (
        number INTEGER PRIMARY KEY,
        at TEXT NOT NULL,
        action TEXT NOT NULL,
        subject TEXT NOT NULL,
        detail TEXT NOT NULL,
        digest TEXT NOT NULL,
        previous TEXT NOT NULL,
        hash TEXT NOT NULL
    );
    CREATE INDEX log_by_subject ON log (subject);
    CREATE TRIGGER log_is_kept BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
    CREATE TRIGGER log_is_final BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
    """,
    """
    -- `masked` is the vector of the masked question, NULL where none was made; `shape` its hashed features; `seen_*`
    -- the fading evidence of what a unit is worth, up to when (epoch seconds) and in which environment
    ALTER TABLE vectors ADD COLUMN masked BLOB;
    ALTER TABLE vectors ADD COLUMN shape BLOB;
    ALTER TABLE staged_vectors ADD COLUMN masked BLOB;
    ALTER TABLE units ADD COLUMN seen_uses REAL NOT NULL DEFAULT 0;
    ALTER TABLE units ADD COLUMN seen_wins REAL NOT NULL DEFAULT 0;
    ALTER TABLE units ADD COLUMN seen_at REAL NOT NULL DEFAULT 0;
    ALTER TABLE units ADD COLUMN seen_in TEXT NOT NULL DEFAULT '';
    UPDATE units SET seen_uses = uses, seen_wins = wins, seen_at = coalesce(unixepoch(updated_at), 0);
    CREATE TABLE draws (                    -- what the gate drew for a task whose outcome is not known yet
        key TEXT PRIMARY KEY,
        namespace TEXT NOT NULL,
        draw TEXT NOT NULL,
        at TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    -- what canaries said of judges, and changes on probation; `seen` is how many canaries of its judge came before
    CREATE TABLE judges (judge TEXT PRIMARY KEY, standing TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE held (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        judge TEXT NOT NULL,
        seen INTEGER NOT NULL,
        proven INTEGER NOT NULL,
        change TEXT NOT NULL,
        at TEXT NOT NULL
    );
    """,
)
"""Number n takes a file from version n-1 to n. Never edited once released; changes are appended."""

SCHEMA_VERSION = len(MIGRATIONS)
AFTER = {1: take_into_custody, 2: shape_all}
"""What a migration does beyond SQL: in the same transaction, when all tables are as this version knows them."""

UNWRITABLE = {
    sqlite3.SQLITE_FULL: "the disk is full: free some space and try again",
    sqlite3.SQLITE_READONLY: "it is read-only: make the file and its folder writable, or set memory.path elsewhere",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: make its folder writable, or set memory.path elsewhere",
    sqlite3.SQLITE_PERM: "access is denied: make the file and its folder writable, or set memory.path elsewhere",
    sqlite3.SQLITE_BUSY: "another process holds the write lock: end it, or try again",
    sqlite3.SQLITE_LOCKED: "another process holds the write lock: end it, or try again",
    sqlite3.SQLITE_IOERR: "reading or writing failed: check free space, file size limits and the disk",
}
CORRUPT = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn SQLite's errors about `path` into ours, with the fix in the message.

    Raises:
        BankCorruptError: the file is damaged, or no database.
        BankUnwritableError: disk full, read-only, no access, or a lock that is not released.
        BankError: anything else SQLite complains about.
    """
    try:
        yield
    except sqlite3.Error as cause:
        code = (getattr(cause, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF
        if code in CORRUPT:
            raise BankCorruptError(
                f"the memory bank {path} is damaged ({cause}): move it aside and load the last export with "
                "`mia memory import`; `sqlite3 FILE .recover` often saves the rest"
            ) from cause
        if code in UNWRITABLE:
            raise BankUnwritableError(f"the memory bank {path} cannot be used: {UNWRITABLE[code]} ({cause})") from cause
        raise BankError(f"the memory bank {path} refused: {cause}") from cause
    except OSError as cause:
        raise BankUnwritableError(
            f"the memory bank {path} cannot be used: {cause.strerror}; {path.parent} must be a folder that can be "
            "written to: make it so, or set home or memory.path elsewhere"
        ) from cause


@contextmanager
def transaction(rows: sqlite3.Connection, *, write: bool) -> Iterator[None]:
    """All or nothing. A write transaction waits for the lock at its start, so it never fails half-way for one."""
    rows.execute("BEGIN IMMEDIATE" if write else "BEGIN")
    try:
        yield
        rows.execute("COMMIT")
    finally:
        if rows.in_transaction:
            rows.execute("ROLLBACK")


def connect(path: Path, *, busy_timeout_s: float = 15.0) -> sqlite3.Connection:
    """Open the bank at `path`, made and migrated if need be. The caller serialises its use among threads.

    Raises:
        BankError: see `store_errors`; or the file is another program's, or a newer version's.
    """
    with store_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.touch(mode=0o600)  # memories are their owner's; SQLite gives its files beside it the same mode
        rows = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=busy_timeout_s)
        try:
            _set_up(rows, path, busy_timeout_s)
        except BaseException:
            rows.close()
            raise
        return rows


def _set_up(rows: sqlite3.Connection, path: Path, patience_s: float) -> None:
    rows.row_factory = sqlite3.Row
    with transaction(rows, write=False):  # one look: a bank that another process is making is empty, or is a bank
        _refuse_foreign(rows, path)
    _use_wal(rows, patience_s)
    rows.execute("PRAGMA synchronous=FULL")
    # What is forgotten must not linger in free pages.
    rows.execute("PRAGMA secure_delete=ON")
    if _version(rows) < SCHEMA_VERSION:
        _migrate(rows)


def _use_wal(rows: sqlite3.Connection, patience_s: float) -> None:
    """SQLite does not wait for the lock when it changes the journal's mode: two that open a new bank at once meet."""
    until = time.monotonic() + patience_s
    while True:
        try:
            rows.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as cause:
            if "locked" not in str(cause) or time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)


def _refuse_foreign(rows: sqlite3.Connection, path: Path) -> None:
    mark = rows.execute("PRAGMA application_id").fetchone()[0]
    empty = rows.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if mark != APPLICATION_ID and not empty:
        raise BankError(f"{path} is a database of another program: set memory.path to a file of its own")
    if _version(rows) > SCHEMA_VERSION:
        raise BankError(
            f"{path} was written by a newer mia-skill (schema {_version(rows)}, this one knows {SCHEMA_VERSION}): "
            "upgrade mia-skill"
        )


def _version(rows: sqlite3.Connection) -> int:
    return int(rows.execute("PRAGMA user_version").fetchone()[0])


def _migrate(rows: sqlite3.Connection) -> None:
    with transaction(rows, write=True):
        # Another process may have migrated while this one waited for the lock.
        found = _version(rows)
        for number in range(found, SCHEMA_VERSION):
            for statement in MIGRATIONS[number].split(";\n"):
                rows.execute(statement)
            rows.execute(f"PRAGMA user_version={number + 1}")
        for after in [step for number, step in AFTER.items() if found <= number]:
            after(rows)
        rows.execute(f"PRAGMA application_id={APPLICATION_ID}")
