"""The seam between the bank's rules and a database: statements in, rows out.

The rules are written once, in SQL that SQLite and PostgreSQL both understand, with `?` and `:name` places. A
`sqlite3.Connection` is a `Tables` as it is; `retrieval.postgres` makes one of a PostgreSQL connection.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

__all__ = ["Cursor", "Row", "Tables"]


class Row(Protocol):
    """One row: by name, by number, or unpacked."""

    def __getitem__(self, key: Any, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Any: ...

    def fetchmany(self, size: int = ..., /) -> list[Any]: ...

    def fetchall(self) -> list[Any]: ...

    def __iter__(self) -> Iterator[Any]: ...


class Tables(Protocol):
    """An open transaction on the bank's tables."""

    def execute(self, statement: str, given: Any = ..., /) -> Cursor: ...

    def executemany(self, statement: str, given: Iterable[Any], /) -> Cursor: ...
