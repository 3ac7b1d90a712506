"""The engines behind one protocol. An engine that is blocked, throttled or broken is an error, never "no results"."""

import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import anyio
import httpx
from pydantic import BaseModel, SecretStr, ValidationError

from mia_skill.core.errors import ConfigError, Failure, SearchError
from mia_skill.core.redact import redact
from mia_skill.core.require import require
from retrieval.dialects import Blocked, Dialect
from retrieval.hits import Hit

__all__ = ["DdgsBackend", "HttpBackend", "WebBackend", "retry_after"]

MOST_BYTES = 2_000_000
"""A larger reply is no list of hits."""
SPENT = (402, 432, 433)
"""Quota or credits used up (Exa and Brave 402, Tavily 432 and 433)."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


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

    async def aclose(self) -> None:
        """Close connections."""
        ...


class HttpBackend:
    """An engine that answers JSON over HTTP, or anything that answers alike under another `url`."""

    def __init__(
        self,
        dialect: Dialect,
        key: SecretStr | None,
        *,
        url: str | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Raises ConfigError where there is no address, or the key cannot stand in a header."""
        self._dialect = dialect
        self._key = key.get_secret_value().strip() if key else ""
        if not (self._key.isascii() and self._key.isprintable()):
            raise ConfigError(f"the key of {dialect.name} holds characters that no HTTP header can carry")
        address = url or dialect.url
        if address is None:
            raise ConfigError(f"{dialect.name} has no public address: set search.{dialect.name}.url to your instance")
        self._url = address
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    @property
    def name(self) -> str:
        return self._dialect.name

    async def fetch(self, query: str, k: int) -> list[Hit]:
        ask = self._dialect.ask(query, k, self._key)
        request = {"params": dict(ask.params) or None, "headers": dict(ask.headers), "json": ask.json}
        try:
            async with self._open().stream(ask.method, self._url, **request) as reply:  # type: ignore[arg-type]
                body = await self._body(reply)
        except (httpx.HTTPError, httpx.InvalidURL) as cause:
            where = "search.web_url" if self.name == "serper" else f"search.{self.name}.url"
            raise self._error(f"cannot be reached ({cause or type(cause).__name__}): check {where}") from cause
        if reply.status_code != 200:
            raise self._refusal(reply, body)
        return self._hits(body)

    async def aclose(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _open(self) -> httpx.AsyncClient:
        """One pool for all calls. The time limit is the engine's; httpx would only limit each read."""
        if self._client is None:
            home = urlsplit(self._url).hostname in LOOPBACK
            self._client = httpx.AsyncClient(timeout=None, transport=self._transport, trust_env=not home)
        return self._client

    async def _body(self, reply: httpx.Response) -> bytes:
        body = bytearray()
        async for piece in reply.aiter_bytes():
            body += piece
            if len(body) > MOST_BYTES:
                raise self._error(f"sent more than {MOST_BYTES} bytes: that is no list of results")
        return bytes(body)

    def _hits(self, body: bytes) -> list[Hit]:
        try:
            return self._dialect.read(body)
        except Blocked as cause:
            raise self._error(f"searched nothing: {cause}", kind="blocked") from cause
        except (ValueError, RecursionError) as cause:
            said = self._excerpt(body)
            kind: Failure = "blocked" if body.lstrip()[:1] == b"<" else "upstream_error"
            raise self._error(
                f"did not answer with results (blocked, or not this engine?): {said}", kind=kind
            ) from cause

    def _refusal(self, reply: httpx.Response, body: bytes) -> SearchError:
        status, said = reply.status_code, self._excerpt(body)
        retry = retry_after(reply.headers.get("retry-after"), datetime.now(UTC))
        setting = "search.web_key" if self.name == "serper" else f"search.{self.name}.key"
        if status in (401, 403):
            hint = " and, for SearXNG, that its settings allow the json format" if self.name == "searxng" else ""
            told = f"refused the key or this caller ({status}): check {setting}{hint}; it said {said}"
            return self._error(told, retry, "blocked")
        if status == 429:
            wait = f"in {retry:.0f} s" if retry is not None else "later"
            told = f"allows no more searches for now (429): try again {wait}; it said {said}"
            return self._error(told, retry, "rate_limited")
        if status in SPENT:
            return self._error(f"has no credits left for this key ({status}); it said {said}", retry, "blocked")
        kind: Failure = "bad_request" if status in (400, 422) else "upstream_error" if status >= 500 else "blocked"
        return self._error(f"answered {status} and no results; it said {said}", retry, kind)

    def _excerpt(self, body: bytes) -> str:
        text = " ".join(body[:2_000].decode("utf-8", "replace").split())
        if self._key:
            text = text.replace(self._key, "***")
        return repr(text[:160])

    def _error(self, message: str, retry_after_s: float | None = None, kind: Failure = "upstream_error") -> SearchError:
        return SearchError(f"{self.name} {message}", engine=self.name, retry_after_s=retry_after_s, kind=kind)


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
                f"ddgs got nothing ({redact(str(cause))}): it may be throttled or blocked; wait a minute, ask in other "
                "words, or set search.web to an engine with a key",
                engine=self.name,
                kind="blocked",
            ) from cause
        try:
            found = [_DdgsHit.model_validate(row) for row in rows]
        except (ValidationError, TypeError) as cause:
            raise SearchError("ddgs gave rows of another form: update the package ddgs", engine=self.name) from cause
        return [Hit(one.href, one.title, one.body) for one in found]

    async def aclose(self) -> None:
        """Nothing is kept open."""


class _DdgsHit(BaseModel):
    href: str
    title: str = ""
    body: str = ""


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
