"""Image-to-image search: prepared results by id, one's own folder, or a live engine, behind one protocol."""

import re
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

import anyio
import anyio.to_thread
import orjson
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from mia_skill.core.errors import InputError, SearchError
from mia_skill.core.picture import Picture
from mia_skill.core.types import Origin, Passage, Value
from retrieval.backends import HttpBackend
from retrieval.dialects import Ask, Dialect
from retrieval.hits import Hit, passages_of
from retrieval.tape import Tape

__all__ = ["MOST", "ImageEngine", "ImageQuery", "Images", "PreparedImages", "ReverseImages"]

MOST = 3
"""Images of one search (spec section 11)."""
DATA_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
BASE_ID = re.compile(r"\d+_\d+")
"""Ids of later levels of a task carry a suffix that its folder has not."""
ENDINGS = (".jpg", ".png", ".webp", ".gif")
MOST_META = 2_000_000


class ImageQuery(Value):
    """What to find: an image by its id in prepared results, by its bytes, or by its public address."""

    data_id: str = ""
    picture: Picture | None = None
    url: str = ""

    @property
    def digest(self) -> str:
        """Names the query in recordings and in the rule of once per episode."""
        return self.data_id or self.url or (_digest(self.picture.data) if self.picture else "")


class ImageEngine(Protocol):
    """Finds what similar images are about."""

    @property
    def name(self) -> str: ...

    def takes(self, query: ImageQuery) -> bool:
        """Can it answer this form of query?"""
        ...

    async def find(self, query: ImageQuery, k: int) -> tuple[Passage, ...]:
        """At most `k` passages, best first: what each similar image is called, and where it is.

        Raises:
            InputError: the query cannot be used.
            SearchError: the engine failed.
        """
        ...


class _Result(BaseModel):
    title: str = ""
    link: str | None = None
    image_url: str | None = None


class _Meta(BaseModel):
    """Both forms that upstream users have: `search_results`, or two lists side by side."""

    search_results: list[_Result] | None = None
    title_list: list[str] = []
    image_urls: list[str | None] = []

    def results(self) -> list[_Result]:
        if self.search_results is not None:
            return self.search_results
        urls = [*self.image_urls, *[None] * len(self.title_list)]
        return [_Result(title=title, image_url=url) for title, url in zip(self.title_list, urls, strict=False)]


class PreparedImages:
    """Results that were fetched once: `<folder>/<data_id>/meta.json` beside `img_000.*`."""

    name = "prepared"

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)

    def takes(self, query: ImageQuery) -> bool:
        return bool(query.data_id)

    async def find(self, query: ImageQuery, k: int) -> tuple[Passage, ...]:
        """The first `k` prepared results. An image that is missing is not replaced by anything: its title remains.

        Raises:
            InputError: the id is none, or nothing is prepared for it.
            SearchError: its `meta.json` is damaged.
        """
        return await anyio.to_thread.run_sync(self._read, query.data_id, k)

    def _read(self, data_id: str, k: int) -> tuple[Passage, ...]:
        folder = self._folder(data_id)
        try:
            text = (folder / "meta.json").read_bytes()
            if len(text) > MOST_META:
                raise ValueError(f"{len(text)} bytes")
            results = _Meta.model_validate(orjson.loads(text)).results()
        except (OSError, ValueError, ValidationError) as cause:
            raise SearchError(
                f"the prepared image results of {data_id} are damaged: {str(cause)[:200]}", engine=self.name
            ) from cause
        return tuple(self._passage(folder, data_id, place, one) for place, one in enumerate(results[: min(k, MOST)]))

    def _folder(self, data_id: str) -> Path:
        if not DATA_ID.fullmatch(data_id) or ".." in data_id:
            raise InputError(f"{data_id[:80]!r} is no data id: letters, digits, '.', '_' and '-' only")
        base = BASE_ID.match(data_id)
        for name in dict.fromkeys((data_id, base.group() if base else data_id)):
            for root in self._folders:
                folder = (root / name).resolve()
                if folder.is_relative_to(root.resolve()) and (folder / "meta.json").is_file():
                    return folder
        raise InputError(f"no image results are prepared for {data_id}: check the id and images.cache")

    def _passage(self, folder: Path, data_id: str, place: int, result: _Result) -> Passage:
        files = (f"img_{place:03d}{ending}" for ending in ENDINGS)
        image = next((file for file in files if (folder / file).is_file()), "")
        title = result.title.strip() or "(no title)"
        return Passage(
            id=f"img_{data_id}_{place}",
            title=title,
            text=f"A similar image on the web is titled: {title}" + (f" ({image})" if image else " (image not kept)"),
            url=result.link or result.image_url or None,
            source=self.name,
            origin=Origin.WEB,
            score=1 / (1 + place),
        )


class _LensHit(BaseModel):
    title: str = ""
    link: str
    source: str = ""


class _Lens(BaseModel):
    organic: list[_LensHit]


def ask_lens(url: str, _k: int, key: str) -> Ask:
    """POST of an image's address."""
    return Ask("POST", headers={"X-API-KEY": key} if key else {}, json={"url": url})


def read_lens(body: bytes) -> list[Hit]:
    """`organic`: title, link, source."""
    found = _Lens.model_validate(orjson.loads(body)).organic
    return [Hit(one.link, one.title, f"{one.title} ({one.source})" if one.source else one.title) for one in found]


LENS = Dialect("serper", "https://google.serper.dev/lens", 50.0, ask_lens, read_lens)


class ReverseImages:
    """Serper's reverse image search. Takes the public address of an image; nothing is uploaded anywhere."""

    name = "serper-lens"

    def __init__(self, key: SecretStr | None, *, url: str | None = None, timeout_s: float = 10.0) -> None:
        self._backend = HttpBackend(LENS, key, url=url)
        self._timeout_s = timeout_s

    def takes(self, query: ImageQuery) -> bool:
        return bool(query.url)

    async def find(self, query: ImageQuery, k: int) -> tuple[Passage, ...]:
        try:
            with anyio.fail_after(self._timeout_s):
                hits = await self._backend.fetch(query.url, k)
        except TimeoutError as cause:
            told = f"{self.name} did not answer within {self._timeout_s:g} s"
            raise SearchError(told, engine=self.name, kind="timeout") from cause
        return passages_of(hits, self.name)[: min(k, MOST)]

    async def aclose(self) -> None:
        """Close connections."""
        await self._backend.aclose()


FOUND: TypeAdapter[tuple[Passage, ...]] = TypeAdapter(tuple[Passage, ...])


class Images:
    """All configured engines: the first that takes the form of a query answers it."""

    def __init__(self, engines: Sequence[ImageEngine], *, tape: Tape | None = None) -> None:
        self._engines = tuple(engines)
        self._tape = tape

    async def find(self, query: ImageQuery, k: int = MOST) -> tuple[Passage, ...]:
        """At most three passages on what similar images show. Empty: nothing is similar enough.

        Raises:
            InputError: no engine takes this form of query; the message says what to configure.
            SearchError: the engine failed.
            ReplayMiss: the recording holds no such search.
        """
        if self._tape is None:
            return await self._find(query, k)

        async def ask() -> tuple[Passage, ...]:
            return await self._find(query, k)

        return await self._tape.run("image_search", {"image": query.digest, "k": k}, ask, FOUND)

    async def aclose(self) -> None:
        """Close the engines."""
        for engine in self._engines:
            close = getattr(engine, "aclose", None)
            if close is not None:
                await close()

    async def _find(self, query: ImageQuery, k: int) -> tuple[Passage, ...]:
        engine = next((one for one in self._engines if one.takes(query)), None)
        if engine is None:
            raise InputError(
                "no image search takes this: for ids of prepared results set images.cache, for images images.folder, "
                "for public addresses images.live = 'serper'"
            )
        return await engine.find(query, k)


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()
