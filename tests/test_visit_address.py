"""SSRF: no way of writing, resolving or redirecting to an address that is not public leads to it."""

from collections.abc import Sequence

import pytest
from loopback import PUBLIC, Wire, html, names, reply, serving

from mia_skill.core.config import VisitConfig
from mia_skill.core.errors import AddressRefused, VisitError
from retrieval.address import Door, Resolve, resolve, target_of, why_not
from retrieval.fetch import Fetcher

CLOSED = """
127.0.0.1 127.1.2.3 0.0.0.0 0.1.2.3 10.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 192.168.0.1 169.254.169.254
100.64.0.1 100.100.100.200 192.0.0.170 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.250
240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::127.0.0.1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::ffff:7f00:1 64:ff9b::7f00:1
64:ff9b::169.254.169.254 64:ff9b:1::1 2002:7f00:1:: 2002:a9fe:a9fe:: 2001::1 2001:db8::1 fc00::1 fd00:ec2::254
fe80::1 fe80::1%eth0 fec0::1 ff02::1 100::1 not-an-address
""".split()
OPEN = """
93.184.215.14 8.8.8.8 1.1.1.1 172.32.0.1 100.128.0.1 192.169.0.1 2606:2800:21f:cb07:6820:80da:af6b:8b2c 2a00::1
::ffff:8.8.8.8 64:ff9b::808:808 2002:808:808::
""".split()


@pytest.mark.parametrize("address", CLOSED)
def test_addresses_that_are_not_public_are_closed(address: str) -> None:
    assert why_not(address) is not None


@pytest.mark.parametrize("address", OPEN)
def test_public_addresses_are_open_in_every_family(address: str) -> None:
    assert why_not(address) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/",
        "http://017700000001/",
        "http://0x7f000001/",
        "http://0x7f.0.0.1/",
        "http://127.1/",
        "http://127.0.0.01/",
        "http://0/",
        "http://1.2.3.4.5/",
        "http://example.0x10/",
        "http://１２７.０.０.1.2/",
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://example.com\\@127.0.0.1/",
        "http://exa mple.com/",
        "http://example.com/\r\nX-Injected: 1",
        "http://example.com:0/",
        "http://example.com:99999/",
        "http://[::1",
        "http://[fe80::1%25eth0:x]/",
        "http://",
        "http:///etc/passwd",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "data:text/html,x",
        "javascript:alert(1)",
        "//example.com/",
        "example.com",
        "",
        "http://" + "a" * 5000,
    ],
)
def test_texts_that_are_no_plain_web_address_are_refused_unresolved(url: str) -> None:
    with pytest.raises(AddressRefused):
        target_of(url)


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("HTTP://Example.COM", "http://example.com/"),
        ("https://example.com:443/a b".replace(" ", "%20"), "https://example.com/a%20b"),
        ("https://bücher.example/ä?q=ö#part", "https://xn--bcher-kva.example/%C3%A4?q=%C3%B6"),
        ("http://93.184.215.14:8080/x", "http://93.184.215.14:8080/x"),
        ("http://[2A00::1]:81/", "http://[2a00::1]:81/"),
        ("http://example.com./", "http://example.com/"),
    ],
)
def test_web_addresses_come_in_one_plain_form(url: str, plain: str) -> None:
    assert target_of(url).url == plain


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "[::ffff:127.0.0.1]", "１２７.０.０.１"])
async def test_loopback_is_refused_by_the_real_resolver_and_nothing_is_sent(host: str) -> None:
    async with serving({"/": html("secret")}) as server:
        fetcher = Fetcher(Door(resolve), user_agent="t")
        with pytest.raises(VisitError):
            await fetcher.get(f"http://{host}:{server.port}/")
        await fetcher.aclose()
    assert server.requests == []


async def got(
    resolver: Resolve, pages: dict[str, bytes], url: str = "http://site.example/"
) -> tuple[str, Sequence[str]]:
    """The status or the error of a visit, and the addresses that were connected to."""
    async with serving(pages) as server:
        wire = Wire(server.port)
        fetcher = Fetcher(Door(resolver), user_agent="t", network=wire)
        try:
            status = str((await fetcher.get(url)).status)
        except VisitError as error:
            status = f"{type(error).__name__}: {error}"
        await fetcher.aclose()
    return status, wire.reached


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::a00:1"])
async def test_a_name_that_resolves_to_a_closed_address_is_refused_before_any_connection(address: str) -> None:
    status, reached = await got(names(site_example=address), {"/": html("x")})
    assert status.startswith("AddressRefused")
    assert reached == []


async def test_one_closed_address_among_public_ones_is_enough_to_refuse() -> None:
    status, reached = await got(names(site_example=[[PUBLIC, "10.0.0.1"]]), {"/": html("x")})
    assert status.startswith("AddressRefused")
    assert reached == []


async def test_the_connection_goes_to_the_checked_address_and_the_name_is_not_resolved_again() -> None:
    rebinding = names(site_example=[PUBLIC, "127.0.0.1"])
    assert await got(rebinding, {"/": html("x")}) == ("200", [PUBLIC])
    status, reached = await got(rebinding, {"/": html("x")})
    assert status.startswith("AddressRefused")
    assert reached == []


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1/",
        "http://2130706433/",
        "http://[::1]/",
        "http://inside.example/",
        "//inside.example/",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data/",
    ],
)
async def test_every_redirect_is_checked_anew(location: str) -> None:
    async def resolver(host: str, _port: int) -> list[str]:
        return [{"site.example": PUBLIC, "inside.example": "10.0.0.1"}.get(host, host)]

    status, reached = await got(resolver, {"/": reply(302, b"", f"Location: {location}")})
    assert status.startswith("AddressRefused")
    assert reached == [PUBLIC]


async def test_five_redirects_are_followed_and_the_sixth_is_not() -> None:
    chain = {f"/{n}": reply(301, b"", f"Location: /{n + 1}") for n in range(6)}
    assert (await got(names(), {**chain, "/5": html("end")}, "http://site.example/0"))[0] == "200"
    status, _ = await got(names(), {**chain, "/6": html("end")}, "http://site.example/0")
    assert "redirects more than 5 times" in status


async def test_a_redirect_loop_ends() -> None:
    status, reached = await got(names(), {"/": reply(302, b"", "Location: /")})
    assert "redirects more than 5 times" in status
    assert len(reached) == 6


async def test_an_allowed_host_may_be_closed_and_its_neighbours_may_not() -> None:
    async with serving({"/": html("mine")}) as server:
        fetcher = Fetcher(Door(resolve, frozenset({f"127.0.0.1:{server.port}"})), user_agent="t")
        assert (await fetcher.get(f"http://127.0.0.1:{server.port}/")).status == 200
        with pytest.raises(AddressRefused):
            await fetcher.get("http://127.0.0.2/")
        await fetcher.aclose()


def test_nothing_closed_is_allowed_by_default() -> None:
    assert VisitConfig().allow_hosts == ()
    assert VisitConfig().robots


async def test_an_unknown_host_is_an_error() -> None:
    async def nobody(host: str, _port: int) -> list[str]:
        return []

    status, reached = await got(nobody, {})
    assert status.startswith("VisitError")
    assert reached == []


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert await got(names(), {"/": html("x")}) == ("200", [PUBLIC])
