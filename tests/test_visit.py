"""Pages: limits of size, time and kind; what is shown of them, and what is said when they cannot be had."""

import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketStream
from loopback import Loopback, Wire, html, names, reply, serving

from mia_skill.core.config import VisitConfig
from mia_skill.core.errors import InputError, MiaError, ReplayMiss, RobotsRefused, VisitError
from mia_skill.core.types import Origin
from retrieval.reader import Reader
from retrieval.reading import Unreadable, decoded, kind_of
from retrieval.relevant import blocks, relevant
from retrieval.tape import Player, Recorder, Tape
from retrieval.visit import Document, Visitor, page_of

SITE = "http://site.example"
ARTICLE = (
    "<p>" + "</p><p>".join(f"Paragraph {n} is about plain things and more plain things." for n in range(40)) + "</p>"
)


@asynccontextmanager
async def visiting(
    pages: dict[str, bytes | Callable[[SocketStream], Awaitable[None]]],
    *,
    tape: Tape | None = None,
    reader: Reader | None = None,
    **settings: object,
) -> AsyncIterator[tuple[Visitor, Loopback]]:
    """A visitor for whom every name leads to a loopback server."""
    async with serving(pages) as server:
        config = VisitConfig.model_validate(settings)
        visitor = Visitor(config, resolve=names(), network=Wire(server.port), tape=tape, reader=reader)
        try:
            yield visitor, server
        finally:
            await visitor.aclose()


async def refused(pages: dict[str, bytes | Callable[[SocketStream], Awaitable[None]]], **settings: object) -> str:
    """The error of a visit."""
    async with visiting(pages, **settings) as (visitor, _):
        with pytest.raises(VisitError) as caught:
            await visitor.visit(f"{SITE}/")
    return str(caught.value)


# -- pages ----------------------------------------------------------------------------------------------------


async def test_a_page_is_untrusted_text_with_its_origin_and_offsets() -> None:
    page = html("<nav>Home</nav><p>The bridge was opened in 1874 by Aldric Tesh.</p>" + ARTICLE, title="The bridge")
    async with visiting({"/a": reply(301, b"", "Location: /b?x=1"), "/b?x=1": page}) as (visitor, server):
        shown = await visitor.visit(f"{SITE}/a#part")
    (passage,) = shown.passages
    assert "opened in 1874" in passage.text
    assert (passage.origin, passage.source, passage.url) == (Origin.WEB, "visit", f"{SITE}/b?x=1")
    assert passage.id.endswith(f":0-{shown.total}")
    assert (shown.title, shown.next_start) == ("The bridge", None)
    assert b"User-Agent: mia-skill/0.1" in server.heads[-1]
    assert b"Host: site.example\r\n" in server.heads[-1]


async def test_a_long_page_is_read_on_from_where_it_stopped_and_fetched_once() -> None:
    async with visiting({"/": html(ARTICLE)}, robots=False) as (visitor, server):
        whole = (await visitor.document(f"{SITE}/")).text
        read, start = "", 0
        while start is not None:
            shown = await visitor.visit(f"{SITE}/", start=start, max_chars=500)
            read += shown.passages[0].text
            start = shown.next_start
        with pytest.raises(InputError, match="ends at"):
            await visitor.visit(f"{SITE}/", start=len(whole))
    assert read == whole
    assert server.requests == ["/"]


def test_a_long_page_is_cut_to_the_slices_that_matter_and_they_are_exact() -> None:
    lines = [f"Line {n} speaks of trade, weather and grain." for n in range(400)]
    lines[250] = "The observatory was founded by Mirela Voss."
    document = Document(url=f"{SITE}/", text="\n".join(lines))
    page = page_of(document, question="Who founded the observatory?", room=2_000)
    assert any("Mirela Voss" in one.text for one in page.passages)
    assert sum(len(one.text) for one in page.passages) <= 2_000
    for one in page.passages:
        start, end = map(int, one.id.rpartition(":")[2].split("-"))
        assert document.text[start:end] == one.text
    assert f"of {len(document.text)} characters, picked by the question" in page.note


def test_where_nothing_matters_the_beginning_is_shown_and_said_to_be() -> None:
    page = page_of(Document(url=SITE, text="plain words " * 1000), question="zebra", room=500)
    assert "shares a word" in page.note
    assert page.next_start == 500


def test_blocks_hold_the_whole_text_in_scripts_with_and_without_spaces() -> None:
    for text in ("One. Two three. " * 300, "水は低きに流れる。" * 300, "x" * 5000, "", "\n\n\n"):
        assert "".join(text[one.start : one.end] for one in blocks(text)) == text
    asked = "天文台は誰が作りましたか"
    text = "水は低きに流れる。" * 300 + "天文台はミレラが作りました。" + "山は高い。" * 300
    assert any("ミレラ" in text[one.start : one.end] for one in relevant(text, asked, 2000))


# -- limits ---------------------------------------------------------------------------------------------------


async def test_a_page_of_a_gigabyte_is_cut_early_and_says_so() -> None:
    sent = 0

    async def endless(stream: SocketStream) -> None:
        nonlocal sent
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000000000\r\n\r\n")
        for _ in range(10_000):
            await stream.send(b"All work and no play. " * 4_766)
            sent += 22 * 4_766

    async with visiting({"/": endless}, robots=False, max_bytes=100_000) as (visitor, _):
        shown = await visitor.visit(f"{SITE}/")
    assert shown.total <= 100_000
    assert "longer than what was fetched" in shown.note
    assert sent < 50_000_000


@pytest.mark.parametrize("rounds", [1, 2])
async def test_a_gzip_bomb_never_unfolds(rounds: int) -> None:
    bomb = gzip.compress(b"word " * 20_000_000)
    assert len(bomb) < 200_000
    encoding = ", ".join(["gzip"] * rounds)
    page = reply(200, bomb, "Content-Type: text/plain", f"Content-Encoding: {encoding}")
    async with visiting({"/": page}, robots=False, max_bytes=50_000) as (visitor, _):
        if rounds == 2:
            with pytest.raises(VisitError, match="packed as 'gzip, gzip'"):
                await visitor.visit(f"{SITE}/")
        else:
            assert (await visitor.visit(f"{SITE}/")).total <= 50_000


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", gzip.compress(b"Plain words here.", mtime=0)),
        ("x-gzip", gzip.compress(b"Plain words here.", mtime=0)),
        ("deflate", zlib.compress(b"Plain words here.")),
        ("deflate", zlib.compress(b"Plain words here.")[2:-4]),
        ("identity", b"Plain words here."),
    ],
)
async def test_packed_pages_are_unpacked(encoding: str, packed: bytes) -> None:
    page = reply(200, packed, "Content-Type: text/plain", f"Content-Encoding: {encoding}")
    async with visiting({"/": page}) as (visitor, _):
        assert (await visitor.visit(f"{SITE}/")).passages[0].text == "Plain words here."


async def test_a_page_that_stalls_or_drips_is_given_up_after_the_time_limit() -> None:
    async def drip(stream: SocketStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
        while True:
            await stream.send(b"x")
            await anyio.sleep(0.01)

    async def stall(stream: SocketStream) -> None:
        await anyio.sleep_forever()

    for answer in (drip, stall):
        assert "did not come within 0.2 s" in await refused({"/": answer}, robots=False, timeout_s=0.2)


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (reply(404), "is not there (404)"),
        (reply(403, b"<html>robot?</html>"), "refuses this visitor (403)"),
        (reply(429), "refuses this visitor (429)"),
        (reply(503), "answered 503"),
        (reply(200, b"\x89PNG\r\n\x1a\n\x00\x00", "Content-Type: text/html"), "it is no text"),
        (reply(200, b"PK\x03\x04\x00\x00", "Content-Type: text/plain"), "it is no text"),
        (reply(200, b"plain", "Content-Type: image/png"), "kind image/png are not read"),
        (reply(200, b"plain words", "Content-Type: application/pdf"), "is called a PDF and is none"),
        (reply(200, b"%PDF-1.7 broken", "Content-Type: application/pdf"), "PDF is damaged"),
        (reply(200, b"%PDF-1.7" + b"x" * 5000, "Content-Type: text/html"), "PDF of more than 2000 bytes"),
        (reply(200, b"", "Content-Type: text/html"), "no text was found"),
        (reply(200, b"<html><script>x()</script></html>", "Content-Type: text/html"), "no text was found"),
        (reply(200, b"not gzip", "Content-Encoding: gzip"), "not packed as its server says"),
        (reply(200, b"x", "Content-Encoding: br"), "packed as 'br'"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort", "broke off"),
        (b"garbage\r\n\r\n", "broke off"),
        (b"", "broke off"),
    ],
)
async def test_what_is_no_page_is_an_error_that_says_why(page: bytes, said: str) -> None:
    assert said in await refused({"/": page}, robots=False, max_bytes=2_000)


async def test_the_bytes_decide_what_a_page_is_and_not_its_servers_word() -> None:
    page = b"<!doctype html><html><body><p>Words in a page that is sent as something else.</p></body></html>"
    async with visiting({"/": reply(200, page, "Content-Type: application/octet-stream")}) as (visitor, _):
        assert "<p>" not in (await visitor.visit(f"{SITE}/")).passages[0].text
    assert kind_of(b"%PDF-1.4", "text/html") == "pdf"
    with pytest.raises(Unreadable):
        kind_of(b"\xff\xd8\xff\xe0\x00", "")


def pdf(text: str) -> bytes:
    """A one-page PDF with `text` on it."""
    drawn = f"BT /F1 24 Tf 72 700 Td ({text}) Tj ET"
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    body, offsets = "%PDF-1.4\n", []
    for number, one in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{one}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    start = len(body)
    body += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}"
    return f"{body}trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF".encode()


async def test_a_pdf_is_read() -> None:
    page = reply(200, pdf("Founded in 1874 by Aldric Tesh"), "Content-Type: application/pdf")
    async with visiting({"/": page}) as (visitor, _):
        assert "Founded in 1874 by Aldric Tesh" in (await visitor.visit(f"{SITE}/")).passages[0].text


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("Grüße".encode("latin-1"), "iso-8859-1", "Grüße"),
        ("Grüße".encode(), "", "Grüße"),
        ("Grüße".encode("utf-16"), "", "Grüße"),
        ("Grüße".encode(), "no-such-charset", "Grüße"),
        ("Grüße".encode(), "idna", "Grüße"),
        ("Grüße".encode(), "base64", "Grüße"),
        ("水が流れる".encode("shift_jis"), "shift_jis", "水が流れる"),
        ("<meta charset=windows-1251>Привет".encode("cp1251"), "", "<meta charset=windows-1251>Привет"),
        ("水が流れる水が流れる".encode(), "ascii", "水が流れる水が流れる"),
        (b"ab\xff\xfecd", "utf-8", "ab��cd"),
    ],
)
def test_characters_are_read_whatever_the_server_calls_them(body: bytes, charset: str, text: str) -> None:
    assert decoded(body, charset) == text


# -- robots ---------------------------------------------------------------------------------------------------


def robots(text: str) -> bytes:
    return reply(200, text.encode(), "Content-Type: text/plain")


async def test_robots_txt_is_heeded_asked_for_once_and_also_after_a_redirect() -> None:
    pages: dict[str, bytes | Callable[[SocketStream], Awaitable[None]]] = {
        "/robots.txt": robots("User-agent: *\nDisallow: /private\nAllow: /private/open$\n"),
        "/a": html("Open page with words."),
        "/private/open": html("Open page with words."),
        "/private/x": html("Closed."),
        "/to": reply(302, b"", "Location: /private/x"),
    }
    async with visiting(pages) as (visitor, server):
        await visitor.visit(f"{SITE}/a")
        await visitor.visit(f"{SITE}/private/open")
        for path in ("/private/x", "/to"):
            with pytest.raises(RobotsRefused, match=r"asks robots not to visit /private/x"):
                await visitor.visit(SITE + path)
    assert server.requests == ["/robots.txt", "/a", "/private/open", "/to"]


async def test_rules_for_our_own_name_count_before_those_for_all() -> None:
    rules = robots("User-agent: mia-skill\nDisallow: /\n\nUser-agent: *\nAllow: /\n")
    async with visiting({"/robots.txt": rules, "/": html("x")}) as (visitor, _):
        with pytest.raises(RobotsRefused):
            await visitor.visit(f"{SITE}/")


@pytest.mark.parametrize(("status", "open_"), [(404, True), (410, True), (401, False), (403, False), (500, False)])
async def test_a_site_without_rules_is_open_and_one_that_hides_them_is_not(status: int, open_: bool) -> None:
    async with visiting({"/robots.txt": reply(status), "/": html("Some words.")}) as (visitor, _):
        if open_:
            await visitor.visit(f"{SITE}/")
        else:
            with pytest.raises(RobotsRefused):
                await visitor.visit(f"{SITE}/")


async def test_robots_can_be_switched_off() -> None:
    rules = robots("User-agent: *\nDisallow: /\n")
    async with visiting({"/robots.txt": rules, "/": html("Some words.")}, robots=False) as (visitor, server):
        await visitor.visit(f"{SITE}/")
    assert server.requests == ["/"]


# -- reading and replaying ------------------------------------------------------------------------------------


@pytest.mark.parametrize("program", ["import time; time.sleep(60)", "import os; os.abort()", "print('x' * 9)"])
async def test_a_program_that_hangs_dies_or_talks_nonsense_costs_one_page_and_not_the_server(program: str) -> None:
    import sys

    reader = Reader(limit_s=0.3, command=(sys.executable, "-c", program))
    async with visiting({"/": html("Words.")}, reader=reader, robots=False) as (visitor, _):
        with pytest.raises(VisitError):
            await visitor.visit(f"{SITE}/")


async def test_equal_visits_at_once_are_one_fetch() -> None:
    async with (
        visiting({"/": html("Some words.")}, robots=False) as (visitor, server),
        anyio.create_task_group() as group,
    ):
        for _ in range(20):
            group.start_soon(visitor.visit, f"{SITE}/")
    assert server.requests == ["/"]


async def shown(visitor: Visitor, path: str) -> str:
    try:
        return (await visitor.visit(SITE + path, question="words")).model_dump_json()
    except MiaError as error:
        return f"{type(error).__name__}: {error}"


async def test_recorded_visits_replay_byte_for_byte_with_no_network(tmp_path: Path) -> None:
    pages: dict[str, bytes | Callable[[SocketStream], Awaitable[None]]] = {
        "/a": html("Grüße and words."),
        "/robots.txt": robots("User-agent: *\nDisallow: /c\n"),
    }
    recorder = Recorder(tmp_path / "run.jsonl")
    async with visiting(pages, tape=recorder) as (visitor, _):
        before = [await shown(visitor, path) for path in ("/a", "/b", "/c")]
    recorder.close()
    async with visiting({}, tape=Player(tmp_path / "run.jsonl")) as (visitor, server):
        assert [await shown(visitor, path) for path in ("/a", "/b", "/c")] == before
        with pytest.raises(ReplayMiss, match=r"no visit with url='http://site\.example/d'"):
            await visitor.visit(f"{SITE}/d")
    assert server.requests == []
    assert before[1].startswith("VisitError")
    assert before[2].startswith("RobotsRefused")
