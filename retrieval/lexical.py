"""BM25 over titles and texts (tantivy, English stemmer), in memory or in a folder that may be deleted at any time."""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from mia_skill.core.errors import CorpusError, boundary
from mia_skill.core.types import Passage

if TYPE_CHECKING:
    from tantivy import Index, Schema, TextAnalyzer

__all__ = ["LexicalIndex", "grow"]

RECIPE = "title+text, simple, remove_long 40, lowercase, ascii_fold, english, fast position, 2"
"""Part of the cache's key: change it with anything that changes the index."""
ANALYZER = "english_folded"
FUNCTION_WORDS = frozenset(
    "a an and are as at be but by for if in into is it no not of on or such that the their then there these they this "
    "to was were will with what which who whom whose when where how do does did".split()
)
"""Left out of a query that has other words: +0.008 recall at 5 on the training questions of the sandbox wiki."""
MANIFEST = "manifest.json"
WRITER_BYTES = 64_000_000
COMMIT_EVERY = 50_000
"""Passages: what a kill costs at most, some seconds."""


class LexicalIndex:
    """Ranks passages, by position, for a query."""

    def __init__(self, index: "Index") -> None:
        self._index = index
        self._schema = _schema()
        self._analyzer = _analyzer()
        index.register_tokenizer(ANALYZER, self._analyzer)
        index.reload()

    @classmethod
    def open(cls, passages: Sequence[Passage], digest: str, cache: Path | None) -> "LexicalIndex":
        """The index of `passages`, from `cache` when it holds a sound one for `digest`, else built (and kept there).

        Raises:
            CorpusError: the cache cannot be written.
        """
        from tantivy import Index

        if cache is None:
            return cls(_filled(Index(_schema()), passages))
        folder = cache / "bm25" / _key(digest)
        try:
            if not _sound(folder):
                _build(folder, passages)
            return cls(Index(_schema(), path=str(folder)))
        except (OSError, ValueError) as cause:  # tantivy reports a full disk as a ValueError
            way = "make room there, or name another folder with --home"
            raise CorpusError(f"the search cache {folder} cannot be used ({cause}): {way}") from cause

    @classmethod
    def load(cls, folder: Path) -> "LexicalIndex":
        """The index that `grow` made in `folder`.

        Raises:
            CorpusError: there is none.
        """
        from tantivy import Index

        try:
            return cls(Index(_schema(), path=str(folder)))
        except (OSError, ValueError) as cause:
            raise CorpusError(f"the word index {folder} is damaged ({cause})") from cause

    def rank(self, query: str, depth: int) -> list[tuple[int, float]]:
        """At most `depth` positions with their BM25 scores, best first, equal ones in the order of the corpus.
        Operators in the query are plain words."""
        from tantivy import Occur, Query

        terms = self._terms(query)
        clauses = [
            (Occur.Should, Query.term_query(self._schema, field, term)) for term in terms for field in ("title", "text")
        ]
        if not clauses:
            return []
        searcher = self._index.searcher()
        hits = searcher.search(Query.boolean_query(clauses), limit=depth, count=False).hits
        places = searcher.fast_field_values("position", [address for _, address in hits])
        ranked = [(int(place or 0), float(score)) for place, (score, _) in zip(places, hits, strict=True)]
        return sorted(ranked, key=lambda one: (-one[1], one[0]))

    def _terms(self, query: str) -> list[str]:
        """Each term once: said twice it would weigh twice, which loses (-0.007)."""
        terms = dict.fromkeys(self._analyzer.analyze(query))
        return [term for term in terms if term not in FUNCTION_WORDS] or list(terms)


def _schema() -> "Schema":
    from tantivy import SchemaBuilder

    builder = SchemaBuilder()
    builder.add_integer_field("position", fast=True)
    builder.add_text_field("title", tokenizer_name=ANALYZER, index_option="freq")
    builder.add_text_field("text", tokenizer_name=ANALYZER, index_option="freq")
    return builder.build()


def _analyzer() -> "TextAnalyzer":
    from tantivy import Filter, TextAnalyzerBuilder, Tokenizer

    builder = TextAnalyzerBuilder(Tokenizer.simple())
    for part in (Filter.remove_long(40), Filter.lowercase(), Filter.ascii_fold(), Filter.stemmer("english")):
        builder = builder.filter(part)
    return builder.build()


def grow(folder: Path, passages: Callable[[int], Iterator[Passage]]) -> Iterator[int]:
    """Fill the index in `folder`, commit by commit, yielding how many passages are in; `passages(n)` gives those from
    position n on. After a kill it goes on from the last commit: positions are added in order by one thread, so the
    number of documents is the next position.

    Raises:
        CorpusError: the folder cannot be written, or another process is writing to it.
    """
    from tantivy import Document, Index

    with boundary(CorpusError, f"cannot write the word index {folder}", OSError, ValueError):
        folder.mkdir(parents=True, exist_ok=True)
        index = Index(_schema(), path=str(folder))
        index.register_tokenizer(ANALYZER, _analyzer())
        done = int(index.searcher().num_docs)
        writer = index.writer(heap_size=WRITER_BYTES, num_threads=1)
        for passage in passages(done):
            writer.add_document(Document(position=done, title=passage.title, text=passage.text))
            done += 1
            if done % COMMIT_EVERY == 0:
                writer.commit()
                yield done
        writer.commit()
        writer.wait_merging_threads()
        yield done


def _filled(index: "Index", passages: Sequence[Passage]) -> "Index":
    from tantivy import Document

    index.register_tokenizer(ANALYZER, _analyzer())
    writer = index.writer(heap_size=WRITER_BYTES, num_threads=1)
    for position, passage in enumerate(passages):
        writer.add_document(Document(position=position, title=passage.title, text=passage.text))
    writer.commit()
    writer.wait_merging_threads()
    return index


def _key(digest: str) -> str:
    return sha256(f"{RECIPE}\n{version('tantivy')}\n{digest}".encode()).hexdigest()[:32]


def _build(folder: Path, passages: Sequence[Passage]) -> None:
    """Fill a folder of its own, then put it in place: a reader sees a whole index or none."""
    from tantivy import Index

    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="building-", dir=folder.parent))
    try:
        _filled(Index(_schema(), path=str(made)), passages)
        (made / MANIFEST).write_bytes(orjson.dumps(_digests(made)))
        if folder.exists():
            folder.rename(made / "damaged")
        try:
            made.rename(folder)
        except OSError:
            if not _sound(folder):  # else another process was faster, with the same result
                raise
        shutil.rmtree(folder / "damaged", ignore_errors=True)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _digests(folder: Path) -> dict[str, str]:
    files = [one for one in folder.iterdir() if one.is_file() and not one.name.endswith(".lock")]
    return {one.name: sha256(one.read_bytes()).hexdigest() for one in sorted(files) if one.name != MANIFEST}


def _sound(folder: Path) -> bool:
    """Is everything there as it was written? (A damaged tantivy file answers wrongly, or stops the process.)"""
    try:
        wanted = orjson.loads((folder / MANIFEST).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return False
    return bool(wanted) and wanted == _digests(folder)
