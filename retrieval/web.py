"""Web search. An engine that is blocked, throttled or broken is an error, never "no results"."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from hashlib import blake2b
from typing import Any, NamedTuple, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import anyio
import httpx
import orjson
from pydantic import BaseModel, SecretStr, ValidationError

from mia_skill.core.config import SearchConfig
from mia_skill.core.errors import ConfigError, SearchError
from mia_skill.core.require import require
from mia_skill.core.types import Origin, Passage
from retrieval.repeats import Repeats
from retrieval.search import SearchEngine, checked

__all__ = ["DdgsBackend", "Hit", "SerperBackend", "WebBackend", "WebEngine", "build_web", "canonical_url"]

SERPER_URL = "https://google.serper.dev/search"
MOST_BYTES = 2_000_000
"""A larger reply is no list of hits."""
TRACKING = frozenset({"gclid", "fbclid", "msclkid", "igshid", "mc_cid", "mc_eid", "ref_src"})


class Hit(NamedTuple):
    """One result as the engine gave it."""

    url: str
    title: str
    text: str


class WebBackend(Protocol):
    """Asks one engine. Its name is the source of the passages."""

    @property
    def name(self) -> str: ...

    async def fetch(self, query: str, k: int) -> list[Hit]:
        """About `k` hits, best first.

        Raises:
            SearchError: anything but an answer.
        """
        ...


class WebEngine:
    """A backend with a time limit, its hits made passages, one per page; equal searches at a time are made once."""

    def __init__(self, backend: WebBackend, *, timeout_s: float = 10.0) -> None:
        self._backend = backend
        self._timeout_s = timeout_s
        self._repeats: Repeats[tuple[str, int], tuple[Passage, ...]] = Repeats()

    @property
    def name(self) -> str:
        return self._backend.name

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """At most `k` passages of origin "web", best first; empty when the engine says that there are none.

        Raises:
            InputError: the query is empty or too long, or `k` is out of range.
            SearchError: the engine was blocked, throttled, unreachable, too slow, or answered something else.
        """
        query = checked(query, k)
        return await self._repeats.once((query, k), partial(self._ask, query, k))

    async def _ask(self, query: str, k: int) -> tuple[Passage, ...]:
        try:
            with anyio.fail_after(self._timeout_s):
                hits = await self._backend.fetch(query, k)
        except TimeoutError as cause:
            raise SearchError(
                f"{self.name} did not answer within {self._timeout_s:g} s: try again, or raise search.timeout_s",
                engine=self.name,
            ) from cause
        return passages_of(hits, self.name)[:k]


class SerperBackend:
    """Google results by serper.dev, or by anything that answers alike under another `url`."""

    name = "serper"

    def __init__(
        self, key: SecretStr | None, *, url: str = SERPER_URL, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        self._key = key
        self._url = url
        self._transport = transport

    async def fetch(self, query: str, k: int) -> list[Hit]:
        headers = {"X-API-KEY": self._key.get_secret_value()} if self._key else {}
        try:
            # The time limit is the engine's; httpx would only limit each read.
            async with (
                httpx.AsyncClient(timeout=None, transport=self._transport) as client,
                client.stream("POST", self._url, headers=headers, json={"q": query, "num": k}) as reply,
            ):
                body = await self._body(reply)
        except (httpx.HTTPError, httpx.InvalidURL) as cause:
            raise self._error(f"cannot be reached ({cause or type(cause).__name__}): check search.web_url") from cause
        if reply.status_code != 200:
            raise self._refusal(reply, body)
        return self._hits(body)

    async def _body(self, reply: httpx.Response) -> bytes:
        body = bytearray()
        async for piece in reply.aiter_bytes():
            body += piece
            if len(body) > MOST_BYTES:
                raise self._error(f"sent more than {MOST_BYTES} bytes: that is no list of results")
        return bytes(body)

    def _hits(self, body: bytes) -> list[Hit]:
        try:
            found = _SerperReply.model_validate(orjson.loads(body))
        except (orjson.JSONDecodeError, ValidationError) as cause:
            said = self._excerpt(body)
            raise self._error(f"did not answer with results (blocked, or not this engine?): {said}") from cause
        return [Hit(one.link, one.title, one.snippet) for one in found.organic]

    def _refusal(self, reply: httpx.Response, body: bytes) -> SearchError:
        status, said = reply.status_code, self._excerpt(body)
        retry = retry_after(reply.headers.get("retry-after"), datetime.now(UTC))
        if status in (401, 403):
            return self._error(
                f"refused the key or this caller ({status}): check search.web_key; it said {said}", retry
            )
        if status == 429:
            wait = f"in {retry:.0f} s" if retry is not None else "later"
            return self._error(f"allows no more searches for now (429): try again {wait}; it said {said}", retry)
        return self._error(f"answered {status} and no results; it said {said}", retry)

    def _excerpt(self, body: bytes) -> str:
        text = " ".join(body[:2_000].decode("utf-8", "replace").split())
        if self._key:
            text = text.replace(self._key.get_secret_value(), "***")
        return repr(text[:160])

    def _error(self, message: str, retry_after_s: float | None = None) -> SearchError:
        return SearchError(f"{self.name} {message}", engine=self.name, retry_after_s=retry_after_s)


class _SerperHit(BaseModel):
    link: str
    title: str = ""
    snippet: str = ""


class _SerperReply(BaseModel):
    organic: list[_SerperHit]


class DdgsBackend:
    """The engines behind the `ddgs` package, which needs no key and runs in a thread."""

    name = "ddgs"

    def __init__(self, find: Callable[[str, int], Sequence[Any]], failure: type[Exception]) -> None:
        """`find` gives rows of `href`, `title` and `body` for a query and a count, or raises `failure`."""
        self._find = find
        self._failure = failure

    @classmethod
    def from_package(cls, *, proxy: str | None, timeout_s: float) -> "DdgsBackend":
        """Over the installed package.

        Raises:
            MissingExtraError: it is not installed.
        """
        package = require("ddgs", extra="web")
        failures = require("ddgs.exceptions", extra="web")

        def find(query: str, k: int) -> Sequence[Any]:
            found: Sequence[Any] = package.DDGS(proxy=proxy, timeout=math.ceil(timeout_s)).text(query, max_results=k)
            return found

        return cls(find, failures.DDGSException)

    async def fetch(self, query: str, k: int) -> list[Hit]:
        try:
            rows = await anyio.to_thread.run_sync(self._find, query, k, abandon_on_cancel=True)
        except self._failure as cause:
            # The package says "No results found." for an empty answer and for engines that blocked it alike.
            raise SearchError(
                f"ddgs got nothing ({cause}): it may be throttled or blocked; wait a minute, ask in other words, or "
                "set search.web to an engine with a key",
                engine=self.name,
            ) from cause
        try:
            found = [_DdgsHit.model_validate(row) for row in rows]
        except (ValidationError, TypeError) as cause:
            raise SearchError("ddgs gave rows of another form: update the package ddgs", engine=self.name) from cause
        return [Hit(one.href, one.title, one.body) for one in found]


class _DdgsHit(BaseModel):
    href: str
    title: str = ""
    body: str = ""


def build_web(config: SearchConfig) -> SearchEngine | None:
    """The engine that `config` names; None for "none".

    Raises:
        ConfigError: no such engine, or its key or address cannot be used.
        MissingExtraError: its package is not installed.
    """
    if config.web_url is not None and not config.web_url.startswith(("http://", "https://", "socks5")):
        raise ConfigError(f"search.web_url {config.web_url!r} must start with http:// or https://")
    match config.web:
        case "none":
            return None
        case "ddgs":
            backend: WebBackend = DdgsBackend.from_package(proxy=config.web_url, timeout_s=config.timeout_s)
        case "serper":
            if config.web_key is None and config.web_url is None:
                raise ConfigError("search.web is 'serper': set search.web_key (MIA_SEARCH__WEB_KEY) to its key")
            backend = SerperBackend(config.web_key, url=config.web_url or SERPER_URL)
        case other:
            raise ConfigError(f"search.web {other!r} is unknown: use 'none', 'ddgs' or 'serper'")
    return WebEngine(backend, timeout_s=config.timeout_s)


def passages_of(hits: Sequence[Hit], source: str) -> tuple[Passage, ...]:
    """Passages in the same order, the first of each page; what is no web address is left out."""
    made: dict[str, Passage] = {}
    for hit in hits:
        page = canonical_url(hit.url)
        if page is not None and page not in made:
            made[page] = Passage(
                id="web_" + blake2b(page.encode("utf-8", "replace"), digest_size=8).hexdigest(),
                title=hit.title,
                text=hit.text or hit.title,
                url=hit.url,
                source=source,
                origin=Origin.WEB,
                score=1 / (1 + len(made)),
            )
    return tuple(made.values())


def canonical_url(url: str) -> str | None:
    """One form for addresses of one page: lower-case host without "www.", no default port, fragment, tracking or
    trailing slash, either scheme. None for anything but http and https."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = parts.hostname.removeprefix("www.").rstrip(".")
    if port not in (None, 80, 443):
        host = f"{host}:{port}"
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in TRACKING and not name.startswith("utm_")
    ]
    return urlunsplit(("https", host, parts.path.rstrip("/"), urlencode(sorted(kept)), ""))


def retry_after(header: str | None, now: datetime) -> float | None:
    """Seconds to wait, from a Retry-After header in either of its forms; None when it says nothing."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header.strip()[:9])
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds())
