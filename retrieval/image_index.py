"""Search in a folder of one's own images, by what they look like.

The default embedder compares layout: the coarse pattern of light and of colour. It finds copies, resized,
recompressed or slightly edited ones; it does not know what an image shows, so the same thing from another side, a crop
or a mirrored copy is not found. An embeddings endpoint that takes images can do that.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread
import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, SecretStr, ValidationError

from mia_skill.core.errors import ConfigError, InputError, SearchError
from mia_skill.core.picture import MOST_BYTES, Picture, picture_of
from mia_skill.core.require import require
from mia_skill.core.types import Origin, Passage
from retrieval.images import MOST, ImageQuery

__all__ = ["EndpointPictures", "ImageFolder", "LayoutPictures", "PictureEmbedder", "layout"]

log = logging.getLogger(__name__)

Vector = NDArray[np.float32]
Fetch = Callable[[str], Awaitable[Picture]]
ENDINGS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif"})
MOST_IMAGES = 100_000
MOST_PIXELS = 80_000_000
SIDE = 32
LOW = 8
LIGHT, COLOUR = 0.8, 0.2
"""Shares of the two patterns in the similarity."""


class PictureEmbedder(Protocol):
    """Makes unit vectors of images."""

    @property
    def identity(self) -> str:
        """Vectors of different identities are never compared."""
        ...

    async def embed(self, picture: Picture) -> Vector:
        """The image's vector.

        Raises:
            InputError: the image cannot be read.
            SearchError: the embedder failed.
        """
        ...


class LayoutPictures:
    """Layout of light and colour, with Pillow and numpy."""

    identity = f"layout-1-{SIDE}-{LOW}"

    async def embed(self, picture: Picture) -> Vector:
        return await anyio.to_thread.run_sync(layout, picture.data)


class _Embedding(BaseModel):
    embedding: list[float]


class _Embeddings(BaseModel):
    data: list[_Embedding]


class EndpointPictures:
    """An embeddings endpoint that takes an image as a chat turn (vLLM's multimodal form of `/v1/embeddings`)."""

    def __init__(self, url: str, model: str, key: SecretStr | None = None, *, timeout_s: float = 30.0) -> None:
        self._url = f"{url.rstrip('/')}/embeddings"
        self._model = model
        self._headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._timeout_s = timeout_s

    @property
    def identity(self) -> str:
        return f"endpoint-{self._model}"

    async def embed(self, picture: Picture) -> Vector:
        shown = {"type": "image_url", "image_url": {"url": picture.data_url}}
        body = {"model": self._model, "messages": [{"role": "user", "content": [shown]}], "encoding_format": "float"}
        try:
            async with httpx.AsyncClient(timeout=self._timeout_s) as client:
                reply = await client.post(self._url, json=body, headers=self._headers)
                reply.raise_for_status()
            (found,) = _Embeddings.model_validate_json(reply.content).data
        except (httpx.HTTPError, httpx.InvalidURL, ValidationError, ValueError) as cause:
            raise SearchError(
                f"the image embedder {self._model} gave no vector ({str(cause)[:200]}): check images.embedder_url",
                engine="images",
            ) from cause
        return _unit(np.asarray(found.embedding, dtype=np.float32))


class ImageFolder:
    """The images below a folder; vectors are kept on disk and made anew for images that changed."""

    name = "folder"

    def __init__(
        self,
        folder: Path,
        embedder: PictureEmbedder,
        *,
        cache: Path | None = None,
        min_similarity: float = 0.8,
        fetch: Fetch | None = None,
    ) -> None:
        """`fetch` gets an image from a public address. Raises ConfigError when the folder is not there."""
        if not folder.is_dir():
            raise ConfigError(f"images.folder {folder} is no folder")
        self._folder = folder
        self._embedder = embedder
        name = blake2b(f"{folder.resolve()}\0{embedder.identity}".encode(), digest_size=8).hexdigest()
        self._kept = cache / f"{name}.npz" if cache else None
        self._floor = min_similarity
        self._fetch = fetch
        self._lock = anyio.Lock()
        self._files: list[str] = []
        self._vectors: Vector | None = None

    def takes(self, query: ImageQuery) -> bool:
        return query.picture is not None or (bool(query.url) and self._fetch is not None)

    async def find(self, query: ImageQuery, k: int) -> tuple[Passage, ...]:
        """The most similar images above the floor; none when nothing is similar.

        Raises:
            InputError: the image cannot be read.
            SearchError: the embedder failed.
        """
        picture = query.picture
        if picture is None and self._fetch is not None:
            picture = await self._fetch(query.url)
        if picture is None:
            raise InputError("this needs the image itself")
        async with self._lock:
            if self._vectors is None:
                await self._build()
            vectors = self._vectors
        asked = await self._embedder.embed(picture)
        if vectors is None or not len(vectors):
            return ()
        similarity_N = vectors @ asked
        best = np.argsort(-similarity_N, kind="stable")[: min(k, MOST)]
        return tuple(self._passage(int(at), float(similarity_N[at])) for at in best if similarity_N[at] >= self._floor)

    def _passage(self, at: int, similarity: float) -> Passage:
        file = self._files[at]
        name = " ".join(Path(file).stem.replace("_", " ").replace("-", " ").split())
        return Passage(
            id=f"img_{blake2b(file.encode('utf-8', 'replace'), digest_size=8).hexdigest()}",
            title=name,
            text=f"A similar image in the folder is called: {name} ({file}; similarity {similarity:.2f})",
            source=self.name,
            origin=Origin.FILE,
            score=similarity,
        )

    async def _build(self) -> None:
        """Embed what is new or changed; images that cannot be read are left out and said in the log."""
        files = await anyio.to_thread.run_sync(self._listed)
        known = await anyio.to_thread.run_sync(self._load)
        named, made, unread = [], [], 0
        for file, stamp in files.items():
            vector = known.get((file, stamp))
            if vector is None:
                try:
                    data = await anyio.to_thread.run_sync((self._folder / file).read_bytes)
                    vector = await self._embedder.embed(picture_of(data))
                except (InputError, OSError):
                    unread += 1
                    continue
            named.append((file, stamp))
            made.append(vector)
        if unread:
            log.warning("%d images of the folder %s cannot be read and are left out", unread, self._folder.name)
        vectors = np.stack(made) if made else np.zeros((0, 1), dtype=np.float32)
        if len(made) != len(known) or any(one not in known for one in named):
            await anyio.to_thread.run_sync(partial(self._save, named, vectors))
        self._files, self._vectors = [file for file, _ in named], vectors

    def _listed(self) -> dict[str, str]:
        """Images below the folder and what tells that they changed. Links that lead out of it are not followed."""
        root = self._folder.resolve()
        found: dict[str, str] = {}
        for path in sorted(root.rglob("*")):
            if path.suffix.lower() not in ENDINGS or not path.is_file() or not path.resolve().is_relative_to(root):
                continue
            stat = path.stat()
            if stat.st_size <= MOST_BYTES:
                found[str(path.relative_to(root))] = f"{stat.st_mtime_ns}-{stat.st_size}"
            if len(found) >= MOST_IMAGES:
                log.warning("only the first %d images of %s are searched", MOST_IMAGES, self._folder.name)
                break
        return found

    def _load(self) -> dict[tuple[str, str], Vector]:
        if self._kept is None or not self._kept.is_file():
            return {}
        try:
            with np.load(self._kept, allow_pickle=False) as kept:
                files, stamps, vectors = kept["files"], kept["stamps"], kept["vectors"]
        except (OSError, ValueError, KeyError, EOFError) as cause:
            log.warning("the kept image vectors are damaged and made anew: %s", cause)
            return {}
        return {(str(a), str(b)): row for a, b, row in zip(files, stamps, vectors, strict=True)}

    def _save(self, named: Sequence[tuple[str, str]], vectors: Vector) -> None:
        if self._kept is None:
            return
        files, stamps = [file for file, _ in named], [stamp for _, stamp in named]
        try:
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            part = self._kept.with_suffix(".part.npz")
            np.savez(part, files=np.array(files, str), stamps=np.array(stamps, str), vectors=vectors)
            part.replace(self._kept)
        except OSError as cause:
            log.warning("image vectors cannot be kept: %s", cause)


def layout(data: bytes) -> Vector:
    """The unit vector of an image's layout: low frequencies of light, and colour on a coarse grid.

    Raises:
        InputError: the image is damaged or too large to be opened safely.
        MissingExtraError: Pillow is not installed.
    """
    image_module: Any = require("PIL.Image", extra="images")
    operations: Any = require("PIL.ImageOps", extra="images")
    try:
        with image_module.open(BytesIO(data)) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise InputError(f"the image has {opened.width} x {opened.height} pixels: use a smaller one")
            opened.draft("RGB", (SIDE * 4, SIDE * 4))
            small = operations.exif_transpose(opened).convert("YCbCr").resize((SIDE, SIDE), image_module.Resampling.BOX)
    except (OSError, ValueError, SyntaxError, image_module.DecompressionBombError) as cause:
        raise InputError(f"the image cannot be read: {str(cause)[:100]}") from cause
    pixels = np.asarray(small, dtype=np.float32) / 255 - 0.5
    waves = _cosines()
    light = (waves @ pixels[..., 0] @ waves.T)[:LOW, :LOW].ravel()[1:]
    step = SIDE // 4
    colour = pixels[..., 1:].reshape(4, step, 4, step, 2).mean(axis=(1, 3)).ravel()
    both = np.concatenate([LIGHT**0.5 * _unit(light), COLOUR**0.5 * _unit(np.asarray(colour, dtype=np.float32))])
    return _unit(np.asarray(both, dtype=np.float32))


def _cosines() -> Vector:
    """The matrix of the discrete cosine transform."""
    at = np.arange(SIDE)
    waves = np.cos(np.pi / SIDE * np.outer(at, at + 0.5)).astype(np.float32)
    return waves


def _unit(vector: NDArray[np.floating[Any]]) -> Vector:
    length = float(np.linalg.norm(vector))
    return (vector / length if length > 1e-6 else np.zeros_like(vector)).astype(np.float32)
