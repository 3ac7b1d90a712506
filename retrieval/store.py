"""Passages by position and by id: in memory for a small corpus, in memory-mapped files for a large one."""

import mmap
import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from mia_skill.core.errors import CorpusError
from mia_skill.core.types import Passage

__all__ = [
    "DiskStore",
    "MemoryStore",
    "PassageStore",
    "StoreWriter",
    "contents_of",
    "fragment_of",
    "sort_ids",
    "split_contents",
]

TEXTS, OFFSETS, HASHES, ORDER = "passages.jsonl", "passages.offsets", "passages.ids", "passages.order"
UNSORTED = "passages.hashes"
"""While building: the ids' hashes in the order of the passages."""


class PassageStore(Protocol):
    """Passages 0..N-1. Safe to read from several threads."""

    def __len__(self) -> int: ...

    def passage(self, place: int) -> Passage: ...

    def fragment(self, place: int) -> bytes:
        """The passage as a service sends it: JSON of `{id, contents}`."""
        ...

    def place(self, id_: str) -> int | None:
        """Where the passage with this id is; None when there is none."""
        ...


def contents_of(title: str, text: str) -> str:
    """Search-R1's one text of a passage: the title in quotes, a line end, the text."""
    return f'"{" ".join(title.split())}"\n{text}'


def split_contents(contents: str) -> tuple[str, str]:
    """Title and text again. Contents without a first line in quotes are all text."""
    head, newline, text = contents.partition("\n")
    if newline and len(head) >= 2 and head[0] == head[-1] == '"':
        return head[1:-1], text
    return "", contents


def fragment_of(passage: Passage) -> bytes:
    """See `PassageStore.fragment`."""
    return orjson.dumps({"id": passage.id, "contents": contents_of(passage.title, passage.text)})


class MemoryStore:
    """Passages held in memory."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._places = {passage.id: place for place, passage in enumerate(passages)}

    def __len__(self) -> int:
        return len(self._passages)

    def passage(self, place: int) -> Passage:
        return self._passages[place]

    def fragment(self, place: int) -> bytes:
        return fragment_of(self._passages[place])

    def place(self, id_: str) -> int | None:
        return self._places.get(id_)


class DiskStore:
    """Passages in a file of JSON lines, found by an offset each; nothing but touched pages is in memory."""

    def __init__(self, folder: Path) -> None:
        """
        Raises:
            CorpusError: a file is missing, or they do not fit together.
        """
        try:
            # As a plain array: a memmap takes a microsecond for each look.
            self._offsets: NDArray[np.uint64] = np.asarray(np.memmap(folder / OFFSETS, dtype="<u8", mode="r"))
            with (folder / TEXTS).open("rb") as file:
                self._texts = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self._hashes: NDArray[np.uint64] = np.memmap(folder / HASHES, dtype="<u8", mode="r")
            self._order: NDArray[np.uint32] = np.memmap(folder / ORDER, dtype="<u4", mode="r")
        except (OSError, ValueError) as cause:
            raise CorpusError(f"the corpus at {folder} is damaged ({cause})") from cause
        count = len(self._offsets) - 1
        if int(self._offsets[-1]) != len(self._texts) or len(self._hashes) != count or len(self._order) != count:
            raise CorpusError(f"the corpus at {folder} is damaged: its files do not fit together")

    def __len__(self) -> int:
        return len(self._order)

    def passage(self, place: int) -> Passage:
        row = orjson.loads(self.fragment(place))
        title, text = split_contents(row["contents"])
        return Passage(id=row["id"], title=title, text=text)

    def fragment(self, place: int) -> bytes:
        return self._texts[int(self._offsets[place]) : int(self._offsets[place + 1]) - 1]

    def place(self, id_: str) -> int | None:
        wanted = _hash(id_)
        at = int(np.searchsorted(self._hashes, wanted))
        while at < len(self._hashes) and int(self._hashes[at]) == int(wanted):
            place = int(self._order[at])
            if orjson.loads(self.fragment(place))["id"] == id_:
                return place
            at += 1
        return None


class StoreWriter:
    """Appends passages; what was written before the last `checkpoint` survives a kill."""

    def __init__(self, folder: Path, count: int = 0, size: int = 0) -> None:
        """`count` and `size` are those of the checkpoint to go on from.

        Raises:
            CorpusError: the files cannot be written, or hold less than was checkpointed.
        """
        self._folder = folder
        self.count, self.size = count, size
        for name, kept in ((TEXTS, size), (OFFSETS, 8 * (count + 1)), (UNSORTED, 8 * count)):
            path = folder / name
            there = path.stat().st_size if path.exists() else 0
            if there < kept and count:
                raise CorpusError(f"{path} is shorter than its checkpoint: delete {folder} and build again")
        self._texts, self._offsets, self._hashes = (self._at(*one) for one in self._marks())
        if not count:
            self._offsets.write(np.uint64(0).tobytes())

    def _marks(self) -> list[tuple[str, int]]:
        kept = 8 * (self.count + 1) if self.count else 0
        return [(TEXTS, self.size), (OFFSETS, kept), (UNSORTED, 8 * self.count)]

    def _at(self, name: str, kept: int) -> Any:
        try:
            file = (self._folder / name).open("r+b" if kept else "wb")
            file.truncate(kept)
            file.seek(kept)
        except OSError as cause:
            raise CorpusError(f"cannot write {self._folder / name}: {cause.strerror}") from cause
        return file

    def add(self, passage: Passage) -> None:
        """One more.

        Raises:
            CorpusError: the disk is full, or the like.
        """
        line = fragment_of(passage) + b"\n"
        self.count += 1
        self.size += len(line)
        try:
            self._texts.write(line)
            self._offsets.write(self.size.to_bytes(8, "little"))
            self._hashes.write(_hash(passage.id).tobytes())
        except OSError as cause:
            raise CorpusError(f"cannot write the corpus to {self._folder}: {cause.strerror}") from cause

    def checkpoint(self) -> None:
        """Everything added is on the disk now."""
        for file in (self._texts, self._offsets, self._hashes):
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Release the files."""
        for file in (self._texts, self._offsets, self._hashes):
            file.close()


def sort_ids(folder: Path) -> None:
    """Turn the list of ids into the index by id. May be repeated.

    Raises:
        CorpusError: an id occurs twice; it is named.
    """
    if not (folder / UNSORTED).exists():
        return
    hashes = np.fromfile(folder / UNSORTED, dtype="<u8")
    order = np.argsort(hashes, kind="stable").astype("<u4")
    ranked = hashes[order]
    offsets = np.memmap(folder / OFFSETS, dtype="<u8", mode="r")
    with (folder / TEXTS).open("rb") as texts:

        def id_at(place: int) -> str:
            texts.seek(int(offsets[place]))
            return str(orjson.loads(texts.readline())["id"])

        for at in np.flatnonzero(ranked[1:] == ranked[:-1]):
            one, other = int(order[at]), int(order[at + 1])
            if id_at(one) == id_at(other):
                raise CorpusError(f"the id {id_at(one)!r} is used twice, by passages {one + 1} and {other + 1}")
    for name, array in ((HASHES, ranked), (ORDER, order)):
        made = folder / f"{name}.new"
        array.tofile(made)
        os.replace(made, folder / name)
    (folder / UNSORTED).unlink()


def _hash(id_: str) -> np.uint64:
    return np.frombuffer(blake2b(id_.encode(), digest_size=8).digest(), dtype="<u8")[0]  # type: ignore[no-any-return]
