"""Building a large corpus from disk to disk: bounded memory, progress, and a kill costs only the last moments.

The work is done beside the target folder, in `.NAME.building`, and renamed into place when it is whole: whoever reads
the old corpus goes on reading it. A second run of the same recipe goes on where the first was stopped.
"""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from pydantic import ValidationError

from mia_skill.core.errors import CorpusError, InputError
from mia_skill.core.types import Passage, Value
from retrieval import lexical, manifest
from retrieval.ann import Layout, build_index, chosen_layout
from retrieval.chunks import chunks
from retrieval.manifest import BuildOptions, Manifest, Recipe, marks, write_atomically
from retrieval.raw_vectors import embed_rest, raw_rows
from retrieval.sources import read_source, source_of
from retrieval.store import DiskStore, StoreWriter, sort_ids
from retrieval.vectors import Embedder

__all__ = ["INDEX", "RAW", "WORDS", "Tell", "build_corpus", "embedded_text"]

Tell = Callable[[str, int, int | None], None]
"""Hears the stage, how much of it is done, and of how much if that is known."""
STATE, LOCK = "state.json", "lock"
WORDS, RAW, INDEX = "words", "vectors.f16", "vectors.faiss"
CHECKPOINT_EVERY = 20_000
"""Passages read between two checkpoints: a second or two."""


class State(Value):
    """How far reading the sources has come."""

    recipe: Recipe
    source: int = 0
    after: int = 0
    """Where to go on in that source."""
    documents: int = 0
    passages: int = 0
    size: int = 0
    """Bytes of the text file."""
    complete: bool = False
    """All sources are read."""


def build_corpus(
    paths: Sequence[Path],
    out: Path,
    embedder: Embedder | None,
    options: BuildOptions | None = None,
    tell: Tell = lambda _stage, _done, _total: None,
) -> Manifest:
    """Make `out` a corpus of all files. If it is one of this very recipe already, nothing is done.

    Raises:
        InputError: the options cannot be used.
        CorpusError: a file is missing or broken, an id occurs twice, the disk is full, or another process is building.
        ModelError: the embedder gave no vectors.
    """
    options = checked_options(options or BuildOptions())
    if not paths:
        raise InputError("no corpus file is given: name jsonl or parquet files")
    out = out.expanduser().resolve()
    tell("look at the files", 0, len(paths))
    sources = tuple(source_of(path) for path in paths)
    tell("look at the files", len(paths), len(paths))
    recipe = Recipe(sources=sources, options=options, embedder=embedder.identity if embedder else None)
    if (there := _finished(out, recipe)) is not None:
        return there
    if out.exists() and not (out / manifest.NAME).exists() and any(out.iterdir()):
        raise InputError(f"{out} is a folder of something else: name a new one")
    work = out.with_name(f".{out.name}.building")
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise CorpusError(f"cannot write to {work.parent}: {cause.strerror}") from cause
    with only_builder(work):
        made = _build(work, _state(work, recipe), embedder, tell)
        _put_in_place(work, out)
    return made


def checked_options(options: BuildOptions) -> BuildOptions:
    """
    Raises:
        InputError: pieces too small to read, or overlapping by half and more.
    """
    chars, overlap = options.chunk_chars, options.overlap_chars
    if chars and (chars < 100 or not 0 <= overlap <= chars // 2):
        raise InputError(f"chunks of {chars} with {overlap} shared: use at least 100 characters, at most half shared")
    return options


def embedded_text(passage: Passage) -> str:
    """What an embedder sees of a passage."""
    return f"{passage.title}\n{passage.text}"


def _finished(out: Path, recipe: Recipe) -> Manifest | None:
    if not (out / manifest.NAME).exists():
        return None
    try:
        made = manifest.read_manifest(out)
        made.check(out)
    except CorpusError:
        return None  # stale or damaged: this build replaces it
    return made if made.recipe == recipe else None


def _state(work: Path, recipe: Recipe) -> State:
    """The state that an earlier run left for this recipe, else a fresh one in an empty folder."""
    try:
        left = State.model_validate_json((work / STATE).read_bytes())
    except (OSError, ValidationError):
        left = None
    if left is not None and left.recipe == recipe:
        return left
    for path in work.iterdir():
        if path.name != LOCK:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return State(recipe=recipe)


def _build(work: Path, state: State, embedder: Embedder | None, tell: Tell) -> Manifest:
    state = _read_sources(work, state, tell)
    sort_ids(work)
    store = DiskStore(work)
    tell("index words", 0, len(store))
    for done in lexical.grow(work / WORDS, lambda start: map(store.passage, range(start, len(store)))):
        tell("index words", done, len(store))
    layout = _vectors(work, store, embedder, state.recipe.options, tell) if embedder is not None else None
    files = [path for path in work.rglob("*") if path.is_file() and not _scratch(path)]
    tell("check sums", 0, len(files))
    made = Manifest(
        recipe=state.recipe,
        documents=state.documents,
        passages=len(store),
        layout=layout,
        files=marks(work, files),
        versions={name: version(name) for name in ("mia-skill", "tantivy")},
    )
    write_atomically(work / manifest.NAME, made.model_dump_json(indent=1).encode())
    tell("check sums", len(files), len(files))
    return made


def _scratch(path: Path) -> bool:
    return path.name in (STATE, LOCK, manifest.NAME) or path.suffix in (".new", ".lock")


def _read_sources(work: Path, state: State, tell: Tell) -> State:
    if state.complete:
        return state
    writer = StoreWriter(work, state.passages, state.size)
    options = state.recipe.options
    total = sum(source.size for source in state.recipe.sources)
    tell("read passages", 0, total)

    def checkpoint(**changed: object) -> State:
        writer.checkpoint()
        saved = state.model_copy(update={"passages": writer.count, "size": writer.size, **changed})
        write_atomically(work / STATE, saved.model_dump_json().encode())
        before = sum(source.size for source in saved.recipe.sources[: saved.source])
        tell("read passages", total if saved.complete else before + saved.after, total)
        return saved

    try:
        for number in range(state.source, len(state.recipe.sources)):
            at = state.after
            documents = state.documents
            for read in read_source(Path(state.recipe.sources[number].path), at):
                for piece in chunks(read.passage, options.chunk_chars, options.overlap_chars):
                    writer.add(piece)
                documents += 1
                at = read.after
                if writer.count - state.passages >= CHECKPOINT_EVERY:
                    state = checkpoint(source=number, after=at, documents=documents)
            state = checkpoint(source=number + 1, after=0, documents=documents)
        if not writer.count:
            raise CorpusError("no passage in any file: expected rows of id, title, text")
        return checkpoint(complete=True)
    finally:
        writer.close()


def _vectors(work: Path, store: DiskStore, embedder: Embedder, options: BuildOptions, tell: Tell) -> Layout:
    layout = chosen_layout(len(store), embedder.dimension, options.index, options.precision)

    def texts(start: int, end: int) -> list[str]:
        return [embedded_text(store.passage(place)) for place in range(start, end)]

    for done in embed_rest(work / RAW, embedder, texts, len(store)):
        tell("embed", done, len(store))
    if not (work / INDEX).exists():
        tell(f"{layout.kind} index", 0, len(store))
        rows = raw_rows(work / RAW, layout.dimension)
        build_index(rows, layout, work / INDEX, lambda done: tell(f"{layout.kind} index", done, len(store)))
    return layout


def _put_in_place(work: Path, out: Path) -> None:
    old = out.with_name(f".{out.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    for name in (STATE, LOCK):
        (work / name).unlink(missing_ok=True)
    try:
        if out.exists():
            out.rename(old)
        work.rename(out)
    except OSError as cause:
        raise CorpusError(f"cannot put the corpus at {out}: {cause.strerror}; it is whole in {work}") from cause
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def only_builder(work: Path) -> Iterator[None]:
    """Hold the folder's lock; it is released by the system if the process is killed.

    Raises:
        CorpusError: another process holds it.
    """
    import fcntl

    with (work / LOCK).open("wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as cause:
            raise CorpusError(f"another process is building in {work}: wait for it, or stop it") from cause
        yield
