"""Visits through a real Chromium: what scripts make is read, and nothing but public addresses is ever reached."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from loopback import Loopback, Wire, html, names, reply, serving

from mia_skill.core.config import VisitConfig
from mia_skill.core.errors import ConfigError, VisitError
from retrieval.address import resolve
from retrieval.visit import Visitor

pytestmark = pytest.mark.browser
SITE = "http://site.example"
MADE = """<html><head><title>Made</title></head><body><div id="x"></div><script>
(async () => {
  const told = [];
  for (const url of URLS) {
    try { const got = await fetch(url, {mode: MODE}); told.push(url + ' came ' + got.status); }
    catch (e) { told.push(url + ' did not come'); }
  }
  document.querySelectorAll('iframe, img').forEach(one => one.remove());
  document.getElementById('x').innerHTML = '<article><p>The bridge was opened in 1874 by Aldric Tesh. ' +
    told.join('. </p><p>') + '</p></article>';
})();
</script></body></html>"""


def scripted(urls: list[str], mode: str = "cors", frames: str = "") -> bytes:
    page = MADE.replace("URLS", repr(urls)).replace("MODE", repr(mode)).replace("<div", f"{frames}<div").encode()
    return reply(200, page, "Content-Type: text/html; charset=utf-8")


async def resolved(host: str, port: int) -> Sequence[str]:
    """Made-up names are public ones; addresses and this machine's names are what they are."""
    if host.endswith(".example"):
        return await names(inner_example="10.0.0.7")(host, port)
    return await resolve(host, port)


@asynccontextmanager
async def visiting(pages: dict[str, bytes], **settings: object) -> AsyncIterator[tuple[Visitor, Loopback, Wire]]:
    """The server stands for every public name; closed addresses are real."""
    async with serving(pages) as server:
        wire = Wire(server.port)
        config = VisitConfig.model_validate({"browser": "scripts", "timeout_s": 60.0, **settings})
        visitor = Visitor(config, resolve=resolved, network=wire)
        try:
            yield visitor, server, wire
        finally:
            await visitor.aclose()


async def test_what_scripts_write_and_fetch_is_read_and_only_when_it_is_switched_on() -> None:
    pages = {"/": scripted(["/data"]), "/data": reply(200, b"{}", "Content-Type: application/json")}
    async with visiting(pages) as (visitor, _, _):
        (passage,) = (await visitor.visit(f"{SITE}/")).passages
    assert "opened in 1874 by Aldric Tesh" in passage.text
    assert "/data came 200" in passage.text
    async with visiting(pages, browser="off") as (visitor, server, _):
        with pytest.raises(VisitError):
            await visitor.visit(f"{SITE}/")
        assert "/data" not in server.requests


async def test_a_page_reaches_no_closed_address_whatever_way_it_tries() -> None:
    async with serving({"/secret": html("secret")}) as trap:
        closed = [
            f"http://127.0.0.1:{trap.port}/secret",
            f"http://localhost:{trap.port}/secret",
            f"http://[::1]:{trap.port}/secret",
            f"http://2130706433:{trap.port}/secret",
            f"http://127.1:{trap.port}/secret",
            "http://169.254.169.254/latest/meta-data/",
            "http://inner.example/secret",
            f"{SITE}/hop",
            "file:///etc/passwd",
        ]
        frames = "".join(f"<iframe src='{url}'></iframe><img src='{url}'>" for url in closed)
        page = scripted(closed, "no-cors", frames)
        hop = reply(302, b"", f"Location: http://127.0.0.1:{trap.port}/secret")
        async with visiting({"/": page, "/hop": hop}) as (visitor, server, wire):
            shown = await visitor.visit(f"{SITE}/")
        assert trap.requests == []
        assert server.requests.count("/hop") >= 1
        assert not {"/secret", "/latest/meta-data/"} & set(server.requests)
    assert set(wire.reached) == {"93.184.215.14"}
    text = " ".join(one.text for one in shown.passages)
    assert "Aldric Tesh" in text
    assert "root:" not in text


async def test_a_host_that_may_be_visited_is_open_to_its_own_scripts_and_not_to_those_of_other_pages() -> None:
    data = reply(200, b"{}", "Content-Type: application/json")
    async with visiting({"/": scripted(["/data"]), "/data": data}, allow_hosts=("inner.example",)) as (visitor, _, _):
        own = await visitor.visit("http://inner.example/")
    assert "/data came 200" in own.passages[0].text
    foreign = {"/": scripted(["http://inner.example/data"], "no-cors"), "/data": data}
    async with visiting(foreign, allow_hosts=("inner.example",)) as (visitor, server, wire):
        shown = await visitor.visit(f"{SITE}/")
    assert "Aldric Tesh" in shown.passages[0].text
    assert "/data" not in server.requests
    assert set(wire.reached) == {"93.184.215.14"}


async def test_a_page_that_never_ends_is_given_up_and_its_browser_is_gone() -> None:
    endless = reply(200, b"<html><body><script>for(;;){}</script></body></html>", "Content-Type: text/html")
    async with visiting({"/": endless}, timeout_s=5.0) as (visitor, _, _):
        with pytest.raises(VisitError, match="not drawn within 5 s"):
            await visitor.visit(f"{SITE}/")
        left = [pid for pid in os.listdir("/proc") if pid.isdecimal() and b"mia-browser-" in _command(pid)]
    assert left == []


async def test_what_a_browser_is_sent_is_bounded() -> None:
    big = reply(200, b"x" * 3_000_000, "Content-Type: text/plain")
    async with visiting({"/": scripted(["/big"]), "/big": big}, max_bytes=100_000) as (visitor, _, _):
        (passage,) = (await visitor.visit(f"{SITE}/")).passages
    assert "Aldric Tesh" in passage.text


async def test_the_browser_is_given_no_key_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIA_MODELS__DEFAULT__API_KEY", "sesame")
    program = tmp_path / "chromium"
    program.write_text(
        "#!/bin/sh\necho '<html><body><article><p>Given are'; env; echo '</p></article></body></html>'\n"
    )
    program.chmod(0o755)
    async with visiting({"/": scripted([])}, chromium=str(program)) as (visitor, _, _):
        (passage,) = (await visitor.visit(f"{SITE}/")).passages
    assert "PATH=" in passage.text
    assert "sesame" not in passage.text


async def test_a_program_that_is_not_there_is_named_with_its_setting() -> None:
    async with visiting({"/": scripted([])}, chromium="/nowhere/chromium") as (visitor, _, _):
        with pytest.raises(ConfigError, match=r"visit\.chromium"):
            await visitor.visit(f"{SITE}/")


def _command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
