"""A PostgreSQL connection as `Tables`, and its errors as ours.

Statements are the bank's own, with `?` and `:name` places; the few words PostgreSQL says differently are replaced here.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

from mia_skill.core.errors import BankCorruptError, BankError, BankUnreachableError, BankUnwritableError
from mia_skill.core.redact import redact
from mia_skill.core.require import require
from mia_skill.core.shown_address import shown_address

__all__ = ["PostgresTables", "connect", "postgres_errors", "shown_url", "transaction", "translated"]

SAID = tuple(
    (f"value FROM json_each(:{name})", f'value COLLATE "C" FROM jsonb_array_elements_text(:{name}::jsonb)')
    for name in ("ids", "parents")
)
"""What SQLite calls otherwise."""
PLACE = re.compile(r"'[^']*'|::|\?|:([a-z_]+)|%")
UNREACHABLE = ("08", "57P")
"""SQLSTATE classes of a connection that is gone: connection exceptions, and a server that was shut down."""
UNWRITABLE = {
    "25006": "it is read-only: connect to the primary server",
    "42501": "access is denied: grant this user CREATE on the database and all rights on its schema",
    "53100": "the disk is full: free some space and try again",
    "53200": "the server is out of memory: try again",
    "53300": "the server has no connection left: close some, or raise max_connections",
    "55P03": "another process holds the write lock: end it, or try again",
    "40001": "another writer came in between: try again",
    "40P01": "another writer came in between: try again",
}
CORRUPT = ("XX001", "XX002")


class NamedRow(tuple[Any, ...]):
    """A row by number, by name, or unpacked."""

    places: dict[str, int] = {}  # noqa: RUF012 - set once by the class that is made for a statement

    def __getitem__(self, key: Any, /) -> Any:
        return tuple.__getitem__(self, self.places[key] if isinstance(key, str) else key)

    def keys(self) -> Iterable[str]:
        """The names, so that `dict(row)` works."""
        return self.places.keys()


@lru_cache(maxsize=256)
def _row_kind(names: tuple[str, ...]) -> type[NamedRow]:
    return type("Row", (NamedRow,), {"places": {name: place for place, name in enumerate(names)}})


def named_rows(cursor: Any) -> Any:
    """A row factory of psycopg."""
    return _row_kind(tuple(column.name for column in cursor.description or ()))


@lru_cache(maxsize=512)
def translated(statement: str) -> str:
    """The statement with psycopg's places. Text in quotes stays as it is."""
    for sqlite, postgres in SAID:
        statement = statement.replace(sqlite, postgres)

    def place(found: re.Match[str]) -> str:
        whole, name = found[0], found[1]
        if whole == "?":
            return "%s"
        return f"%({name})s" if name else whole.replace("%", "%%")

    return PLACE.sub(place, statement)


class PostgresTables:
    """A connection as `Tables`. `streaming` reads in chunks, for statements whose answer may not fit in memory."""

    def __init__(self, connection: Any, *, streaming: bool = False) -> None:
        self.connection = connection
        self._streams: list[Any] | None = [] if streaming else None

    def execute(self, statement: str, given: Any = (), /) -> Any:
        if self._streams is not None and statement.lstrip().startswith("SELECT"):
            stream = self.connection.cursor(f"mia_{len(self._streams)}")
            stream.itersize = 500
            self._streams.append(stream)
            return stream.execute(translated(statement), given)
        return self.connection.execute(translated(statement), given)

    def close(self) -> None:
        """Give the connection back; what was not committed is rolled back."""
        for stream in self._streams or ():
            if not self.connection.closed:
                stream.close()
        self.connection.close()

    def script(self, statements: str) -> None:
        """Several statements at once, as they are."""
        self.connection.execute(statements.encode())

    def executemany(self, statement: str, given: Iterable[Any], /) -> Any:
        cursor = self.connection.cursor()
        # psycopg wants the rows more than once.
        cursor.executemany(translated(statement), list(given))
        return cursor


@contextmanager
def postgres_errors(where: str) -> Iterator[None]:
    """Turn PostgreSQL's errors into ours, with the fix in the message.

    Raises:
        BankUnreachableError: the server is not there, or went away; the open transaction was rolled back.
        BankUnwritableError: disk full, read-only, no rights, or a lock that is not released.
        BankCorruptError: the server says that its data is damaged.
        BankError: anything else it complains about.
    """
    psycopg = require("psycopg", extra="postgres")
    try:
        yield
    except psycopg.Error as cause:
        raise _ours(cause, where) from cause


def _ours(cause: Any, where: str) -> BankError:
    state = cause.sqlstate or ""
    told = redact(str(cause).strip().splitlines()[0]) if str(cause).strip() else type(cause).__name__
    if state in UNWRITABLE:
        return BankUnwritableError(f"the memory bank {where} cannot be used: {UNWRITABLE[state]} ({told})")
    if state in CORRUPT:
        return BankCorruptError(f"the memory bank {where} is damaged ({told}): restore the server's last backup")
    lost = type(cause).__name__ in ("OperationalError", "ConnectionTimeout", "InterfaceError") and not state
    if lost or state.startswith(UNREACHABLE):
        return BankUnreachableError(
            f"the memory bank {where} cannot be reached: start the server or correct memory.url, and try again; what "
            f"was not acknowledged was rolled back, unless the connection was lost while it was committed ({told})"
        )
    return BankError(f"the memory bank {where} refused: {told}")


@contextmanager
def transaction(rows: PostgresTables, *, write: bool) -> Iterator[None]:
    """All or nothing. Readers see one moment; writers take turns, by the lock on the state row, so that the log is one
    chain and changes are numbered in the order they are committed."""
    rows.execute("BEGIN" if write else "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        if write:
            rows.execute("SELECT 1 FROM state FOR UPDATE")
        yield
        rows.execute("COMMIT")
    finally:
        if not rows.connection.closed and rows.connection.info.transaction_status != 0:
            rows.execute("ROLLBACK")


def connect(url: str, schema: str, *, busy_timeout_s: float = 5.0, connect_timeout_s: int = 10) -> PostgresTables:
    """A connection whose tables are those of `schema`; `busy_timeout_s` is how long a writer waits for the others.

    Raises:
        MissingExtraError: psycopg is not installed.
        BankError: see `postgres_errors`.
    """
    psycopg = require("psycopg", extra="postgres")
    with postgres_errors(shown_url(url)):
        connection = psycopg.connect(
            url,
            autocommit=True,
            row_factory=named_rows,
            connect_timeout=connect_timeout_s,
            application_name="mia-skill",
            keepalives_idle=30,
        )
        rows = PostgresTables(connection)
        # Compiling a recall's statements takes longer than running them.
        wait = f"{int(busy_timeout_s * 1000)}ms"
        settings = {"search_path": f'"{schema}", public', "lock_timeout": wait, "jit": "off"}
        for name, value in settings.items():
            rows.execute("SELECT set_config(?, ?, false)", (name, value))
        return rows


def shown_url(url: str) -> str:
    """The address without user, password and parameters, for messages."""
    return shown_address(url).partition("?")[0] if "://" in url else "on PostgreSQL"
