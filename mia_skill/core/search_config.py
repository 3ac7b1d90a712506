"""Settings of search, visits and image search. Part of `mia_skill.core.config`, where they are read."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from mia_skill.core.section import Section

__all__ = ["EngineConfig", "ImagesConfig", "SearchConfig", "VisitConfig"]


class EngineConfig(Section):
    """One web engine."""

    key: SecretStr | None = None
    """Its key."""
    url: str | None = None
    """Replaces the engine's address: a proxy (ddgs), a self-hosted instance (searxng), or a test server."""
    per_second: float | None = Field(default=None, gt=0)
    """Calls a second; None: what the engine's smallest plan allows (facts: brave 1, serper 50, ...)."""
    price: float = Field(default=0.0, ge=0)
    """US dollars a call, for `search.max_cost`."""


class SearchConfig(Section):
    """Where `search` looks."""

    corpus: tuple[Path, ...] = ()
    """jsonl files of `{id, title, text}`, searched together; or one folder that `mia corpus build` made."""
    corpus_url: str | None = None
    """A `/retrieve` service (`mia corpus serve`, or Search-R1's) that is asked instead of local files."""
    corpus_key: SecretStr | None = None
    """Bearer token for `corpus_url`."""
    rerank: Literal["links", "none"] = "links"
    """ "links" lifts the pages whose titles the question or the first hits name (recall at 5 on the development wiki
    .696 -> .725 for whole questions, no change for an agent that asks hop by hop)."""
    k: int = Field(default=5, ge=1, le=50)
    """Passages per query."""
    dense: bool = True
    """Add embeddings to BM25 (better recall; the first opening of a corpus embeds it, about 25 passages a second)."""
    passage_chars: int = Field(default=1200, ge=100)
    """A passage longer than this is cut, and says so."""
    web: tuple[str, ...] = ()
    """Engines for the web, asked in this order until one answers: "ddgs" (extra `web`), "serper", "brave", "tavily",
    "searxng". One name alone may be given as text; "none" is none."""
    web_key: SecretStr | None = None
    """Key of the first engine, if it has none of its own."""
    web_url: str | None = None
    """Address of the first engine, if it has none of its own."""
    serper: EngineConfig = EngineConfig()
    """Key, address, rate and price of serper."""
    brave: EngineConfig = EngineConfig()
    """Key, address, rate and price of brave."""
    tavily: EngineConfig = EngineConfig()
    """Key, address, rate and price of tavily."""
    searxng: EngineConfig = EngineConfig()
    """Key, address, rate and price of searxng."""
    ddgs: EngineConfig = EngineConfig()
    """Key, address, rate and price of ddgs."""
    timeout_s: float = Field(default=10.0, gt=0)
    """For one engine, its retries included."""
    retries: int = Field(default=1, ge=0, le=5)
    """Of an engine that could not be reached or is out of order; throttled or refused calls are not tried again."""
    cache_s: float = Field(default=604_800.0, ge=0)
    """Seconds for which answers are kept on disk (a week, as upstream); 0 keeps none. Failures are never kept."""
    cache_empty_s: float = Field(default=600.0, ge=0)
    """Seconds for which "no results" is kept."""
    max_queries: int | None = Field(default=None, ge=0)
    """Calls that one process may send to web engines."""
    max_cost: float | None = Field(default=None, ge=0)
    """US dollars that one process may spend on them, by `price`."""
    record: Path | None = None
    """Write every web search, visit and image search of this process to this new file."""
    replay: Path | None = None
    """Answer them from such a file; the network is not used."""

    @field_validator("web", mode="before")
    @classmethod
    def _one_name(cls, web: object) -> object:
        if isinstance(web, str):
            return () if web in ("none", "") else (web,)
        return web


class VisitConfig(Section):
    """Opening pages."""

    mode: Literal["auto", "on", "off"] = "auto"
    """"auto": where a web engine is configured, which needs the extra `web`; "off" offers no model a `visit` at all."""
    timeout_s: float = Field(default=20.0, gt=0)
    """For the whole page: name, robots.txt, redirects and body."""
    read_s: float = Field(default=15.0, gt=0)
    """For the extraction of its text; then its process is ended."""
    max_bytes: int = Field(default=5_000_000, ge=1_000)
    """Of a body, after decompression; the rest is not read."""
    max_chars: int = Field(default=6_000, ge=200, le=100_000)
    """Shown at once."""
    redirects: int = Field(default=5, ge=0, le=20)
    """Followed at most, each checked anew."""
    robots: bool = True
    """Heed robots.txt."""
    user_agent: str = Field(default="mia-skill/0.1", pattern=r"^[\x21-\x7e][\x20-\x7e]{0,199}$")
    """Sent with every request; robots.txt is read for its first word."""
    browser: Literal["off", "scripts", "always"] = "off"
    """Draw pages in a headless Chromium: "scripts" those with scripts and hardly any text, "always" every HTML page.
    Whatever a page asks for goes through the same checks of addresses; robots.txt is heeded for the page itself."""
    chromium: str | None = None
    """Its program; None: the one on the path."""
    allow_hosts: tuple[str, ...] = ()
    """Hosts ("127.0.0.1", "wiki.local:8080") that may be visited although their addresses are not public.
    A browser reaches them for pages of such a host only, never for scripts of another page."""


class ImagesConfig(Section):
    """Image-to-image search."""

    cache: tuple[Path, ...] = ()
    """Folders of prepared results, `<folder>/<data_id>/meta.json` and `img_000.*` (the form upstream users have)."""
    folder: Path | None = None
    """A folder of one's own images to search in (extra `images`)."""
    live: Literal["none", "serper"] = "none"
    """A reverse image search on the web; takes public addresses of images only, nothing is uploaded."""
    once: bool = True
    """At most one search per episode (spec section 11)."""
    k: int = Field(default=3, ge=1, le=3)
    """Results of a search."""
    embedder: Literal["layout", "endpoint"] = "layout"
    """"layout" finds copies and near-copies (Pillow and numpy); "endpoint" asks `embedder_url`."""
    embedder_url: str | None = None
    """Up to and including `/v1`; takes images in chat form, as vLLM's embeddings route does."""
    embedder_model: str | None = None
    """Its model."""
    embedder_key: SecretStr | None = None
    """Its key."""
    min_similarity: float = Field(default=0.8, ge=-1, le=1)
    """Cosine under which an image is no match."""

    @property
    def configured(self) -> bool:
        """Is there anything to search?"""
        return bool(self.cache or self.folder) or self.live != "none"
