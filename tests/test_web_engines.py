"""Engines, their manners and what is kept of their answers: fallback, breaker, rate, budget, cache, replay."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx
import orjson
import pytest
from pydantic import SecretStr

from mia_skill.core.config import SearchConfig
from mia_skill.core.errors import BudgetExceeded, ConfigError, InputError, MiaError, ReplayMiss, SearchError
from retrieval.answers import AnswerCache
from retrieval.backends import HttpBackend
from retrieval.dialects import DIALECTS
from retrieval.hits import Hit
from retrieval.tape import Player, Recorder, TapedSearch, open_tape
from retrieval.throttle import FAILURES, FIRST_PAUSE_S, LONGEST_PAUSE_S, Breaker, Bucket, Purse
from retrieval.web import Fallback, Manners, WebEngine, build_web

ONE = Hit("https://one.example/a", "One", "First.", "2026-01-02")


@dataclass
class Clock:
    """Time that passes when told to; sleeping is telling."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Backend:
    """Says its lines, the last one again and again."""

    lines: list[list[Hit] | SearchError]
    name: str = "fake"
    calls: int = 0

    async def fetch(self, query: str, k: int) -> list[Hit]:
        self.calls += 1
        line = self.lines[min(self.calls, len(self.lines)) - 1]
        if isinstance(line, SearchError):
            raise line
        return line

    async def aclose(self) -> None:
        pass


def down(engine: str = "fake", **more: object) -> SearchError:
    return SearchError(f"{engine} is down", engine=engine, **more)  # type: ignore[arg-type]


# -- dialects -------------------------------------------------------------------------------------------------

REPLIES: dict[str, object] = {
    "serper": {"organic": [{"link": ONE.url, "title": "One", "snippet": "First.", "date": "2026-01-02"}]},
    "brave": {
        "query": {"original": "q"},
        "web": {
            "results": [
                {"url": ONE.url, "title": "<b>One</b>", "description": "<strong>First</strong>.", "page_age": ONE[3]}
            ]
        },
    },
    "tavily": {"results": [{"url": ONE.url, "title": "One", "content": "First.", "published_date": ONE[3]}]},
    "searxng": {"results": [{"url": ONE.url, "title": "One", "content": "First.", "publishedDate": ONE[3]}]},
}


def asking(name: str, answer: Callable[[httpx.Request], httpx.Response]) -> HttpBackend:
    return HttpBackend(
        DIALECTS[name], SecretStr("k3y"), url="https://e.example/s", transport=httpx.MockTransport(answer)
    )


@pytest.mark.parametrize("name", list(DIALECTS))
async def test_every_engine_gives_title_address_snippet_date_and_its_name(name: str) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=REPLIES[name])

    (found,) = await WebEngine(asking(name, answer)).search("who founded it", 3)
    assert (found.title, found.url, found.text, found.published, found.source) == ("One", *ONE[::2], ONE[3], name)
    sent = str(seen[0].url) + seen[0].content.decode()
    assert "who" in sent
    assert "k3y" in str(seen[0].headers.raw)
    assert "k3y" not in sent


EMPTY: dict[str, object] = {
    "serper": {"organic": []},
    "brave": {"query": {"original": "q"}},
    "tavily": {"results": []},
    "searxng": {"results": []},
}


@pytest.mark.parametrize("name", list(DIALECTS))
async def test_an_engine_that_finds_nothing_gives_nothing(name: str) -> None:
    assert await WebEngine(asking(name, lambda _: httpx.Response(200, json=EMPTY[name]))).search("q") == ()


async def test_a_searxng_whose_engines_are_silent_found_nothing_out_and_says_so() -> None:
    silent = {"results": [], "unresponsive_engines": [["google", "CAPTCHA"]]}
    with pytest.raises(SearchError, match=r"none of its engines responded.*CAPTCHA") as caught:
        await WebEngine(asking("searxng", lambda _: httpx.Response(200, json=silent))).search("q")
    assert caught.value.kind == "blocked"


BAD = (
    (200, b"<html>Are you a robot?</html>", "blocked"),
    (200, b"{garbage", "upstream_error"),
    (200, b"[]", "upstream_error"),
    (200, b"[" * 100_000, "upstream_error"),
    (403, b"<html>no</html>", "blocked"),
    (429, b"", "rate_limited"),
    (432, b"{}", "blocked"),
    (422, b"{}", "bad_request"),
    (503, b"", "upstream_error"),
)


@pytest.mark.parametrize("name", list(DIALECTS))
@pytest.mark.parametrize(("status", "body", "kind"), BAD)
async def test_what_is_no_answer_is_an_error_of_its_kind(name: str, status: int, body: bytes, kind: str) -> None:
    with pytest.raises(SearchError) as caught:
        await WebEngine(asking(name, lambda _: httpx.Response(status, content=body))).search("q")
    assert (caught.value.kind, caught.value.engine) == (kind, name)
    assert "k3y" not in str(caught.value)


def test_an_engine_without_public_address_asks_for_one() -> None:
    with pytest.raises(ConfigError, match=r"set search\.searxng\.url"):
        build_web(SearchConfig.model_validate({"web": "searxng"}))


def test_each_engine_of_a_list_has_its_own_key() -> None:
    with pytest.raises(ConfigError, match=r"search\.brave\.key"):
        build_web(SearchConfig.model_validate({"web": ["serper", "brave"], "web_key": "x"}))
    engine = build_web(SearchConfig.model_validate({"web": ["serper", "brave"], "web_key": "x", "brave": {"key": "y"}}))
    assert engine is not None
    assert engine.name == "serper,brave"


# -- fallback, retry, breaker, rate, budget -------------------------------------------------------------------


async def test_when_an_engine_fails_the_next_is_asked_and_named_as_the_source() -> None:
    first, second = Backend([down("one")], "one"), Backend([[ONE]], "two")
    (found,) = await Fallback([WebEngine(first), WebEngine(second)]).search("q")
    assert found.source == "two"
    assert (first.calls, second.calls) == (1, 1)


async def test_no_results_are_an_answer_and_the_next_engine_is_not_asked() -> None:
    second = Backend([[ONE]], "two")
    assert await Fallback([WebEngine(Backend([[]], "one")), WebEngine(second)]).search("q") == ()
    assert second.calls == 0


async def test_when_all_engines_fail_the_error_has_a_line_for_each() -> None:
    engines = [
        WebEngine(Backend([down(name, retry_after_s=wait)], name)) for name, wait in (("one", 9.0), ("two", 4.0))
    ]
    with pytest.raises(SearchError, match="one is down\n- two is down") as caught:
        await Fallback(engines).search("q")
    assert caught.value.retry_after_s == 4.0


async def test_an_engine_out_of_order_is_tried_again_but_a_refusal_is_not() -> None:
    clock = Clock()
    backend = Backend([down(), [ONE]])
    await WebEngine(backend, manners=Manners(retries=1, sleep=clock.sleep)).search("q")
    assert (backend.calls, clock.slept) == (2, [0.3])
    refused = Backend([down(kind="rate_limited"), [ONE]])
    with pytest.raises(SearchError):
        await WebEngine(refused, manners=Manners(retries=3, sleep=clock.sleep)).search("q")
    assert refused.calls == 1


async def test_after_three_failures_an_engine_is_left_alone_and_then_tried_by_one_caller() -> None:
    clock = Clock()
    backend = Backend([down()] * FAILURES + [[ONE]])
    engine = WebEngine(backend, manners=Manners(breaker=Breaker("fake", clock)))
    for _ in range(FAILURES):
        with pytest.raises(SearchError, match="is down"):
            await engine.search("q")
    with pytest.raises(SearchError, match=r"left alone for 30 s after 3 failures.*fake is down") as caught:
        await engine.search("q")
    assert (caught.value.kind, caught.value.retry_after_s) == ("paused", FIRST_PAUSE_S)
    assert backend.calls == FAILURES
    clock.now += FIRST_PAUSE_S
    assert len(await engine.search("q")) == 1
    assert len(await engine.search("another")) == 1


def test_only_one_caller_tries_a_recovering_engine_and_each_relapse_pauses_it_longer() -> None:
    clock = Clock()
    breaker = Breaker("fake", clock)
    for _ in range(FAILURES):
        breaker.enter()
        breaker.leave(down())
    pauses = []
    for _ in range(8):
        pause = breaker._closed_until - clock.now
        pauses.append(pause)
        clock.now += pause
        breaker.enter()
        with pytest.raises(SearchError):
            breaker.enter()
        breaker.leave(down())
    assert pauses[:3] == [30.0, 60.0, 120.0]
    assert max(pauses) == LONGEST_PAUSE_S


def test_a_cancelled_trial_leaves_the_door_open_and_bad_requests_do_not_shut_it() -> None:
    clock = Clock()
    breaker = Breaker("fake", clock)
    for _ in range(10):
        breaker.enter()
        breaker.leave(down(kind="bad_request"))
    for _ in range(FAILURES):
        breaker.enter()
        breaker.leave(down())
    clock.now += FIRST_PAUSE_S
    breaker.enter()
    breaker.abandon()
    breaker.enter()


async def test_an_engine_that_says_when_to_come_back_is_not_asked_before() -> None:
    clock = Clock()
    backend = Backend([down(kind="rate_limited", retry_after_s=7.0), [ONE]])
    engine = WebEngine(backend, manners=Manners(breaker=Breaker("fake", clock)))
    for _ in range(2):
        with pytest.raises(SearchError):
            await engine.search("q")
    assert backend.calls == 1
    clock.now += 7.0
    assert await engine.search("q")


async def test_calls_are_spread_to_the_rate_and_a_burst_of_one_second_is_free() -> None:
    clock = Clock()
    bucket = Bucket("fake", 2.0, clock, clock.sleep)
    for _ in range(5):
        await bucket.take(60.0)
    assert clock.slept == pytest.approx([0.5, 0.5, 0.5])
    clock.now += 100.0
    await bucket.take(60.0)
    await bucket.take(60.0)
    assert len(clock.slept) == 3


async def test_who_would_wait_too_long_for_a_turn_is_told_so_and_takes_no_turn() -> None:
    clock = Clock()
    bucket = Bucket("fake", 0.1, clock, clock.sleep)
    await bucket.take(5.0)
    for _ in range(3):
        with pytest.raises(SearchError, match=r"try again in 10 s.*search\.fake\.per_second") as caught:
            await bucket.take(5.0)
    assert caught.value.kind == "paused"
    assert clock.slept == []


async def test_a_spent_budget_stops_the_engine_that_costs_and_not_the_free_one() -> None:
    purse = Purse(max_cost=0.003)
    dear = WebEngine(Backend([[ONE]], "dear"), manners=Manners(price=0.001, purse=purse))
    free = WebEngine(Backend([[ONE]], "free"), manners=Manners(purse=purse))
    sources = [(await Fallback([dear, free]).search(f"q{n}"))[0].source for n in range(5)]
    assert sources == ["dear"] * 3 + ["free"] * 2
    with pytest.raises(BudgetExceeded, match=r"0.003 dollars.*raise search\.max_cost"):
        await dear.search("new")


async def test_the_number_of_queries_is_a_budget_too_and_kept_answers_are_free() -> None:
    engine = WebEngine(Backend([[ONE]]), manners=Manners(purse=Purse(max_queries=2)))
    for query in ("a", "b", "a", "b"):
        await engine.search(query)
    with pytest.raises(BudgetExceeded, match="2 web queries"):
        await engine.search("c")


# -- the cache on disk ----------------------------------------------------------------------------------------


def cached(path: Path, clock: Clock) -> AnswerCache:
    return AnswerCache(path, ttl_s=100.0, empty_ttl_s=10.0, clock=clock)


async def test_an_answer_outlives_the_process_and_grows_old(tmp_path: Path) -> None:
    clock, backend = Clock(), Backend([[ONE]])
    for _ in range(2):
        engine = WebEngine(backend, cache=cached(tmp_path / "c" / "web.sqlite3", clock))
        assert (await engine.search("Who  founded\tit"))[0].published == ONE.published
        assert await engine.search("who founded IT")
        await engine.aclose()
    assert backend.calls == 1
    clock.now += 100.0
    assert await WebEngine(backend, cache=cached(tmp_path / "c" / "web.sqlite3", clock)).search("who founded it")
    assert backend.calls == 2


async def test_a_failure_is_never_kept_and_nothing_found_only_shortly(tmp_path: Path) -> None:
    clock = Clock()
    backend = Backend([down(), [], [ONE]])

    async def ask() -> object:
        return await WebEngine(backend, cache=cached(tmp_path / "web.sqlite3", clock)).search("q")

    with pytest.raises(SearchError):
        await ask()
    assert await ask() == ()
    clock.now += 9.0
    assert await ask() == ()
    assert backend.calls == 2
    clock.now += 1.0
    assert await ask() != ()


async def test_engines_and_numbers_of_results_do_not_share_answers(tmp_path: Path) -> None:
    cache = cached(tmp_path / "web.sqlite3", Clock())
    one, two = Backend([[ONE]], "one"), Backend([[ONE]], "two")
    for backend in (one, two):
        await WebEngine(backend, cache=cache).search("q")
        await WebEngine(backend, cache=cache).search("q", 2)
    assert (one.calls, two.calls) == (2, 2)


@pytest.mark.parametrize("damage", [b"this is no database" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
async def test_a_damaged_cache_is_put_aside_and_the_engine_is_asked(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "web.sqlite3"
    path.write_bytes(damage)
    backend = Backend([[ONE]])
    assert await WebEngine(backend, cache=cached(path, Clock())).search("q")
    assert backend.calls == 1


async def test_a_cache_that_cannot_be_written_is_told_once_and_search_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    engine = WebEngine(Backend([[ONE]]), cache=cached(tmp_path / "file" / "web.sqlite3", Clock()))
    assert await engine.search("a")
    assert await engine.search("b")
    assert len(caplog.records) == 1


# -- record and replay ----------------------------------------------------------------------------------------


async def outcome(engine: TapedSearch, query: str) -> bytes:
    """What a caller gets, as bytes."""
    try:
        found = await engine.search(query, 3)
    except MiaError as error:
        return f"{type(error).__name__}: {error} {vars(error)}".encode()
    return orjson.dumps([one.model_dump(mode="json") for one in found])


async def test_a_recorded_run_replays_byte_for_byte_without_any_engine(tmp_path: Path) -> None:
    lines: list[list[Hit] | SearchError] = [
        down(retry_after_s=math.pi),
        [ONE, ONE._replace(url="https://b.example")],
        [],
    ]
    asked = ["Fällt aus", "q2", "q3"]
    recorder = Recorder(tmp_path / "run.jsonl")
    live = TapedSearch(WebEngine(Backend(lines)), recorder, "fake")
    before = [await outcome(live, query) for query in [*asked, "q2"]]
    await live.aclose()
    replayed = TapedSearch(None, Player(tmp_path / "run.jsonl"), "fake")
    assert [await outcome(replayed, query) for query in [*asked, "q2"]] == before
    again = TapedSearch(None, Player(tmp_path / "run.jsonl"), "fake")
    assert [await outcome(again, query) for query in ["q3", " q2 "]] == [before[2], before[1]]


async def test_what_was_not_recorded_is_an_error_that_names_the_query(tmp_path: Path) -> None:
    Recorder(tmp_path / "run.jsonl").close()
    engine = build_web(
        SearchConfig.model_validate({"web": "serper", "replay": tmp_path / "run.jsonl"}),
        tape=open_tape(None, tmp_path / "run.jsonl"),
    )
    assert engine is not None
    with pytest.raises(ReplayMiss, match="no search with query='who is she', k=5"):
        await engine.search("who is she")


async def test_input_is_checked_alike_while_replaying(tmp_path: Path) -> None:
    Recorder(tmp_path / "run.jsonl").close()
    with pytest.raises(InputError):
        await TapedSearch(None, Player(tmp_path / "run.jsonl"), "fake").search(" ")


async def test_the_same_question_answered_differently_is_replayed_in_order(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run.jsonl")
    backend = Backend([down(), [ONE]])
    live = TapedSearch(WebEngine(backend), recorder, "fake")
    before = [await outcome(live, "q") for _ in range(3)]
    recorder.close()
    replayed = TapedSearch(None, Player(tmp_path / "run.jsonl"), "fake")
    assert [await outcome(replayed, "q") for _ in range(3)] == before
    assert before[0] != before[1]


@pytest.mark.parametrize("text", [b"", b"{}\n", b'{"mia_tape":1}\nnot json\n', b'{"mia_tape":1}\n{"kind":"x"}\n'])
def test_a_file_that_is_no_recording_is_refused_with_its_line(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "t").write_bytes(text)
    with pytest.raises(ConfigError, match=r"line [12] is no recording"):
        Player(tmp_path / "t")


def test_a_recording_is_never_overwritten_and_both_at_once_make_no_sense(tmp_path: Path) -> None:
    Recorder(tmp_path / "t").close()
    with pytest.raises(ConfigError, match="is there already"):
        Recorder(tmp_path / "t")
    with pytest.raises(ConfigError, match="exclude each other"):
        open_tape(tmp_path / "a", tmp_path / "t")
    assert open_tape(None, None) is None


async def test_a_stalling_engine_is_left_for_the_next_within_the_time_limit() -> None:
    class Stalls(Backend):
        async def fetch(self, query: str, k: int) -> list[Hit]:
            await anyio.sleep_forever()
            return []

    slow = WebEngine(Stalls([], "slow"), manners=Manners(timeout_s=0.01))
    (found,) = await Fallback([slow, WebEngine(Backend([[ONE]], "two"))]).search("q")
    assert found.source == "two"
