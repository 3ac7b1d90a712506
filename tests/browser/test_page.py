"""The page in a real Chromium: search, lineage, uses, map, quarantine, forgetting; hostile texts that stay texts."""

import re
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
from ui_world import HOSTILE, filled, keep, remembered

from browser.conftest import serving
from mia_skill.app import open_bank
from mia_skill.core.config import MiaConfig
from mia_skill.core.types import Status
from mia_skill.ui.doorway import doorway

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = pytest.mark.browser

PAGES = ("", "units", "map", "review", "audit", "runs")


def go(page: "Page", where: str, heading: str | re.Pattern[str]) -> None:
    page.evaluate("where => { location.hash = where }", f"#/{where}")
    page.get_by_role("heading", name=heading, level=1).wait_for()


def texts(page: "Page", selector: str) -> list[str]:
    return [one.strip() for one in page.locator(selector).all_inner_texts()]


# -- the token ---------------------------------------------------------------------------------------------------------


def test_the_token_leaves_the_address_at_once_and_the_page_lives_on_without_it(page, address):
    assert "token" not in page.url
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    assert page.context.cookies() == []
    page.reload()
    page.get_by_role("heading", name="Overview").wait_for()
    assert len(asked) > 5
    assert not [url for url in asked if address.partition("token=")[2] in url]
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_role("heading", name="Overview").wait_for()


def test_the_file_that_a_browser_is_sent_to_leads_to_the_page(browser, address, home):
    page = browser.new_page()
    with doorway(home, address) as file:
        page.goto(file)
        page.get_by_role("heading", name="Overview").wait_for()
    assert page.url == address.partition("#")[0] + "#/"
    page.close()


@pytest.mark.parametrize("given", ["", "#token=wrong", "#token=" + "x" * 32])
def test_without_the_token_or_with_a_wrong_one_nothing_of_the_bank_is_shown(open_page, address, units, given):
    base, _, token = address.partition("/#token=")
    page, guard = open_page(f"{base}/{given}")
    guard.allowed = ("401",)
    page.get_by_role("heading", name="This page needs its token").wait_for()
    assert "mia ui" in page.inner_text("main")
    assert not any(one.question in page.content() for one in units.values())
    page.get_by_label("Token").fill("wrong again")
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("alert").wait_for()
    page.get_by_label("Token").fill(token)
    page.get_by_role("button", name="Go on").click()
    page.get_by_role("heading", name="Overview").wait_for()


class Stranger(BaseHTTPRequestHandler):
    """Another page on this machine, that tries to use ours."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>stranger</title>")

    def log_message(self, *_: Any) -> None:
        """Quiet."""


def test_another_page_on_this_machine_can_neither_ask_nor_frame_the_page(page, address, units, open_page):
    base, _, token = address.partition("/#token=")
    server = HTTPServer(("127.0.0.1", 0), Stranger)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        stranger, guard = open_page(f"http://127.0.0.1:{server.server_port}/")
        guard.allowed = ("403", "blocked by CORS policy", "frame-ancestors", "Framing", "ERR_", "violates", "Refused")
        ask = "([url, body, more]) => fetch(url, {method: 'POST', body, ...more}).then(a => a.status, () => 'refused')"
        form = f'{{"ids": ["{units["mill"].id}"], "confirm": "forget"}}'
        for more in ({}, {"credentials": "include"}, {"headers": {"authorization": f"Bearer {token}"}}):
            assert stranger.evaluate(ask, [f"{base}/api/forget", form, more]) == "refused"
        stranger.evaluate("url => { const f = document.createElement('iframe'); f.src = url; document.body.append(f); "
                          "return new Promise(done => { f.onload = done }) }", base)  # fmt: skip
        assert all("MIA" not in frame.content() for frame in stranger.frames[1:] if frame.url.startswith("http"))
    finally:
        server.shutdown()
        server.server_close()
    go(page, f"unit/{units['mill'].id}", units["mill"].question)


# -- looking -----------------------------------------------------------------------------------------------------------


def test_words_are_searched_from_the_keyboard_and_a_memory_is_opened(page, units):
    page.keyboard.press("/")
    page.get_by_role("heading", name="Memories", level=1).wait_for()
    page.keyboard.press("/")
    page.keyboard.type("old mill")
    page.keyboard.press("Enter")
    page.get_by_text("1 memory, newest first").wait_for()
    assert texts(page, ".unit .title") == [units["mill"].question]
    page.get_by_role("link", name=units["mill"].question).click()
    page.get_by_role("heading", name=units["mill"].question, level=1).wait_for()
    assert units["mill"].workflow in page.inner_text("main")
    page.go_back()
    page.get_by_text("1 memory, newest first").wait_for()


def test_nothing_found_says_so_and_leads_back(page):
    go(page, "units?text=zzzznothing", "Memories")
    page.get_by_text("Nothing is found.").wait_for()
    page.get_by_role("link", name="show all").click()
    page.get_by_text("7 memories, newest first").wait_for()


def test_a_question_shows_what_an_agent_would_be_shown_and_why(page, units):
    go(page, "units", "Memories")
    page.get_by_text("What an agent would be shown", exact=True).click()
    page.get_by_label("Question").fill("Who built the old mill of Tarnow?")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("heading", name="Worked before").wait_for()
    assert texts(page, ".unit .title")[0] == units["mill"].question
    assert "floor" in page.inner_text(".why")


def test_outcome_and_status_filter_the_list(page, units):
    go(page, "units", "Memories")
    page.get_by_label("Outcome").select_option("incorrect")
    page.get_by_text("1 memory, newest first").wait_for()
    assert texts(page, ".unit .title") == [units["lost"].question]


def test_the_lineage_of_a_memory_is_drawn_and_leads_to_its_ancestor(page, units):
    go(page, f"unit/{units['town'].id}", units["town"].question)
    drawn = page.locator("svg.lineage")
    assert drawn.locator(".node").count() == 2
    assert drawn.locator(".edge").count() == 1
    drawn.locator("a.node").click()
    page.get_by_role("heading", name=units["mill"].question, level=1).wait_for()
    page.get_by_text("What its run did").click()
    page.get_by_text("search: old mill -> p1").wait_for()
    assert page.locator("svg.lineage a.node").count() == 1


def test_every_use_of_a_memory_is_listed_with_its_lift_and_its_log(page, units):
    go(page, f"unit/{units['mill'].id}", units["mill"].question)
    uses = page.locator("section", has=page.get_by_role("heading", name="Uses"))
    assert uses.locator("tbody tr").count() == 19
    assert uses.locator("tbody tr", has_text="left out").count() == 4
    assert "with 12/15" in uses.inner_text()
    assert "store" in page.locator("section", has=page.get_by_role("heading", name="Log")).inner_text()


def test_the_overview_says_whether_memory_helps(page):
    assert re.search(r"with 12/15 · without 1/4", page.inner_text(".forest >> nth=0"))
    counts = dict(zip(texts(page, ".tile .label"), texts(page, ".tile .count"), strict=True))
    assert (counts["memories"], counts["successes"], counts["quarantined"]) == ("7", "2", "3")


def test_the_map_is_walked_with_the_arrow_keys_and_enter_opens_a_memory(page, units):
    go(page, "map", "Map")
    assert page.locator("circle.point").count() == 7
    page.locator("svg.map").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    named = page.inner_text(".panel .title")
    page.keyboard.press("Enter")
    page.locator("h1", has_text=named[:20]).wait_for()


def test_audit_log_check_and_health_are_made_on_demand(page):
    go(page, "audit", "Audit")
    page.get_by_role("button", name="Look for junk").click()
    page.get_by_text("Waiting for a verdict").wait_for()
    page.get_by_role("button", name="Check the log").click()
    page.get_by_text("sound", exact=True).wait_for()
    page.get_by_role("button", name="Check the bank").click()
    page.get_by_text("MiB").wait_for()


# -- changing ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Any:
    """A bank of the test's own, for it will be changed: its units, its address, and a look into it afterwards."""
    config = MiaConfig(home=tmp_path)

    def look() -> Any:
        return open_bank(config)

    bank = look()
    made = filled(bank)
    bank.close()
    with serving(tmp_path) as address:
        yield made, address, look


def test_a_quarantined_memory_is_promoted_after_a_second_word(own, open_page):
    units, address, look = own
    page, _ = open_page(address)
    page.get_by_role("link", name="Quarantine", exact=True).click()
    page.get_by_role("heading", name="Quarantine", level=1).wait_for()
    entry = page.locator(".unit", has_text=units["web"].question)
    entry.get_by_role("button", name="Let it direct").click()
    dialog = page.get_by_role("dialog")
    assert units["web"].question in dialog.inner_text()
    dialog.get_by_role("button", name="Cancel").click()
    assert entry.count() == 1
    entry.get_by_role("button", name="Let it direct").click()
    dialog.get_by_role("button", name="Let it direct").click()
    page.get_by_text("and 1 more that waited for it").wait_for()
    page.locator(".unit", has_text=units["web"].question).wait_for(state="detached")
    bank = look()
    assert bank.get(units["web"].id).status is bank.get(units["child"].id).status is Status.ACTIVE
    bank.close()


def test_a_memory_is_forgotten_only_after_a_second_word(own, open_page):
    units, address, look = own
    page, _ = open_page(address)
    page.get_by_role("heading", name="Overview").wait_for()
    go(page, f"unit/{units['lost'].id}", units["lost"].question)
    page.get_by_role("button", name="Forget").click()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")
    page.get_by_role("button", name="Forget").click()
    assert page.evaluate("document.activeElement.textContent") == "Cancel"
    page.get_by_role("button", name="Forget for good").click()
    page.get_by_role("heading", name="Memories", level=1).wait_for()
    page.get_by_text("6 memories, newest first").wait_for()
    bank = look()
    assert bank.list(text=units["lost"].question).total == 0
    bank.close()


def test_a_page_that_looks_only_has_no_buttons_that_change(tmp_path, open_page):
    bank = open_bank(MiaConfig(home=tmp_path))
    web = filled(bank)["web"]
    bank.close()
    with serving(tmp_path, "--read-only") as address:
        page, _ = open_page(address)
        page.get_by_text("read-only").wait_for()
        go(page, "review", "Quarantine")
        page.get_by_text(web.question).wait_for()
        assert page.get_by_role("button", name=re.compile("direct|Forget")).count() == 0


def test_a_server_that_went_away_is_told_with_the_way_back(tmp_path, open_page):
    with serving(tmp_path) as address:
        page, guard = open_page(address)
        page.get_by_text("This memory is empty.").wait_for()
    guard.allowed = ("ERR_CONNECTION_REFUSED",)
    page.get_by_role("link", name="Memories").click()
    page.get_by_text("start mia ui again").wait_for()


# -- hostile texts -----------------------------------------------------------------------------------------------------


def inert(page: "Page") -> None:
    """No text became code, markup, an address or a request; the guard watches the rest."""
    assert page.evaluate("window.hacked") is None
    assert page.locator("script").count() == 1
    for selector in ("main img", "main iframe", "main script", "[onerror]", "[onload]", "[srcdoc]", "main style"):
        assert page.locator(selector).count() == 0, selector
    addresses = page.eval_on_selector_all("a", "all => all.map(one => one.getAttribute('href'))")
    assert [one for one in addresses if not re.match(r"#|/reports/[0-9a-f]{64}$", one)] == []


def test_hostile_texts_are_shown_as_texts_on_every_page(page, units):
    for where in (*PAGES, "units?status=quarantined", "map?colour=category", "units?text=hacked"):
        page.evaluate("where => { location.hash = where }", f"#/{where}")
        page.wait_for_load_state("networkidle")
        if where == "audit":
            page.get_by_role("button", name="Look for junk").click()
            page.get_by_text("looked at").wait_for()
        inert(page)


def test_a_memory_that_is_hostile_in_every_field_is_shown_whole_and_does_nothing(page, units):
    go(page, f"unit/{units['bad'].id}", re.compile("Who is"))
    for closed in page.locator("details").all():
        closed.locator("summary").click()
    shown = page.inner_text("main")
    for text in HOSTILE[:6]:
        assert shown.count(text) >= 6, text
    inert(page)


@pytest.mark.parametrize(
    "where",
    ["unit/<img src=x onerror=window.hacked=9>", "units?text=<script>window.hacked=9</script>&how=recall",
     "run/javascript:window.hacked=9", "%E0%A4%A", "unit/%00", "<svg/onload=window.hacked=9>"],
)  # fmt: skip
def test_a_hostile_address_is_a_message_and_nothing_more(page, address, open_page, where):
    other, guard = open_page(address)
    other.get_by_role("heading", name="Overview").wait_for()
    guard.allowed = ("404", "400")
    other.evaluate("where => { location.hash = where }", f"#/{where}")
    other.locator("[role=alert], .empty, .units").first.wait_for()
    inert(other)


def test_the_policy_stops_inline_code_and_markup_from_text_even_if_the_page_tried(address, open_page):
    page, guard = open_page(address)
    page.get_by_role("heading", name="Overview").wait_for()
    guard.allowed = ("Content Security Policy", "TrustedHTML", "TrustedScript", "violates", "This document requires")
    script = "const s = document.createElement('script'); s.textContent = 'window.hacked=1'; document.body.append(s)"
    markup = "document.body.innerHTML = '<img src=x onerror=window.hacked=1>'"
    for attempt in (script, markup):
        told = page.evaluate(f"() => {{ try {{ {attempt}; return 'ran' }} catch (error) {{ return error.name }} }}")
        assert told != "ran"
    assert page.evaluate("window.hacked") is None


# -- looks -------------------------------------------------------------------------------------------------------------


def test_no_page_is_wider_than_a_telephone(page, units):
    page.set_viewport_size({"width": 390, "height": 800})
    for where in (*PAGES, f"unit/{units['bad'].id}", f"unit/{units['town'].id}"):
        page.evaluate("where => { location.hash = where }", f"#/{where}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, where


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_stand_out_from_their_ground_in_both_schemes(open_page, address, units, scheme):
    page, _ = open_page(address, color_scheme=scheme)
    page.get_by_role("heading", name="Overview").wait_for()
    for where in ("", "review", f"unit/{units['town'].id}"):
        page.evaluate("where => { location.hash = where }", f"#/{where}")
        page.wait_for_load_state("networkidle")
        assert page.evaluate((Path(__file__).parent / "contrast.js").read_text()) == []


def test_light_and_dark_can_be_chosen_and_stay(page):
    page.get_by_role("button", name="Light / dark").click()
    chosen = page.evaluate("document.documentElement.dataset.theme")
    page.reload()
    page.get_by_role("heading", name="Overview").wait_for()
    assert page.evaluate("document.documentElement.dataset.theme") == chosen == "dark"


def test_a_long_list_is_paged(tmp_path, open_page):
    bank = open_bank(MiaConfig(home=tmp_path))
    keep(bank, *(remembered(f"Who made thing{n} of maker{n * 3}?") for n in range(30)))
    bank.close()
    with serving(tmp_path) as address:
        page, _ = open_page(address)
        page.get_by_role("link", name="Memories", exact=True).click()
        page.get_by_text("30 memories, newest first").wait_for()
        first = texts(page, ".unit .title")
        page.get_by_role("link", name="Older").click()
        page.get_by_text("30 memories, an older page").wait_for()
        second = texts(page, ".unit .title")
        assert len(set(first) | set(second)) == 30
        page.get_by_role("link", name="Newest").click()
        page.get_by_text("30 memories, newest first").wait_for()
