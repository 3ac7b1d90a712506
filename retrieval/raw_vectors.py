"""The vectors of a corpus as they were made: float16 rows in one file, appended to, memory-mapped to read."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.errors import CorpusError, boundary
from retrieval.vectors import Embedder, Rows

__all__ = ["BLOCK", "blocks", "embed_rest", "raw_rows"]

CHUNK = 256
"""Passages embedded and kept together: what a kill costs at most (10 seconds with the packaged model)."""
BLOCK = 65_536
"""Rows handed to an index at a time: 100 MB at 384 dimensions."""
ITEM = 2


def raw_rows(path: Path, dimension: int) -> NDArray[np.float16]:
    """All rows, `[N, D]`, not read until they are looked at.

    Raises:
        CorpusError: missing, or of another shape.
    """
    try:
        flat: NDArray[np.float16] = np.memmap(path, dtype="<f2", mode="r")
        return flat.reshape(-1, dimension)
    except (OSError, ValueError) as cause:
        raise CorpusError(f"the vectors {path} are damaged ({cause})") from cause


def blocks(rows_ND: NDArray[np.float16]) -> Iterator[Rows]:
    """The rows as float32, some at a time, so that memory stays bounded."""
    for start in range(0, len(rows_ND), BLOCK):
        yield np.ascontiguousarray(rows_ND[start : start + BLOCK], dtype=np.float32)


def embed_rest(path: Path, embedder: Embedder, texts: Callable[[int, int], Sequence[str]], count: int) -> Iterator[int]:
    """Embed what the file does not hold yet of `count` texts, yielding how many are done. `texts(a, b)` gives those
    of positions a to b. Whole chunks that an earlier run wrote are kept if their rows are unit vectors.

    Raises:
        CorpusError: the file cannot be written.
        ModelError: the embedder gave no vectors.
    """
    width = embedder.dimension * ITEM
    with boundary(CorpusError, f"cannot write the vectors {path}", OSError):
        done = _sound(path, embedder.dimension)
        with path.open("r+b" if path.exists() else "wb") as file:
            file.truncate(done * width)
            file.seek(done * width)
            yield done
            while done < count:
                rows = embedder.embed(texts(done, min(done + CHUNK, count)), "passage")
                file.write(rows.astype("<f2").tobytes())
                file.flush()
                done += len(rows)
                yield done
            os.fsync(file.fileno())


def _sound(path: Path, dimension: int) -> int:
    """How many rows, in whole chunks from the start, have length 1 (a block lost by the disk is zeros)."""
    if not path.exists():
        return 0
    whole = path.stat().st_size // (dimension * ITEM) // CHUNK * CHUNK
    rows = np.memmap(path, dtype="<f2", mode="r")[: whole * dimension].reshape(-1, dimension) if whole else None
    good = 0
    for block in blocks(rows) if rows is not None else ():
        with np.errstate(over="ignore", invalid="ignore"):
            fine = np.abs(np.einsum("nd,nd->n", block, block) - 1) < 1e-2
        good += len(block) if fine.all() else int(np.argmin(fine))
        if not fine.all():
            break
    return good // CHUNK * CHUNK
