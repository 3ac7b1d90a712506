"""Opening a page: checked address, robots heeded, main text, the part that matters. What it says is untrusted data."""

from collections.abc import Sequence
from functools import partial
from urllib.parse import urldefrag

import anyio
import httpcore
from pydantic import TypeAdapter

from mia_skill.core.config import VisitConfig
from mia_skill.core.errors import InputError, VisitError
from mia_skill.core.picture import Picture, picture_of
from mia_skill.core.types import Origin, Passage, Text, Value
from retrieval.address import Door, Resolve, resolve, target_of
from retrieval.browser import Browser
from retrieval.fetch import Fetched, Fetcher
from retrieval.hits import canonical_url, page_id
from retrieval.reader import Read, Reader
from retrieval.relevant import Span, relevant
from retrieval.repeats import Repeats
from retrieval.robots import Robots
from retrieval.tape import Tape

__all__ = ["Document", "Page", "Visitor", "page_of"]

LITTLE = 500
"""Characters of text under which a page with scripts may be made by them."""
KEPT = 64
"""Documents in memory, for paging; each at most some MB."""


class Document(Value):
    """The whole text of a page, as far as it was read; or of a passage of the corpus."""

    url: str
    """After redirects; empty for a passage of the corpus."""
    id: str = ""
    """Of a passage of the corpus."""
    title: Text = ""
    text: Text
    cut: bool = False
    """There was more than the limits let through."""


class Page(Value):
    """What is shown of a page."""

    url: str
    title: Text = ""
    total: int
    """Characters of the whole text."""
    passages: tuple[Passage, ...]
    """Exact slices; each id ends in `:start-end`, the characters of the text that it is."""
    next_start: int | None = None
    """Where to read on; None at the end, or where parts were picked by the question."""
    note: Text = ""


FORM: TypeAdapter[Document] = TypeAdapter(Document)


class Visitor:
    """Opens pages for a whole process. Safe to call from several tasks at once."""

    def __init__(
        self,
        config: VisitConfig,
        *,
        tape: Tape | None = None,
        resolve: Resolve = resolve,
        network: httpcore.AsyncNetworkBackend | None = None,
        reader: Reader | None = None,
    ) -> None:
        """`resolve`, `network` and `reader` are seams for tests."""
        self._config = config
        self._tape = tape
        door = Door(resolve, frozenset(config.allow_hosts))
        self._browser = Browser(door, network, config.user_agent, config.max_bytes, config.timeout_s, config.chromium)
        self._drawing = anyio.CapacityLimiter(1)
        self._fetcher = Fetcher(
            door,
            user_agent=config.user_agent,
            max_bytes=config.max_bytes,
            redirects=config.redirects,
            network=network,
        )
        self._robots = Robots(self._fetcher, config.user_agent.partition("/")[0])
        self._reader = reader or Reader(limit_s=config.read_s)
        self._repeats: Repeats[str, Document] = Repeats(kept=KEPT)

    async def visit(self, url: str, *, question: str = "", start: int = 0, max_chars: int | None = None) -> Page:
        """The page at `url`: from `start` on, or, if it is long, what matters for `question`.

        Raises:
            InputError: `start` is beyond the end, or a number is out of range.
            AddressRefused, RobotsRefused: it may not be visited.
            VisitError: it cannot be had or read.
            MissingExtraError: the extra `web` is not installed.
        """
        room = max_chars or self._config.max_chars
        if start < 0 or not 1 <= room <= 100_000:
            raise InputError("start must be 0 or more, and max_chars 1 to 100000")
        target_of(url)
        document = await self.document(urldefrag(url.strip()).url)
        return page_of(document, question=question, start=start, room=room)

    async def document(self, url: str) -> Document:
        """The whole text of a page; kept for a while, so that reading on asks nobody.

        Raises:
            VisitError, MissingExtraError: as `visit`.
        """
        return await self._repeats.once(url, partial(self._taped, url))

    async def picture(self, url: str) -> Picture:
        """The image at a public address.

        Raises:
            VisitError: as `visit`.
            InputError: it is no image.
        """
        got = await self._fetched(url)
        if got.status != 200:
            raise VisitError(refusal(got))
        if got.cut:
            raise VisitError(f"{url[:200]} is larger than {self._config.max_bytes} bytes: raise visit.max_bytes")
        return picture_of(got.body)

    async def aclose(self) -> None:
        """Close connections and processes."""
        await self._reader.aclose()
        await self._fetcher.aclose()

    async def _taped(self, url: str) -> Document:
        if self._tape is None:
            return await self._opened(url)
        return await self._tape.run("visit", {"url": url}, partial(self._opened, url), FORM)

    async def _opened(self, url: str) -> Document:
        got = await self._fetched(url)
        if got.status != 200:
            raise VisitError(refusal(got))
        if got.cut and b"%PDF-" in got.body[:1024]:
            raise VisitError(f"{url[:200]} is a PDF of more than {self._config.max_bytes} bytes: raise visit.max_bytes")
        read = await self._read(got)
        return Document(url=got.url, title=read.title, text=read.text, cut=got.cut or read.cut)

    async def _read(self, got: Fetched) -> Read:
        """The text as it came, or as scripts make it."""
        mode = self._config.browser
        marked = b"<script" in got.body and b"%PDF-" not in got.body[:1024]
        if mode == "off" or (not marked and (mode == "scripts" or "html" not in got.media_type)):
            return await self._reader.read(got)
        if mode == "scripts":
            try:
                read = await self._reader.read(got)
            except VisitError:
                read = None
            if read is not None and len(read.text) >= LITTLE:
                return read
        async with self._drawing:
            drawn = await self._browser.page(got.url)
        return await self._reader.read(drawn)

    async def _fetched(self, url: str) -> Fetched:
        limit = self._config.timeout_s
        try:
            with anyio.fail_after(limit):
                return await self._fetcher.get(url, before=self._robots.check if self._config.robots else None)
        except TimeoutError as cause:
            raise VisitError(f"{url[:200]} did not come within {limit:g} s: use another source") from cause


def refusal(got: Fetched) -> str:
    """What a status other than 200 means for the caller."""
    match got.status:
        case 401 | 402 | 403 | 407 | 429 | 451:
            return f"{got.url[:200]} refuses this visitor ({got.status}): use another source"
        case 404 | 410:
            return f"{got.url[:200]} is not there ({got.status}): check the address"
        case _:
            return f"{got.url[:200]} answered {got.status} and no page"


def page_of(document: Document, *, question: str = "", start: int = 0, room: int = 6_000) -> Page:
    """What is shown of a document: all of it, a stretch from `start`, or the slices that matter for `question`.

    Raises:
        InputError: `start` is beyond the end.
    """
    total = len(document.text)
    if start and start >= total:
        raise InputError(f"start is {start}, but the text of this page ends at {total}")
    spans: Sequence[Span] = ()
    if question and not start and total > room:
        spans = relevant(document.text, question, room)
    picked = bool(spans)
    spans = spans or [Span(start, min(total, start + room))]
    end = spans[-1].end
    return Page(
        url=document.url,
        title=document.title,
        total=total,
        passages=tuple(passage(document, span) for span in spans),
        next_start=None if picked or end >= total else end,
        note=note_of(document, spans, picked=picked, unmatched=bool(question) and not start and total > room),
    )


def note_of(document: Document, spans: Sequence[Span], *, picked: bool, unmatched: bool) -> str:
    """What a reader must know about a view of a page."""
    notes = []
    if picked:
        shown = sum(one.end - one.start for one in spans)
        notes.append(f"{shown} of {len(document.text)} characters, picked by the question; with start, read in order")
    elif unmatched:
        notes.append("no part of it shares a word with the question, so this is its beginning")
    if document.cut:
        notes.append("the page is longer than what was fetched")
    return "; ".join(notes)


def passage(document: Document, span: Span) -> Passage:
    """An exact slice of a page."""
    page = document.id or page_id(canonical_url(document.url) or document.url)
    return Passage(
        id=f"{page}:{span.start}-{span.end}",
        title=document.title,
        text=document.text[span.start : span.end],
        url=document.url or None,
        source="corpus" if document.id else "visit",
        origin=Origin.FILE if document.id else Origin.WEB,
    )
