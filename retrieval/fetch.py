"""Bytes of a web page: redirects followed by hand and checked each, body capped after decompression."""

import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple
from urllib.parse import urljoin

import httpcore

from mia_skill.core.errors import VisitError
from retrieval.address import Door, Target, target_of
from retrieval.connect import GuardedNetwork

__all__ = ["Fetched", "Fetcher", "Unpacker"]

REDIRECTS = (301, 302, 303, 307, 308)
ACCEPT = "text/html,application/xhtml+xml,application/pdf,text/plain;q=0.9,*/*;q=0.5"
MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+")


class Fetched(NamedTuple):
    """What a server sent."""

    url: str
    """After redirects."""
    status: int
    media_type: str
    """As the server calls it; it may lie."""
    charset: str
    body: bytes
    cut: bool
    """There was more."""


class Fetcher:
    """Gets pages through one door. Only http and https, only public addresses, no proxy, no cookies."""

    def __init__(
        self,
        door: Door,
        *,
        user_agent: str,
        max_bytes: int = 5_000_000,
        redirects: int = 5,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """`network` makes the connections; a seam for tests."""
        self._door = door
        self._agent = user_agent
        self._max_bytes = max_bytes
        self._redirects = redirects
        self._network = network
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def get(
        self,
        url: str,
        *,
        max_bytes: int | None = None,
        before: Callable[[Target], Awaitable[None]] | None = None,
    ) -> Fetched:
        """The page at `url`, whatever its status. `before` is asked about each address before it is visited.

        Raises:
            AddressRefused: an address, also one of a redirect, is not public.
            VisitError: no connection, a broken reply, too many redirects.
        """
        target = target_of(url)
        for _ in range(self._redirects + 1):
            if before is not None:
                await before(target)
            got = await self._once(target, max_bytes or self._max_bytes)
            if isinstance(got, Fetched):
                return got
            target = target_of(got)
        raise VisitError(f"{url[:200]} redirects more than {self._redirects} times: visit the page it should lead to")

    async def aclose(self) -> None:
        """Close the connections."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.aclose()

    async def _once(self, target: Target, most: int) -> Fetched | str:
        """One request: the page, or where a redirect leads."""
        headers = [
            ("Host", target.netloc),
            ("User-Agent", self._agent),
            ("Accept", ACCEPT),
            ("Accept-Encoding", "gzip, deflate"),
            ("Accept-Language", "en, *;q=0.5"),
        ]
        try:
            async with self._open().stream("GET", target.url, headers=headers) as reply:
                told = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in reply.headers}
                if reply.status in REDIRECTS and "location" in told:
                    return urljoin(target.url, told["location"].strip())
                body, cut = await _capped(reply.aiter_stream(), told.get("content-encoding", ""), most)
        except (
            httpcore.NetworkError,
            httpcore.ProtocolError,
            httpcore.TimeoutException,
            httpcore.UnsupportedProtocol,
        ) as cause:
            said = str(cause) or type(cause).__name__
            raise VisitError(f"{target.netloc} cannot be reached or broke off ({said[:200]})") from cause
        kind = told.get("content-type", "")
        media = MEDIA_TYPE.match(kind.strip())
        charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]{1,40})", kind, re.IGNORECASE)
        return Fetched(
            url=target.url,
            status=reply.status,
            media_type=media.group().lower() if media else "",
            charset=charset.group(1) if charset else "",
            body=body,
            cut=cut,
        )

    def _open(self) -> httpcore.AsyncConnectionPool:
        if self._pool is None:
            self._pool = httpcore.AsyncConnectionPool(
                max_connections=32,
                max_keepalive_connections=8,
                keepalive_expiry=5.0,
                network_backend=GuardedNetwork(self._door, self._network),
            )
        return self._pool


async def _capped(pieces: AsyncIterator[bytes], encoding: str, most: int) -> tuple[bytes, bool]:
    """At most `most` bytes of the unpacked body, and whether there was more. What comes after is not read."""
    unpacker = Unpacker(encoding, most)
    async for piece in pieces:
        unpacker.feed(piece)
        if unpacker.full:
            break
    return bytes(unpacker.body[:most]), unpacker.full


class Unpacker:
    """Decompresses no further than to `most` bytes, so a bomb never unfolds."""

    def __init__(self, encoding: str, most: int) -> None:
        """Raises VisitError for an encoding that was not asked for."""
        self.body = bytearray()
        self._most = most
        self._packed = encoding.strip().lower() not in ("", "identity")
        self._started = False
        match encoding.strip().lower():
            case "" | "identity":
                self._unpack = zlib.decompressobj()
            case "gzip" | "x-gzip":
                self._unpack = zlib.decompressobj(zlib.MAX_WBITS | 16)
            case "deflate":
                self._unpack = zlib.decompressobj()
            case other:
                raise VisitError(f"the page is packed as {other[:40]!r}, which was not asked for")

    @property
    def full(self) -> bool:
        """More than `most` bytes are there."""
        return len(self.body) > self._most

    def feed(self, piece: bytes) -> None:
        """The next bytes from the wire.

        Raises:
            VisitError: they are not packed as announced.
        """
        if not self._packed:
            self.body += piece[: self._most + 1 - len(self.body)]
            return
        while piece and not self.full and not self._unpack.eof:
            self.body += self._some(piece)
            piece = self._unpack.unconsumed_tail

    def _some(self, piece: bytes) -> bytes:
        room = self._most + 1 - len(self.body)
        try:
            unpacked = self._unpack.decompress(piece, room)
        except zlib.error as cause:
            if self._started or self.body:
                raise VisitError("the page is not packed as its server says: it breaks off") from cause
            # Some servers send "deflate" without the header that the standard asks for.
            self._unpack = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                unpacked = self._unpack.decompress(piece, room)
            except zlib.error:
                raise VisitError("the page is not packed as its server says") from cause
        self._started = True
        return unpacked
