"""Hits of web engines as passages: one a page, under the address that was met first."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from mia_skill.core.types import Origin, Passage

__all__ = ["Hit", "canonical_url", "page_id", "passages_of"]

TRACKING = frozenset({"gclid", "fbclid", "msclkid", "igshid", "mc_cid", "mc_eid", "ref_src"})


class Hit(NamedTuple):
    """One result as the engine gave it."""

    url: str
    title: str
    text: str
    published: str = ""


def passages_of(hits: Sequence[Hit], source: str) -> tuple[Passage, ...]:
    """Passages in the same order, the first of each page; what is no web address is left out."""
    made: dict[str, Passage] = {}
    for hit in hits:
        page = canonical_url(hit.url)
        if page is not None and page not in made:
            made[page] = Passage(
                id=page_id(page),
                title=hit.title,
                text=hit.text or hit.title,
                url=hit.url,
                source=source,
                origin=Origin.WEB,
                score=1 / (1 + len(made)),
                published=hit.published,
            )
    return tuple(made.values())


def page_id(page: str) -> str:
    """The id of passages of a page, from its canonical address."""
    return "web_" + blake2b(page.encode("utf-8", "replace"), digest_size=8).hexdigest()


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
