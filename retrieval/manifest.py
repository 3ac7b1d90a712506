"""What a built corpus says of itself, and how it is known to be whole and up to date."""

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from mia_skill.core.errors import CorpusError, CorpusMismatchError
from mia_skill.core.types import Value
from retrieval.ann import IndexKind, Layout, Precision
from retrieval.sources import Source, digest_of

__all__ = ["BuildOptions", "Manifest", "Mark", "Recipe", "marks", "read_manifest", "write_atomically"]

FORMAT = 1
NAME = "manifest.json"
WHOLLY_CHECKED = 2_000_000_000
"""Bytes up to which every opening reads every file (a second or two); beyond, `mia corpus check` does."""


class BuildOptions(Value):
    """How a corpus is made."""

    chunk_chars: int = 2000
    """Texts longer than this are cut into overlapping pieces; 0 leaves them whole."""
    overlap_chars: int = 200
    index: IndexKind | None = None
    """None: by size."""
    precision: Precision | None = None


class Recipe(Value):
    """Everything the corpus depends on: equal recipes give equal corpora."""

    format: int = FORMAT
    sources: tuple[Source, ...]
    options: BuildOptions
    embedder: str | None
    """Identity; None: words only."""

    @property
    def command(self) -> str:
        """The line that builds it again."""
        options = self.options
        words = ["mia", "corpus", "build", *(source.path for source in self.sources)]
        words += ["--chunk-chars", str(options.chunk_chars), "--overlap-chars", str(options.overlap_chars)]
        words += ["--index", options.index] if options.index else []
        words += ["--precision", options.precision] if options.precision else []
        words += [] if self.embedder else ["--words-only"]
        return shlex.join(words)


class Mark(Value):
    """A file of the corpus as it was written."""

    name: str
    size: int
    sha256: str


class Manifest(Value):
    """A finished corpus."""

    recipe: Recipe
    documents: int
    passages: int
    layout: Layout | None
    """Of the vectors; None: words only."""
    files: tuple[Mark, ...]
    versions: dict[str, str]

    def check(self, folder: Path, how: Literal["usual", "whole"] = "usual") -> None:
        """Is everything there as it was written, and the sources as they were read? Sizes always; "usual" reads the
        bytes of corpora up to 2 GB, "whole" of all.

        Raises:
            CorpusError: a file is missing or damaged.
            CorpusMismatchError: a source has changed.
        """
        rebuild = f"{self.recipe.command} --out {shlex.quote(str(folder))}"
        whole = how == "whole" or sum(mark.size for mark in self.files) <= WHOLLY_CHECKED
        for mark in self.files:
            path = folder / mark.name
            if not path.is_file() or path.stat().st_size != mark.size or (whole and digest_of(path) != mark.sha256):
                raise CorpusError(f"{path} is missing or damaged: delete {folder} and build again: {rebuild}")
        for source in self.recipe.sources:
            if not source.same():
                raise CorpusMismatchError(f"{source.path} has changed since {folder} was built of it: {rebuild}")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a built corpus.

    Raises:
        CorpusError: there is none, or it is damaged or of another format.
    """
    try:
        raw = (folder / NAME).read_bytes()
    except OSError as cause:
        raise CorpusError(
            f"{folder} holds no built corpus: make one with mia corpus build FILES --out {shlex.quote(str(folder))}"
        ) from cause
    try:
        manifest = Manifest.model_validate_json(raw)
    except ValidationError as cause:
        raise CorpusError(f"{folder / NAME} is damaged: delete {folder} and build the corpus again") from cause
    if manifest.recipe.format != FORMAT:
        raise CorpusError(f"{folder} is of format {manifest.recipe.format}, not {FORMAT}: {manifest.recipe.command}")
    return manifest


def marks(folder: Path, paths: Iterable[Path]) -> tuple[Mark, ...]:
    """The marks of files below `folder`, by name."""
    return tuple(
        Mark(name=str(path.relative_to(folder)), size=path.stat().st_size, sha256=digest_of(path))
        for path in sorted(paths)
    )


def write_atomically(path: Path, content: bytes) -> None:
    """All of it or nothing, even when the machine stops.

    Raises:
        CorpusError: the disk is full, or the like.
    """
    made = path.with_name(f"{path.name}.new")
    try:
        with made.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(made, path)
    except OSError as cause:
        raise CorpusError(f"cannot write {path}: {cause.strerror}") from cause
