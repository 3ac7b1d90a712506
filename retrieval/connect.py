"""Connections that go to the address that was checked. The name stays for TLS, so certificates are still verified."""

from collections.abc import Iterable

import httpcore

from retrieval.address import Door

__all__ = ["GuardedNetwork"]


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """A network that resolves each host once, checks every address, and connects to one of those it has checked."""

    def __init__(self, door: Door, inner: httpcore.AsyncNetworkBackend | None = None) -> None:
        """`inner` makes the connections; a seam for tests."""
        self._door = door
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address that answers.

        Raises:
            AddressRefused: an address of the host is not public.
            VisitError: the host is not known.
        """
        *others, last = await self._door.addresses(host.strip("[]"), port)
        for address in others:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except httpcore.NetworkError:
                continue
        return await self._inner.connect_tcp(last, port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never."""
        raise httpcore.UnsupportedProtocol("sockets of this machine are not visited")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._inner.sleep(seconds)
