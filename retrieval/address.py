"""Which addresses may be visited: public ones only, whatever way they are written or resolved (SSRF protection)."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from socket import SOCK_STREAM, gaierror
from urllib.parse import quote, urlsplit

import anyio

from mia_skill.core.errors import AddressRefused, VisitError

__all__ = ["Door", "Resolve", "Target", "resolve", "target_of", "why_not"]

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host name, as text."""

LONGEST_URL = 4_000
PORTS = {"http": 80, "https": 443}
SAFE = "!#$%&'()*+,/:;=?@[]~"
UNSEEN = re.compile(r"[\x00-\x20\x7f-\xa0\\]")
NUMERIC = re.compile(r"(?:0[xX][0-9a-fA-F]*|[0-9]+)\Z")
"""A last label like this makes resolvers read the whole host as a number: decimal, octal, hexadecimal, short forms."""
# Written out, for what Python calls global differs between its patch releases. IANA special-purpose registries.
CLOSED = tuple(
    ip_network(one)
    for one in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 "
        "168.63.129.16/32 "  # the metadata service of one cloud has a public address
        "::/96 100::/64 2001::/23 2001:db8::/32 3fff::/20 5f00::/16 64:ff9b:1::/48 fc00::/7 "
        "fe80::/10 fec0::/10 ff00::/8"
    ).split()
)
NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Target:
    """A web address, taken apart and in plain form."""

    scheme: str
    host: str
    """ASCII, lower case, without brackets."""
    port: int
    path: str
    """With the query, percent-encoded."""

    @property
    def netloc(self) -> str:
        """Host and port as a request names them."""
        shown = f"[{self.host}]" if ":" in self.host else self.host
        return shown if self.port == PORTS[self.scheme] else f"{shown}:{self.port}"

    @property
    def url(self) -> str:
        """The address as it is asked for."""
        return f"{self.scheme}://{self.netloc}{self.path}"


def target_of(url: str) -> Target:
    """A web address that may be asked for, as far as its text can tell.

    Raises:
        AddressRefused: another scheme than http and https, a user name, a host written as a number, or no address.
    """
    text = url.strip()
    if not text or len(text) > LONGEST_URL or UNSEEN.search(text):
        raise AddressRefused(f"{text[:80]!r} is no web address: give one that begins with http:// or https://")
    try:
        parts = urlsplit(text)
        port, host = parts.port, parts.hostname
    except ValueError:
        raise AddressRefused(f"{text[:80]!r} is no web address: its host or port cannot be read") from None
    if parts.scheme not in PORTS or not host or port == 0:
        raise AddressRefused(f"{text[:80]!r} cannot be visited: only http:// and https:// addresses can")
    if parts.username is not None or parts.password is not None:
        raise AddressRefused("addresses with a user name or a password in them are not visited")
    path = quote(parts.path or "/", safe=SAFE) + (f"?{quote(parts.query, safe=SAFE)}" if parts.query else "")
    return Target(parts.scheme, plain_host(host), port or PORTS[parts.scheme], path)


def plain_host(host: str) -> str:
    """The host in ASCII.

    Raises:
        AddressRefused: it is a number in disguise, or no host name.
    """
    if ":" in host:
        try:
            return str(IPv6Address(host if "%" not in host else ""))
        except ValueError:
            raise AddressRefused(f"{host[:80]!r} is no address") from None
    try:
        name = host.encode("idna").decode("ascii").lower().rstrip(".")
    except UnicodeError:
        raise AddressRefused(f"{host[:80]!r} is no host name") from None
    if NUMERIC.match(name.rpartition(".")[2]):
        try:
            return str(IPv4Address(name))
        except ValueError:
            raise AddressRefused(f"{host[:80]!r} is a number: write the address as four decimal parts") from None
    if not name:
        raise AddressRefused("the address names no host")
    return name


def why_not(address: str) -> str | None:
    """Why an IP address is not to be visited; None when it is public."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return "no IP address"
    inner = _embedded(ip)
    if inner is not None:
        return why_not(str(inner))
    return next((f"within {net}" for net in CLOSED if ip.version == net.version and ip in net), None)


def _embedded(ip: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for: mapped, 6to4, NAT64."""
    if isinstance(ip, IPv4Address):
        return None
    if ip in NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


async def resolve(host: str, port: int) -> Sequence[str]:
    """Addresses by the system's resolver."""
    try:
        found = await anyio.getaddrinfo(host, port, type=SOCK_STREAM)
    except (gaierror, UnicodeError) as cause:
        raise VisitError(f"the host {host[:80]} is not known: check the address") from cause
    return tuple(dict.fromkeys(sockaddr[0] for *_, sockaddr in found))


@dataclass(frozen=True)
class Door:
    """Turns a host into addresses to connect to, and lets no closed one through."""

    resolve: Resolve = resolve
    allow: frozenset[str] = frozenset()
    """Hosts, or "host:port", that may be visited although their addresses are closed."""

    def allows(self, host: str, port: int) -> bool:
        """Whether the host was let through by name."""
        return host in self.allow or f"{host}:{port}" in self.allow

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Resolved once; connect to these, and do not resolve again.

        Raises:
            AddressRefused: one of the addresses is not public. One is enough: a mixed answer is an attack's mark.
            VisitError: the host is not known.
        """
        found = await self.resolve(host, port)
        if not found:
            raise VisitError(f"the host {host[:80]} has no address")
        if self.allows(host, port):
            return found
        for one in found:
            if (why := why_not(one)) is not None:
                raise AddressRefused(
                    f"{host[:80]} is not visited: its address {one} is not public ({why}). Only visit.allow_hosts "
                    "lets such hosts through"
                )
        return found
