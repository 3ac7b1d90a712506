"""How each web engine is asked and how it answers: pure functions. Routes and fields: the vendors' API pages."""

import html
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import orjson
from pydantic import BaseModel

from retrieval.hits import Hit

__all__ = ["DIALECTS", "Ask", "Blocked", "Dialect"]

Form = TypeVar("Form", bound=BaseModel)

TAG = re.compile(r"<[^<>]{0,200}>")
MOST = 20
"""Brave and Tavily give no more a call."""


class Blocked(ValueError):
    """A well-formed reply that says: nothing could be searched. Never "no results"."""


@dataclass(frozen=True)
class Ask:
    """One request."""

    method: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Mapping[str, object] | None = None


@dataclass(frozen=True)
class Dialect:
    """One engine."""

    name: str
    url: str | None
    """None: everybody runs their own."""
    per_second: float
    """Calls a second that the smallest plan allows (facts 3.3)."""
    ask: Callable[[str, int, str], Ask]
    """For a query, a number of results and a key."""
    read: Callable[[bytes], list[Hit]]
    """The hits in a reply. Raises ValueError when it is not one of this engine."""
    needs_key: bool = True


class _SerperHit(BaseModel):
    link: str
    title: str = ""
    snippet: str = ""
    date: str = ""


class _Serper(BaseModel):
    organic: list[_SerperHit]


class _BraveHit(BaseModel):
    url: str
    title: str = ""
    description: str = ""
    page_age: str | None = None
    age: str | None = None


class _BraveWeb(BaseModel):
    results: list[_BraveHit]


class _Brave(BaseModel):
    query: dict[str, object]
    """Always there; `web` is left out when there are no results."""
    web: _BraveWeb | None = None


class _TavilyHit(BaseModel):
    url: str
    title: str | None = None
    content: str | None = None
    published_date: str | None = None


class _Tavily(BaseModel):
    results: list[_TavilyHit]


class _SearxngHit(BaseModel):
    url: str
    title: str | None = None
    content: str | None = None
    publishedDate: str | None = None


class _Searxng(BaseModel):
    results: list[_SearxngHit]
    unresponsive_engines: list[object] = []


def parsed(form: type[Form], body: bytes) -> Form:
    """The reply as its form. Raises ValueError, of which both parsers' errors are kinds."""
    return form.model_validate(orjson.loads(body))


def ask_serper(query: str, k: int, key: str) -> Ask:
    """POST with the key in a header; more than 10 results cost more."""
    return Ask("POST", headers={"X-API-KEY": key} if key else {}, json={"q": query, "num": k})


def read_serper(body: bytes) -> list[Hit]:
    """`organic`: link, title, snippet, date."""
    return [Hit(one.link, one.title, one.snippet, one.date) for one in parsed(_Serper, body).organic]


def ask_brave(query: str, k: int, key: str) -> Ask:
    """GET; queries beyond 400 characters are refused by it, so they are cut at a word."""
    short = query if len(query) <= 400 else query[:400].rpartition(" ")[0] or query[:400]
    headers = {"Accept": "application/json", **({"X-Subscription-Token": key} if key else {})}
    return Ask("GET", params={"q": short, "count": str(min(k, MOST))}, headers=headers)


def read_brave(body: bytes) -> list[Hit]:
    """`web.results`: url, title, description with markup."""
    web = parsed(_Brave, body).web
    found = web.results if web else []
    return [Hit(one.url, bare(one.title), bare(one.description), one.page_age or one.age or "") for one in found]


def ask_tavily(query: str, k: int, key: str) -> Ask:
    """POST with a bearer key; the basic depth costs one credit."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    body = {"query": query[:400], "max_results": min(k, MOST), "search_depth": "basic"}
    return Ask("POST", headers=headers, json=body)


def read_tavily(body: bytes) -> list[Hit]:
    """`results`: url, title, content."""
    found = parsed(_Tavily, body).results
    return [Hit(one.url, one.title or "", one.content or "", one.published_date or "") for one in found]


def ask_searxng(query: str, _k: int, key: str) -> Ask:
    """GET of the JSON form, which the instance must allow (`search.formats`); it has no number of results."""
    return Ask("GET", params={"q": query, "format": "json"}, headers={"Authorization": f"Bearer {key}"} if key else {})


def read_searxng(body: bytes) -> list[Hit]:
    """`results`: url, title, content. None of them while engines did not respond is no answer."""
    reply = parsed(_Searxng, body)
    if not reply.results and reply.unresponsive_engines:
        silent = ", ".join(str(one) for one in reply.unresponsive_engines)[:200]
        raise Blocked(f"none of its engines responded: {silent}")
    return [Hit(one.url, one.title or "", one.content or "", one.publishedDate or "") for one in reply.results]


def bare(text: str) -> str:
    """Text without markup and entities."""
    return html.unescape(TAG.sub("", text))


DIALECTS: Mapping[str, Dialect] = {
    one.name: one
    for one in (
        Dialect("serper", "https://google.serper.dev/search", 50.0, ask_serper, read_serper),
        Dialect("brave", "https://api.search.brave.com/res/v1/web/search", 1.0, ask_brave, read_brave),
        Dialect("tavily", "https://api.tavily.com/search", 1.5, ask_tavily, read_tavily),
        Dialect("searxng", None, 2.0, ask_searxng, read_searxng, needs_key=False),
    )
}
