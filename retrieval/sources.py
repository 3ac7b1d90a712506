"""The files of a corpus, read one passage at a time and from any place on: jsonl, jsonl.gz and parquet."""

import gzip
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, NamedTuple

from mia_skill.core.errors import CorpusError, InputError
from mia_skill.core.require import require
from mia_skill.core.types import Passage, Value
from retrieval.passages import passage_of_line, passage_of_row

__all__ = ["Read", "Source", "read_source", "source_of"]

BLOCK = 1 << 20
LONGEST_LINE = 16 << 20
"""Bytes. A file without line ends must not fill the memory."""
PARQUET_ROWS = 1024


class Source(Value):
    """A file as it was when it was read."""

    path: str
    """Absolute."""
    size: int
    mtime_ns: int
    sha256: str

    def same(self) -> bool:
        """Does the file still hold what was read? A file that is gone counts as unchanged: the corpus does not
        need it any more. The bytes are compared only when size or time differ.

        Raises:
            CorpusError: it is there and cannot be read.
        """
        path = Path(self.path)
        if not path.exists():
            return True
        now = path.stat()
        if (now.st_size, now.st_mtime_ns) == (self.size, self.mtime_ns):
            return True
        return now.st_size == self.size and digest_of(path) == self.sha256


class Read(NamedTuple):
    """A passage, and where reading goes on after it: a byte offset, or a row number of a parquet file."""

    passage: Passage
    after: int


def source_of(path: Path) -> Source:
    """The file's marks; reads it once.

    Raises:
        CorpusError: it cannot be read.
        InputError: neither jsonl nor parquet.
    """
    path = path.expanduser().resolve()
    if not kind_of(path):
        raise InputError(f"{path}: a corpus is made of .jsonl, .jsonl.gz or .parquet files")
    try:
        stat = path.stat()
    except OSError as cause:
        raise CorpusError(f"cannot read the corpus file {path}: {cause.strerror}") from cause
    return Source(path=str(path), size=stat.st_size, mtime_ns=stat.st_mtime_ns, sha256=digest_of(path))


def digest_of(path: Path) -> str:
    """sha256 of a file, read in pieces.

    Raises:
        CorpusError: it cannot be read.
    """
    digest = sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except OSError as cause:
        raise CorpusError(f"cannot read {path}: {cause.strerror}") from cause
    return digest.hexdigest()


def read_source(path: Path, start: int = 0) -> Iterator[Read]:
    """The passages from `start` (0, or an earlier `Read.after`) to the end.

    Raises:
        CorpusError: the file is broken; the message names file and place.
        MissingExtraError: parquet without pyarrow.
    """
    yield from _parquet(path, start) if kind_of(path) == "parquet" else _lines(path, start)


def kind_of(path: Path) -> str:
    """ "jsonl", "gzip", "parquet", or "" for anything else."""
    endings: Sequence[tuple[str, str]] = ((".parquet", "parquet"), (".gz", "gzip"), (".jsonl", "jsonl"), (".json", ""))
    return next((kind for ending, kind in endings if path.name.casefold().endswith(ending)), "")


def _lines(path: Path, start: int) -> Iterator[Read]:
    try:
        file: IO[bytes]
        with gzip.open(path, "rb") if kind_of(path) == "gzip" else path.open("rb") as file:  # type: ignore[assignment]
            file.seek(start)
            at = start
            while line := file.readline(LONGEST_LINE):
                place = f"{path}, byte {at}"
                at += len(line)
                if len(line) >= LONGEST_LINE:
                    raise CorpusError(f"{place}: a line of more than {LONGEST_LINE >> 20} MiB is no passage")
                line = line.removeprefix(b"\xef\xbb\xbf") if at == len(line) else line
                if line.strip():
                    yield Read(passage_of_line(line, place), at)
    except (OSError, EOFError, zlib.error) as cause:
        raise CorpusError(f"cannot read the corpus file {path}: {cause}") from cause


def _parquet(path: Path, start: int) -> Iterator[Read]:
    arrow: Any = require("pyarrow", extra="corpus")
    parquet: Any = require("pyarrow.parquet", extra="corpus")
    try:
        with parquet.ParquetFile(path) as file:
            columns = [name for name in ("id", "title", "text", "contents") if name in file.schema_arrow.names]
            before = 0
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if before + rows > start:
                    yield from _group(file, group, columns, path, before, start)
                before += rows
    except (arrow.ArrowException, OSError) as cause:
        raise CorpusError(f"{path} is no sound parquet file: {str(cause).splitlines()[0]}") from cause


def _group(file: Any, group: int, columns: Sequence[str], path: Path, before: int, start: int) -> Iterator[Read]:
    at = before
    for batch in file.iter_batches(batch_size=PARQUET_ROWS, row_groups=[group], columns=list(columns)):
        for row in batch.to_pylist():
            at += 1
            if at > start:
                yield Read(passage_of_row(row, f"{path}, row {at}"), at)
