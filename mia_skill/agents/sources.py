"""Where the agents look things up: corpus, web, pages, images. Each may be missing, and says how to have it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from mia_skill.core.errors import InputError, MissingExtraError
from mia_skill.core.types import Passage
from retrieval.search import SearchEngine

if TYPE_CHECKING:
    from retrieval.images import ImageQuery, Images
    from retrieval.tape import Tape
    from retrieval.visit import Page, Visitor

__all__ = ["Source", "Sources", "Whole"]

Source = Literal["auto", "corpus", "web"]
NO_SOURCE = (
    "no search source {!r} is configured: set search.corpus to jsonl files of id, title, text (MIA_SEARCH__CORPUS) or "
    "to a folder made by `mia corpus build`, or search.web to an engine such as ddgs (MIA_SEARCH__WEB)"
)
NO_VISITS = (
    "pages cannot be opened: set visit.mode = 'on' (MIA_VISIT__MODE=on), or search.web to an engine (MIA_SEARCH__WEB)"
)
NO_IMAGES = (
    "no image search is configured: set images.cache to folders of prepared results, images.folder to a folder of "
    "images, or images.live = 'serper'"
)


@runtime_checkable
class Whole(Protocol):
    """A corpus that can give a passage in full."""

    async def whole(self, id_: str) -> Passage:
        """The passage with this id.

        Raises:
            InputError: there is none.
        """
        ...


@dataclass(frozen=True)
class Sources:
    """What is configured."""

    corpus: SearchEngine | None = None
    web: SearchEngine | None = None
    visitor: "Visitor | None" = None
    images: "Images | None" = None
    tape: "Tape | None" = None
    """Closed with the rest."""
    lacking: MissingExtraError | None = None
    """Why there is no web engine although one is set. Told to whoever searches: memory and judgment need none."""

    @property
    def opens(self) -> bool:
        """Can anything be opened in full?"""
        return self.visitor is not None or isinstance(self.corpus, Whole)

    def pick(self, source: Source) -> SearchEngine:
        """The engine for `source`; "auto" prefers the corpus.

        Raises:
            InputError: it is not configured; the message says how to configure it.
            MissingExtraError: it is, and its package is not installed.
        """
        found = {"auto": self.corpus or self.web, "corpus": self.corpus, "web": self.web}[source]
        if found is None and self.lacking is not None and source != "corpus":
            raise self.lacking
        if found is None:
            raise InputError(NO_SOURCE.format(source))
        return found

    async def open(self, what: str, *, question: str = "", start: int = 0, max_chars: int | None = None) -> "Page":
        """A web page by its address, or a passage of the corpus in full by its id.

        Raises:
            InputError: it is neither, or pages cannot be opened here.
            VisitError: the page cannot be had.
        """
        if self.visitor is not None and ("://" in what or not isinstance(self.corpus, Whole)):
            return await self.visitor.visit(what, question=question, start=start, max_chars=max_chars)
        if "://" in what:
            raise InputError(NO_VISITS)
        if self.corpus is None:
            raise InputError(NO_SOURCE.format("corpus"))
        if not isinstance(self.corpus, Whole):
            raise InputError(f"{what[:80]!r} is no address: give one that begins with http:// or https://")
        from retrieval.visit import Document, page_of

        found = await self.corpus.whole(what.partition(":")[0])
        document = Document(url=found.url or "", id=found.id, title=found.title, text=found.text)
        return page_of(document, question=question, start=start, room=max_chars or 6_000)

    async def similar(self, query: "ImageQuery", k: int) -> tuple[Passage, ...]:
        """What similar images are about.

        Raises:
            InputError: no image search is configured, or it does not take this form of query.
            SearchError: the engine failed.
        """
        if self.images is None:
            raise InputError(NO_IMAGES)
        return await self.images.find(query, k)

    async def aclose(self) -> None:
        """Close what is open."""
        for one in (self.corpus, self.web, self.visitor, self.images):
            close = getattr(one, "aclose", None)
            if close is not None:
                await close()
        if self.tape is not None:
            self.tape.close()
