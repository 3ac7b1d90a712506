"""The two kinds of bank behind one door, so that the same tests run against both.

PostgreSQL takes part where MIA_POSTGRES_URL names a server that has pgvector (`make test-postgres` starts one). Each
path gets a schema of its own, dropped at the end.
"""

import os
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4
from zlib import crc32

import pytest

from mia_skill.core.config import BlendWeights
from retrieval.sqlite_bank import SqliteBank
from retrieval.vectors import Embedder

SCORINGS: dict[str, dict[str, Any]] = {"paper": {"scoring": "paper"}, "blend": {"blend": BlendWeights(diversity=0.0)}}
"""How to open a bank under either score so that it shows everything that is asked for."""
ON_A_FILE = pytest.mark.parametrize("banks", ["sqlite"], indirect=True)
"""For a test that works on the SQLite file itself."""
KINDS = ("sqlite", pytest.param("postgres", marks=[pytest.mark.real, pytest.mark.postgres]))


class Banks(Protocol):
    """Opens banks of one kind."""

    def open(self, path: Path, embedder: Embedder, **options: Any) -> Any:
        """The bank at a path; the same bank for the same path."""

    def close(self) -> None:
        """Clean up."""


class SqliteBanks:
    def open(self, path: Path, embedder: Embedder, **options: Any) -> Any:
        return SqliteBank.open(path, embedder, **options)

    def close(self) -> None:
        """Temporary folders go by themselves."""


class PostgresBanks:
    def __init__(self, url: str) -> None:
        self.url = url
        self._prefix = f"t_{uuid4().hex[:8]}"
        self._schemas: set[str] = set()

    def schema(self, path: Path) -> str:
        """Of the bank at a path."""
        name = f"{self._prefix}_{crc32(str(path).encode()):08x}"
        self._schemas.add(name)
        return name

    def open(self, path: Path, embedder: Embedder, **options: Any) -> Any:
        from retrieval.postgres_bank import PostgresBank

        return PostgresBank.open(self.url, embedder, schema=self.schema(path), **options)

    def close(self) -> None:
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            for name in self._schemas:
                connection.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')


def banks_of(kind: str) -> Banks:
    """The opener of a kind; skips where there is no server."""
    if kind == "sqlite":
        return SqliteBanks()
    url = os.environ.get("MIA_POSTGRES_URL")
    if not url:
        pytest.skip("no PostgreSQL: set MIA_POSTGRES_URL, or run `make test-postgres`")
    return PostgresBanks(url)
