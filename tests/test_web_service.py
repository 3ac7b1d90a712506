"""`GET /server/search`: upstream's clients get their fields, failures are statuses and never empty lists."""

from pathlib import Path

import anyio
import httpx
import orjson
import pytest

from mia_skill.core.errors import SearchError
from retrieval.answers import AnswerCache
from retrieval.hits import Hit
from retrieval.throttle import Purse
from retrieval.web import Fallback, Manners, WebEngine
from retrieval.web_service import WebService

ONE = Hit("https://one.example/a", "One", "First.", "2026")


class Backend:
    """Answers every query with one hit that names it, or fails."""

    def __init__(self, name: str, failure: SearchError | None = None) -> None:
        self.name = name
        self._failure = failure

    async def fetch(self, query: str, k: int) -> list[Hit]:
        if self._failure is not None:
            raise self._failure
        return [ONE._replace(title=query)]

    async def aclose(self) -> None:
        pass


def service(engine: WebEngine | Fallback) -> httpx.AsyncClient:
    app = WebService(engine, hosts=["127.0.0.1"])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1")


async def test_one_query_gives_hits_under_the_names_of_both_clients() -> None:
    async with service(WebEngine(Backend("ddgs"))) as client:
        reply = (await client.get("/server/search", params={"q": "who", "max_results": 3, "engine": "ddgs"})).json()
    assert reply["tool"]["name"] == "ddgs"
    (hit,) = reply["result"]
    assert hit["url"] == hit["href"] == ONE.url
    assert hit["snippet"] == hit["body"] == "First."
    assert (hit["title"], hit["published"], hit["engine"]) == ("who", "2026", "ddgs")


async def test_several_queries_give_a_list_for_each_in_their_order() -> None:
    async with service(WebEngine(Backend("ddgs"))) as client:
        reply = (await client.get("/server/search?q=a&q=b&q=c")).json()
    assert [one[0]["title"] for one in reply["result"]] == ["a", "b", "c"]


async def test_an_engine_can_be_named_and_one_that_is_not_there_is_refused() -> None:
    async with service(Fallback([WebEngine(Backend("serper")), WebEngine(Backend("ddgs"))])) as client:
        assert (await client.get("/server/search?q=a&engine=ddgs")).json()["result"][0]["engine"] == "ddgs"
        refused = await client.get("/server/search?q=a&engine=bing")
    assert refused.status_code == 400
    assert "here is serper,ddgs" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("kind", "status"),
    [("rate_limited", 429), ("timeout", 504), ("blocked", 502), ("upstream_error", 502), ("bad_request", 400)],
)
async def test_a_failed_search_is_a_status_and_never_an_empty_list(kind: str, status: int) -> None:
    failure = SearchError("no", engine="e", retry_after_s=7.2, kind=kind)  # type: ignore[arg-type]
    async with service(WebEngine(Backend("e", failure))) as client:
        reply = await client.get("/server/search?q=a&q=b")
    assert reply.status_code == status
    assert reply.headers["retry-after"] == "7"
    assert reply.json() == {"detail": "no"}


async def test_deterministic_asks_nobody_and_says_what_is_not_kept(tmp_path: Path) -> None:
    cache = AnswerCache(tmp_path / "web.sqlite3", ttl_s=100, empty_ttl_s=10)
    engine = WebEngine(Backend("e"), cache=cache)
    async with service(engine) as client:
        assert (await client.get("/server/search?q=who&deterministic=true")).status_code == 404
        assert engine.asked == 0
        await client.get("/server/search?q=who")
        kept = await client.get("/server/search?q=WHO&deterministic=true")
    await engine.aclose()
    assert kept.json()["result"][0]["title"] == "who"
    assert engine.asked == 1


@pytest.mark.parametrize(
    "query",
    [
        "",
        "q=",
        "q=%00",
        "q=a&max_results=0",
        "q=a&max_results=x",
        "q=a&max_results=999999999999",
        "q=" + "a" * 5000,
        "&".join(["q=a"] * 21),
    ],
)
async def test_requests_that_cannot_be_meant_are_refused(query: str) -> None:
    async with service(WebEngine(Backend("e"))) as client:
        reply = await client.get(f"/server/search?{query}")
    assert reply.status_code == 400
    assert reply.json()["detail"]


async def test_a_spent_budget_is_said() -> None:
    async with service(WebEngine(Backend("e"), manners=Manners(purse=Purse(max_queries=0)))) as client:
        assert (await client.get("/server/search?q=a")).status_code == 402


async def test_health_metrics_other_paths_methods_and_names() -> None:
    async with service(WebEngine(Backend("e"))) as client:
        await client.get("/server/search?q=a&q=b")
        await client.get("/server/search")
        metrics = (await client.get("/metrics")).text
        assert orjson.loads((await client.get("/health")).content) == {"status": "ok", "engine": "e"}
        assert (await client.post("/server/search?q=a")).status_code == 405
        assert (await client.get("/elsewhere")).status_code == 404
        assert (await client.get("/health", headers={"Host": "evil.example"})).status_code == 421
    for line in (
        'mia_search_requests_total{status="200"} 1',
        'mia_search_requests_total{status="400"} 1',
        "mia_search_queries_total 2",
        'mia_search_engine_calls_total{engine="e"} 2',
        "mia_search_seconds_count 2",
    ):
        assert line in metrics.splitlines()


class Slow(Backend):
    """Answers when it is let."""

    def __init__(self) -> None:
        super().__init__("slow")
        self.let = anyio.Event()
        self.begun = 0

    async def fetch(self, query: str, k: int) -> list[Hit]:
        self.begun += 1
        await self.let.wait()
        if query.startswith("bad"):
            raise SearchError("broken", engine="slow")
        return await super().fetch(query, k)


async def test_more_searches_than_may_be_under_way_are_told_when_to_come_back_and_nothing_queues() -> None:
    slow = Slow()
    app = WebService(WebEngine(slow), most_at_once=3)
    statuses: list[int] = []

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as client:

        async def ask(query: str) -> None:
            statuses.append((await client.get("/server/search", params={"q": query})).status_code)

        async with anyio.create_task_group() as group:
            for query in ("a", "b", "bad"):
                group.start_soon(ask, query)
            while slow.begun < 3:
                await anyio.lowlevel.checkpoint()
            for number in range(20):
                refused = await client.get("/server/search", params={"q": f"late {number}"})
                assert refused.status_code == 429
                assert int(refused.headers["retry-after"]) >= 1
                assert "under way" in refused.json()["detail"]
            assert slow.begun == 3
            assert (await client.get("/health")).status_code == 200
            assert "mia_search_busy 3" in (await client.get("/metrics")).text.splitlines()
            slow.let.set()
        assert sorted(statuses) == [200, 200, 502]
        assert (await client.get("/server/search?q=again")).status_code == 200
        metrics = (await client.get("/metrics")).text.splitlines()
    assert "mia_search_busy 0" in metrics
    assert 'mia_search_requests_total{status="429"} 20' in metrics


async def test_a_client_that_goes_away_leaves_its_place_to_another() -> None:
    slow = Slow()
    app = WebService(WebEngine(slow), most_at_once=1)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://127.0.0.1") as client:
        async with anyio.create_task_group() as group:
            group.start_soon(client.get, "/server/search?q=a")
            while not slow.begun:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        slow.let.set()
        assert (await client.get("/server/search?q=b")).status_code == 200
