"""The page's questions through its door: what it answers, whom it refuses, and that nothing is unbounded."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from ui_world import HOSTILE, TOKEN, ask, client_of, filled, keep, remembered

from mia_skill.core.config import MiaConfig, ServerConfig
from mia_skill.core.errors import InputError
from mia_skill.core.types import MemoryUnit, Origin, Outcome, Status
from mia_skill.ui.door import Door
from mia_skill.ui.serve import build_page
from retrieval.bank import Bank
from retrieval.embed import HashEmbedder


@pytest.fixture
def bank(banks: Any, tmp_path: Path) -> Iterator[Bank]:
    opened = banks.open(tmp_path / "bank.sqlite3", HashEmbedder())
    yield opened
    opened.close()


@pytest.fixture
def units(bank: Bank) -> dict[str, MemoryUnit]:
    return filled(bank)


@pytest.fixture
def door(bank: Bank, tmp_path: Path) -> Door:
    return build_page(bank, MiaConfig(home=tmp_path), token=TOKEN)


@pytest.fixture
async def page(door: Door) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(door) as client:
        yield client


# -- what it answers ---------------------------------------------------------------------------------------------------


async def test_the_overview_counts_and_shows_the_lift(page, units):
    seen = await ask(page, "overview")
    counts = {(row["namespace"], row["outcome"], row["status"]): row["units"] for row in seen["namespaces"]}
    assert counts["default", "correct", "active"] == 2
    assert counts["default", "correct", "quarantined"] == 3
    assert counts["work", "incorrect", "active"] == counts["default", None, "active"] == 1
    totals = {(row["outcome"], row["status"]): row["units"] for row in seen["census"]}
    assert totals["correct", "active"] == 2
    assert sum(totals.values()) == len(units)
    (row,) = [row for row in seen["lift"]["rows"] if row["scope"] == "namespace"]
    assert (row["tally"]["shown"], row["tally"]["withheld"]) == (15, 4)
    assert row["lift"]["low"] <= row["lift"]["value"] <= row["lift"]["high"]
    assert seen["log"]["entries"]


async def test_of_many_namespaces_the_largest_are_listed_and_all_are_counted(page, bank):
    keep(bank, *(remembered(f"Who made thing{n} of maker{n * 3}?", namespace=f"tenant{n % 40}") for n in range(50)))
    seen = await ask(page, "overview")
    assert len({row["namespace"] for row in seen["namespaces"]}) == 30
    assert seen["more_namespaces"] == 10
    assert {row["units"] for row in seen["namespaces"] if row["namespace"] in ("tenant0", "tenant9")} == {2}
    assert sum(row["units"] for row in seen["census"]) == 50


async def test_an_empty_bank_is_answered_too(page):
    assert (await ask(page, "overview"))["census"] == []
    assert (await ask(page, "units"))["total"] == 0
    assert (await ask(page, "map"))["points"] == []
    assert (await ask(page, "recall", question="Who?"))["successes"] == []


async def test_units_are_found_by_text_outcome_status_and_namespace(page, units):
    assert [one["id"] for one in (await ask(page, "units", text="OLD MILL"))["units"]] == [units["mill"].id]
    assert [one["id"] for one in (await ask(page, "units", namespace="work"))["units"]] == [units["lost"].id]
    assert (await ask(page, "units", status="quarantined"))["total"] == 3
    assert (await ask(page, "units", outcome="incorrect"))["total"] == 1


async def test_every_unit_is_on_one_page_of_the_list(page, units):
    met, cursor = [], {}
    while True:
        found = await ask(page, "units", limit=3, **cursor)
        met += [one["id"] for one in found["units"]]
        if not found["next"]:
            break
        cursor = {"cursor": found["next"]}
    assert sorted(met) == sorted(one.id for one in units.values())


async def test_recall_shows_what_an_agent_would_be_shown_and_counts_nothing(page, bank, units):
    found = await ask(page, "recall", question="Who built the old mill of Tarnow?")
    assert found["successes"][0]["unit"]["id"] == units["mill"].id
    assert found["successes"][0]["parts"]["floor"] > 0
    assert bank.get(units["mill"].id).uses == units["mill"].uses
    assert bank.lift().trials == 19


async def test_a_unit_comes_with_lineage_uses_lift_and_log(page, units):
    seen = await ask(page, "unit", id=units["town"].id)
    assert [one["id"] for one in seen["ancestors"]] == [units["mill"].id]
    assert (seen["uses"]["tally"]["shown"], seen["uses"]["tally"]["withheld"]) == (15, 0)
    assert seen["uses"]["lift"] is None
    assert len(seen["uses"]["uses"]) == 19
    assert seen["log"]["entries"][-1]["action"] == "store"
    above = await ask(page, "unit", id=units["mill"].id)
    assert [one["id"] for one in above["uses"]["children"]] == [units["town"].id]


async def test_an_unknown_unit_is_a_404_that_names_the_way_out(page, units):
    assert "mia memory list" in (await ask(page, "unit", 404, id="mem_nobody"))["error"]


async def test_the_map_places_every_unit_inside_the_plane(page, units):
    drawn = await ask(page, "map")
    assert {point["id"] for point in drawn["points"]} == {one.id for one in units.values()}
    assert all(0 <= point[axis] <= 1 for point in drawn["points"] for axis in "xy")
    assert drawn["total"] == len(units)


async def test_a_map_of_a_large_bank_says_how_many_it_shows(page, bank):
    keep(bank, *(remembered(f"Who made thing{n} of maker{n * 3}?") for n in range(60)))
    drawn = await ask(page, "map", count=20, by="question")
    assert (len(drawn["points"]), drawn["total"]) == (20, 60)


async def test_promoting_lets_a_unit_direct_and_what_waited_for_it(page, bank, units):
    done = await ask(page, "promote", id=units["web"].id, confirm="promote")
    assert set(done["promoted"]) == {units["web"].id, units["child"].id}
    assert bank.get(units["web"].id).status is Status.ACTIVE
    told = await ask(page, "log", subject=units["web"].id)
    assert "a person's word" in told["entries"][0]["detail"]


async def test_forgetting_deletes_and_the_log_still_knows(page, bank, units):
    assert (await ask(page, "forget", ids=[units["web"].id], confirm="forget"))["forgotten"] == 1
    await ask(page, "unit", 404, id=units["web"].id)
    assert (await ask(page, "log", subject=units["web"].id))["entries"][0]["action"] == "forget"


@pytest.mark.parametrize("name", ["promote", "forget"])
@pytest.mark.parametrize("confirm", [None, "", "yes", True])
async def test_nothing_changes_without_the_very_word(page, bank, units, name, confirm):
    given = {"id": units["web"].id} if name == "promote" else {"ids": [units["web"].id]}
    await ask(page, name, 400, **given, **({} if confirm is None else {"confirm": confirm}))
    assert bank.get(units["web"].id).status is Status.QUARANTINED


async def test_one_unknown_unit_among_several_forgets_none(page, bank, units):
    await ask(page, "forget", 404, ids=[units["web"].id, "mem_nobody"], confirm="forget")
    assert bank.get(units["web"].id).id == units["web"].id


async def test_a_page_that_looks_only_changes_nothing_and_says_how(bank, units, tmp_path):
    settings = MiaConfig(home=tmp_path, server=ServerConfig(read_only=True))
    for door in (build_page(bank, settings, token=TOKEN), build_page(bank, MiaConfig(), token=TOKEN, read_only=True)):
        async with client_of(door) as page:
            assert (await ask(page, "session"))["read_only"] is True
            for name, form in (("promote", {"id": units["web"].id}), ("forget", {"ids": [units["web"].id]})):
                told = await ask(page, name, 403, **form, confirm=name)
                assert "--read-only" in told["error"]
    assert bank.get(units["web"].id).status is Status.QUARANTINED


async def test_audit_log_check_and_health_answer_on_demand(page, units):
    kinds = {one["kind"] for one in (await ask(page, "audit"))["findings"]}
    assert {"never_used", "untrusted", "pending"} <= kinds
    assert (await ask(page, "verify"))["sound"] is True
    assert (await ask(page, "health"))["units"] == len(units)


# -- bounds ------------------------------------------------------------------------------------------------------------


async def test_a_giant_unit_is_cut_and_says_so(page, bank):
    (giant,) = keep(bank, remembered("Who?" + "x" * 50_000, workflow="1. go\n" * 100_000, sources=("p",) * 5000))
    listed = await page.post("/api/units", json={})
    whole = await page.post("/api/unit", json={"id": giant.id})
    assert len(listed.content) < 4_000
    assert len(whole.content) < 200_000
    assert "more characters" in whole.json()["unit"]["workflow"]


async def test_a_long_log_and_many_children_come_in_pages(page, bank):
    (parent,) = keep(bank, remembered("Who built the first?"))
    keep(bank, *(remembered(f"Who built number{n} for{n * 3}?", parents=(parent.id,)) for n in range(120)))
    seen = await ask(page, "unit", id=parent.id)
    assert len(seen["uses"]["children"]) == 50
    assert seen["uses"]["descendants"] == 120
    assert len((await ask(page, "log"))["entries"]) == 50


async def test_a_bank_too_large_to_audit_in_a_page_names_the_command(page, units, monkeypatch):
    monkeypatch.setattr("mia_skill.ui.keeper.AUDITED", 3)
    assert "mia memory audit" in (await ask(page, "audit", 400))["error"]


async def test_a_long_log_is_checked_a_stretch_at_a_time(page, bank, units, monkeypatch):
    monkeypatch.setattr("mia_skill.ui.keeper.STRETCH", 4)
    found, asked, entries = {"next": None}, 0, bank.verify_log().entries
    while asked == 0 or found["next"]:
        found = await ask(page, "verify", **({"cursor": found["next"]} if found["next"] else {}))
        asked += 1
        assert found["sound"] is True
    assert found["entries"] == entries > 4
    assert asked >= entries // 4 + len(units) // 4
    assert found["head"] == bank.verify_log().head


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("verify", {"cursor": "log:1:1:abc"}),
        ("units", {"limit": 101}),
        ("units", {"text": "x" * 2001}),
        ("units", {"cursor": "zzz"}),
        ("units", {"outcome": "maybe"}),
        ("units", {"path": "/etc/passwd"}),
        ("map", {"count": 5000}),
        ("unit", {}),
        ("forget", {"ids": [], "confirm": "forget"}),
        ("forget", {"ids": ["x"] * 101, "confirm": "forget"}),
    ],
)
async def test_a_question_out_of_bounds_is_refused_with_its_reason(page, name, form):
    assert (await ask(page, name, 400, **form))["error"]


async def test_a_body_that_is_too_long_or_no_json_is_refused(page):
    assert (await page.post("/api/units", content=b"x" * 70_000)).status_code == 413
    assert (await page.post("/api/units", content=b"{")).status_code == 400
    assert (await page.post("/api/units", content=b"[1]")).status_code == 400


# -- the door ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer \xff"]
)
async def test_without_the_right_token_nothing_is_told_or_changed(door, bank, units, given):
    async with client_of(door, authorization=given.encode("latin-1")) as page:
        for name in ("session", "units", "overview", "nothing"):
            answer = await page.post(f"/api/{name}", json={})
            assert answer.status_code == 401
            assert "mia ui" in answer.json()["error"]
        answer = await page.post("/api/forget", json={"ids": [units["web"].id], "confirm": "forget"})
        assert answer.status_code == 401
    assert bank.get(units["web"].id)


async def test_a_token_in_the_address_or_in_a_cookie_opens_nothing(door):
    async with client_of(door, authorization="", cookie=f"mia-token={TOKEN}") as page:
        assert (await page.post(f"/api/session?token={TOKEN}", json={})).status_code == 401


async def test_the_page_itself_holds_no_data_and_no_token(door, units):
    async with client_of(door, authorization="") as page:
        for path in door.files:
            answer = await page.get(path)
            assert answer.status_code == 200
            assert TOKEN not in answer.text
            assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"origin": "https://127.0.0.1:8757"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_a_request_that_another_page_makes_is_refused_even_with_the_token(door, headers):
    async with client_of(door, **headers) as page:
        assert (await page.post("/api/session", json={})).status_code == 403


async def test_our_own_page_and_programs_may_ask(door):
    own = {"origin": "http://127.0.0.1:8757", "sec-fetch-site": "same-origin"}
    for headers in ({}, own, {"sec-fetch-site": "none"}):
        async with client_of(door, **headers) as page:
            assert (await page.post("/api/session", json={})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8757", "", "127.0.0.1.evil.example", "0.0.0.0"])
async def test_the_page_does_not_answer_to_a_strangers_name(door, host):
    async with client_of(door, host=host) as page:
        assert (await page.get("/")).status_code == 421
        assert (await page.post("/api/session", json={})).status_code == 421


@pytest.mark.parametrize("host", ["localhost:8757", "127.0.0.1:1", "LOCALHOST"])
async def test_the_page_answers_to_the_names_of_this_machine_on_any_forwarded_port(door, host):
    async with client_of(door, host=host, origin=f"http://{host}") as page:
        assert (await page.post("/api/session", json={})).status_code == 200


async def test_everything_leaves_with_the_headers_that_keep_it_inert(door, units):
    async with client_of(door) as page:
        answers = [
            await page.get("/"),
            await page.get("/app.js"),
            await page.get("/nothing"),
            await page.get("/reports/x"),
        ]
        answers += [await page.post("/api/units", json={}), await page.post("/api/unit", json={"id": "no"})]
        answers.append(await page.post("/", json={}))
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe-eval" not in policy
        assert "script-src 'unsafe-inline'" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers
    assert "frame-ancestors 'none'" in answers[0].headers["content-security-policy"]
    assert "require-trusted-types-for 'script'" in answers[0].headers["content-security-policy"]
    assert answers[4].headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/../pyproject.toml", "/page/app.js", "/%2e%2e/serve.py", "//etc/passwd", "/.env"])
async def test_no_path_leads_out_of_the_page(door, path):
    async with client_of(door) as page:
        assert (await page.get(path)).status_code == 404


async def test_hostile_texts_travel_as_json_and_come_back_whole(page, units):
    answer = await page.post("/api/unit", json={"id": units["bad"].id})
    assert answer.headers["content-type"] == "application/json"
    seen = orjson.loads(answer.content)["unit"]
    assert seen["provenance"]["sources"] == list(HOSTILE)
    assert all(text in seen["workflow"] for text in HOSTILE)


async def test_a_bank_that_cannot_be_used_is_a_503_with_the_fix(page, bank, units, banks):
    bank.close()
    told = await ask(page, "units", 503)
    assert told["error"]


def test_the_files_of_the_page_make_no_markup_from_text_and_load_nothing_from_elsewhere(door):
    for path, asset in door.files.items():
        text = asset.body.decode()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "srcdoc",
            "new Function",
        ):
            assert word not in text, f"{path} holds {word}"
        assert "https://" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_a_folder_of_traces_that_is_not_there_is_named(bank, tmp_path):
    with pytest.raises(InputError, match="--traces"):
        build_page(bank, MiaConfig(home=tmp_path), token=TOKEN, traces=(tmp_path / "nowhere",))


async def test_units_from_elsewhere_and_pending_ones_are_told_apart(page, units):
    seen = await ask(page, "unit", id=units["web"].id)
    assert seen["trust"] == Origin.WEB.value
    assert (await ask(page, "unit", id=units["lost"].id))["unit"]["outcome"] == Outcome.INCORRECT.value
    assert (await ask(page, "unit", id=units["open"].id))["unit"]["outcome"] is None
