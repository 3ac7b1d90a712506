"""The /retrieve service: Search-R1's and MIA's requests, bad input, batching, overload; and the client of it."""

import re
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from mia_skill.core.config import ServerConfig
from mia_skill.core.errors import ConfigError, InputError, SearchError
from mia_skill.core.types import Passage
from retrieval.batcher import Batcher, BusyError, Ranked
from retrieval.corpus import Corpus, Ranking
from retrieval.dense import DenseIndex
from retrieval.embed import HashEmbedder
from retrieval.lexical import LexicalIndex
from retrieval.remote import RemoteCorpus
from retrieval.retrieve_form import MAX_TOPK, MOST_QUERIES, parsed
from retrieval.search import MAX_QUERY_CHARS, SearchEngine
from retrieval.service import MOST_BYTES, RetrieveService
from retrieval.store import MemoryStore

PAGES = (
    Passage(id="a", title="Velmora Works", text="Velmora Works was set up in 1874 by Aldric Tesh."),
    Passage(id="b", title="Aldric Tesh", text="Aldric Tesh was born in Ostrava Nova\nand studied glass blowing."),
    Passage(id="c", title="Vesk River", text="The Vesk River flows through Ostrava Nova. It is 312 km long."),
    Passage(id="d", title='The "Fannā" of Brûlé', text="A founder of bakeries \U0001f600."),
)


def corpus_of(pages: Sequence[Passage] = PAGES) -> Corpus:
    texts = [f"{page.title}\n{page.text}" for page in pages]
    words = LexicalIndex.open(pages, "x", None)
    return Corpus(MemoryStore(pages), words, DenseIndex.open(texts, HashEmbedder(), None), passage_chars=1200)


class Served:
    """The application behind a client, without a socket."""

    def __init__(self, service: RetrieveService) -> None:
        self.service = service
        self.transport = httpx.ASGITransport(service)
        self.client = httpx.AsyncClient(transport=self.transport, base_url="http://127.0.0.1:8001")

    async def post(self, form: Any) -> httpx.Response:
        return await self.client.post("/retrieve", content=form if isinstance(form, bytes) else orjson.dumps(form))


@asynccontextmanager
async def served(corpus: Any = None, **options: Any) -> AsyncIterator[Served]:
    service = RetrieveService(corpus if corpus is not None else Ranking(corpus_of()), **options)
    async with service.running():
        one = Served(service)
        async with one.client:
            yield one


# -- the contract ----------------------------------------------------------------------------------------------


async def test_search_r1s_client_gets_passages_it_can_read() -> None:
    """Its training loop posts all searches of a step at once and takes the title from the first line of contents."""
    payload = {"queries": ["who set up Velmora Works?", "Vesk River"], "topk": 3, "return_scores": True}
    async with served() as one:
        results = (await one.client.post("/retrieve", json=payload)).json()["result"]
    assert [len(result) for result in results] == [3, 3]
    shown = []
    for result in results:
        content = result[0]["document"]["contents"]
        shown.append((content.split("\n")[0], "\n".join(content.split("\n")[1:])))
        assert set(result[0]) == {"document", "score"}
        assert set(result[0]["document"]) == {"id", "contents"}
        assert [hit["score"] for hit in result] == sorted((hit["score"] for hit in result), reverse=True)
    assert shown == [('"Velmora Works"', PAGES[0].text), ('"Vesk River"', PAGES[2].text)]


@pytest.mark.parametrize("count", [1, 2, 3])
async def test_without_scores_every_query_gets_its_own_bare_documents(count: int) -> None:
    """The server that is replaced fails here for any number but two, and mixes the two up."""
    queries = ["Velmora Works", "Vesk River", "glass blowing"][:count]
    async with served() as one:
        for form in ({"queries": queries, "topk": 2, "return_scores": False}, {"queries": queries, "topk": 2}):
            result = (await one.post(form)).json()["result"]
            assert [docs[0]["id"] for docs in result] == ["a", "c", "b"][:count]
            assert all(set(doc) == {"id", "contents"} for docs in result for doc in docs)


async def test_mias_query_list_is_understood_and_the_usual_number_is_three() -> None:
    async with served() as one:
        got = await one.post({"query_list": ["Vesk River", "bakeries"], "return_scores": True})
        alone = await one.post({"queries": "Vesk River", "topk": None, "return_scores": None})
    assert [hits[0]["document"]["id"] for hits in got.json()["result"]] == ["c", "d"]
    assert [len(hits) for hits in got.json()["result"]] == [3, 3]
    assert alone.json()["result"][0][0]["id"] == "c"


async def test_a_step_without_searches_is_answered_with_nothing() -> None:
    async with served() as one:
        got = await one.post({"queries": [], "topk": 3, "return_scores": True})
    assert (got.status_code, got.json()) == (200, {"result": []})


async def test_fields_it_does_not_know_are_left_alone_and_the_text_comes_back_byte_for_byte() -> None:
    async with served() as one:
        got = await one.post({"queries": ["bakeries"], "topk": 1, "user": "x"})
    assert got.json()["result"] == [
        [{"id": "d", "contents": '"The "Fannā" of Brûlé"\nA founder of bakeries \U0001f600.'}]
    ]


# -- bad input -------------------------------------------------------------------------------------------------


async def test_one_bad_query_of_a_batch_gets_nothing_and_a_reason_and_the_others_get_theirs() -> None:
    async with served() as one:
        got = (await one.post({"queries": ["", "Vesk River", "x" * (MAX_QUERY_CHARS + 1), "\x00"], "topk": 1})).json()
    assert [len(docs) for docs in got["result"]] == [0, 1, 0, 0]
    assert [error["index"] for error in got["errors"]] == [0, 2, 3]
    assert "empty" in got["errors"][0]["error"]
    assert "at most 2000" in got["errors"][1]["error"]


@pytest.mark.parametrize(
    ("form", "said"),
    [
        (b"", "no valid JSON"),
        (b"{", "no valid JSON"),
        (b"\xff\xfe", "no valid JSON"),
        ([], "must be an object"),
        ({}, "give the queries"),
        ({"queries": ["a"], "query_list": ["b"]}, "give the queries"),
        ({"queries": {"a": 1}}, "list of texts"),
        ({"queries": [1]}, "list of texts"),
        ({"queries": [None]}, "list of texts"),
        ({"queries": ["a"] * (MOST_QUERIES + 1)}, "at most 4096"),
        ({"queries": ["a"], "topk": 0}, "from 1 to 100"),
        ({"queries": ["a"], "topk": -1}, "from 1 to 100"),
        ({"queries": ["a"], "topk": 10**8}, "from 1 to 100"),
        ({"queries": ["a"], "topk": True}, "from 1 to 100"),
        ({"queries": ["a"], "topk": "3"}, "from 1 to 100"),
        ({"queries": ["a"], "topk": 1.5}, "from 1 to 100"),
        ({"queries": ["a"], "return_scores": "yes"}, "true or false"),
    ],
)
async def test_a_request_that_cannot_be_read_is_a_422_and_the_next_is_served(form: Any, said: str) -> None:
    async with served() as one:
        refused = await one.post(form)
        assert refused.status_code == 422
        assert said in refused.json()["detail"]
        assert (await one.post({"queries": ["Vesk"]})).status_code == 200


@given(
    body=st.binary(max_size=80)
    | st.recursive(
        st.none() | st.text(max_size=5),
        lambda inner: st.dictionaries(st.sampled_from(["queries", "topk", "x"]), inner) | st.lists(inner),
    ).map(orjson.dumps)
)
def test_any_bytes_are_a_request_or_refused_as_input(body: bytes) -> None:
    try:
        asked = parsed(body)
    except InputError:
        return
    assert len(asked.queries) + len(asked.errors) == asked.total


async def test_a_body_without_an_end_a_wrong_method_and_a_wrong_path_are_refused() -> None:
    async with served() as one:
        assert (await one.post(b"x" * (MOST_BYTES + 1))).status_code == 413
        assert (await one.client.get("/retrieve")).status_code == 405
        assert (await one.client.post("/health")).status_code == 405
        assert (await one.client.get("/docs")).status_code == 404


async def test_only_the_names_it_was_given_reach_it() -> None:
    async with served(hosts=["127.0.0.1", "localhost", "[::1]"]) as one:
        for host, status in (
            ("evil.example", 421),
            ("evil.example:8001", 421),
            ("LOCALHOST:8001", 200),
            ("[::1]:1", 200),
            ("[::1]", 200),
            ("", 421),
        ):
            got = await one.client.post("/retrieve", json={"queries": ["Vesk"]}, headers={"host": host})
            assert got.status_code == status, host


async def test_a_search_that_fails_is_a_500_for_its_own_callers_and_the_service_stays_up() -> None:
    class Moody(Ranking):
        def rank_many(self, queries: Sequence[str], k: int, /) -> list[Ranked]:
            if "bad" in queries:
                raise SearchError("the disk is gone", engine="corpus")
            return super().rank_many(queries, k)

    async with served(Moody(corpus_of())) as one:
        failed = await one.post({"queries": ["bad"]})
        assert (failed.status_code, failed.json()["detail"]) == (
            500,
            "the search failed (SearchError): the disk is gone",
        )
        assert (await one.post({"queries": ["Vesk"]})).status_code == 200
        assert one.service.batcher.waiting == 0


# -- batching and overload ---------------------------------------------------------------------------------------


class Gate:
    """Ranks only when let; remembers what it was asked."""

    def __init__(self) -> None:
        self.batches: list[tuple[tuple[str, ...], int]] = []
        self.begun = threading.Event()
        self.open = threading.Event()

    def __len__(self) -> int:
        return 4

    def rank_many(self, queries: Sequence[str], k: int, /) -> list[Ranked]:
        self.batches.append((tuple(queries), k))
        self.begun.set()
        assert self.open.wait(10)
        return [[(0, 1.0)][:k] for _ in queries]

    def fragment(self, place: int) -> bytes:
        return b'{"id":"x"}'

    async def busy(self) -> None:
        assert await anyio.to_thread.run_sync(self.begun.wait, 10)


async def test_what_arrives_during_a_search_is_searched_together_each_text_once() -> None:
    gate = Gate()
    async with served(gate) as one, anyio.create_task_group() as group:
        group.start_soon(one.post, {"queries": ["first"]})
        await gate.busy()
        for query in ("p", "q", "p", "r"):
            group.start_soon(one.post, {"queries": [query]})
        group.start_soon(one.post, {"queries": ["other k"], "topk": 7})
        while one.service.batcher.waiting < 6:
            await anyio.lowlevel.checkpoint()
        gate.open.set()
    assert gate.batches == [(("first",), 3), (("p", "q", "r"), 3), (("other k",), 7)]


async def test_a_large_request_is_searched_in_parts_and_comes_back_in_order() -> None:
    calls: list[int] = []

    def rank(queries: Sequence[str], k: int, /) -> list[Ranked]:
        calls.append(len(queries))
        return [[(int(query), 1.0)] for query in queries]

    batcher = Batcher(rank, largest_batch=10)
    async with anyio.create_task_group() as group:
        group.start_soon(batcher.run)
        found = await batcher.ask([str(n) for n in range(25)], 1)
        group.cancel_scope.cancel()
    assert [ranked[0][0] for ranked in found] == list(range(25))
    assert calls == [10, 10, 5]
    assert (batcher.waiting, batcher.searched) == (0, 25)


async def test_more_than_may_wait_is_turned_away_with_a_time_to_come_back() -> None:
    gate = Gate()
    async with served(gate, most_waiting=5) as one, anyio.create_task_group() as group:
        group.start_soon(one.post, {"queries": ["a", "b", "c"]})
        await gate.busy()
        refused = await one.post({"queries": ["d", "e", "f"]})
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert "3 queries are waiting" in refused.json()["detail"]
        assert (await one.client.get("/health")).json() == {"status": "ok", "passages": 4, "waiting": 3}
        gate.open.set()
    assert one.service.batcher.waiting == 0


async def test_a_caller_that_gives_up_or_waits_too_long_leaves_nothing_behind() -> None:
    gate = Gate()
    async with served(gate, timeout_s=0.05) as one, anyio.create_task_group() as group:
        group.start_soon(one.post, {"queries": ["a"]})
        await gate.busy()
        late = await one.post({"queries": ["b"]})
        assert (late.status_code, late.headers["retry-after"]) == (503, "1")
        gate.open.set()
    assert one.service.batcher.waiting == 0


async def test_two_hundred_clients_at_once_all_get_their_own_answer() -> None:
    pages = [Passage(id=f"p{n}", title=f"Page {n}", text=f"about thing{n}") for n in range(200)]
    async with served(Ranking(corpus_of(pages), "bm25")) as one:
        wrong: list[int] = []

        async def ask(n: int) -> None:
            got = await one.post({"queries": [f"thing{n}"], "topk": 1})
            if got.status_code != 200 or got.json()["result"][0][0]["id"] != f"p{n}":
                wrong.append(n)

        async with anyio.create_task_group() as group:
            for n in range(200):
                group.start_soon(ask, n)
        assert wrong == []
        assert one.service.batcher.batches < 200


async def test_metrics_count_requests_queries_and_batches_in_prometheus_form() -> None:
    async with served() as one:
        await one.post({"queries": ["Vesk", "Tesh"]})
        await one.post({"queries": 5})
        text = (await one.client.get("/metrics")).text
    assert 'mia_retrieve_requests_total{status="200"} 1' in text
    assert 'mia_retrieve_requests_total{status="422"} 1' in text
    assert "mia_retrieve_queries_total 2" in text
    assert "mia_retrieve_seconds_count 2" in text
    assert all(re.fullmatch(r"#.*|\w+(\{[^}]*\})? [\d.]+", line) for line in text.splitlines())


async def test_the_lifespan_starts_and_ends_the_batches() -> None:
    service = RetrieveService(Ranking(corpus_of()))
    sent: list[str] = []
    answered: list[int] = []

    async def receive() -> dict[str, Any]:
        if sent:
            got = await Served(service).post({"queries": ["Vesk"]})
            answered.append(got.status_code)
        return {"type": "lifespan"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message["type"])

    await service({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert answered == [200]


def test_beyond_loopback_the_service_wants_a_token() -> None:
    from mcp_server.http import bearer

    service: Any = RetrieveService(Ranking(corpus_of()))
    with pytest.raises(ConfigError, match=r"server\.token"):
        bearer(service, ServerConfig(host="0.0.0.0"))
    assert bearer(service, ServerConfig()) is service
    assert bearer(service, ServerConfig(host="0.0.0.0", token=SecretStr("t"))) is not service


# -- the client --------------------------------------------------------------------------------------------------


async def test_a_remote_corpus_gives_what_the_local_one_gives() -> None:
    corpus = corpus_of()
    async with served(Ranking(corpus)) as one:
        engine: SearchEngine = RemoteCorpus("http://127.0.0.1:8001/", transport=one.transport)
        for query in ("who set up Velmora Works?", "bakeries"):
            here, there = corpus.find(query, 3), await engine.search(query, 3)
            assert [p.model_copy(update={"score": 0.0}) for p in there] == [
                p.model_copy(update={"score": 0.0}) for p in here
            ]
            assert [p.score for p in there] == pytest.approx([p.score for p in here], abs=1e-5)


def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> httpx.MockTransport:
    return httpx.MockTransport(lambda request: httpx.Response(status, content=body, headers=headers))


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b'{"result": []}',
        b'{"result": [[{"document": 5}]]}',
        b'{"result": [[{"contents": "x"}]]}',
        b"null",
    ],
)
async def test_an_answer_that_is_no_list_of_passages_is_an_error_and_never_no_results(body: bytes) -> None:
    engine = RemoteCorpus("http://x/retrieve", transport=answering(200, body))
    with pytest.raises(SearchError, match="no list of passages"):
        await engine.search("q")


async def test_the_services_refusals_keep_their_meaning() -> None:
    busy = RemoteCorpus("http://x", transport=answering(429, b"{}", {"retry-after": "7"}))
    with pytest.raises(SearchError, match="status 429") as caught:
        await busy.search("q")
    assert (caught.value.engine, caught.value.retry_after_s) == ("corpus", 7.0)
    with pytest.raises(SearchError, match="status 500"):
        await RemoteCorpus("http://x", transport=answering(500, b"boom")).search("q")
    with pytest.raises(InputError, match="refuses this search"):
        await RemoteCorpus("http://x", transport=answering(422, b'{"detail": "topk"}')).search("q")
    body = b'{"result": [[]], "errors": [{"index": 0, "error": "too long"}]}'
    with pytest.raises(InputError, match="too long"):
        await RemoteCorpus("http://x", transport=answering(200, body)).search("q")
    assert await RemoteCorpus("http://x", transport=answering(200, b'{"result": [[]]}')).search("q") == ()


async def test_a_service_that_is_not_there_is_named() -> None:
    engine = RemoteCorpus("http://127.0.0.1:9", timeout_s=5)
    with pytest.raises(SearchError, match=r"127\.0\.0\.1:9/retrieve cannot be reached.*search\.corpus_url"):
        await engine.search("q")
    await engine.aclose()
    with pytest.raises(ConfigError, match="http://"):
        RemoteCorpus("ftp://x")


async def test_a_server_that_gives_no_scores_and_other_documents_is_understood_and_sees_the_key() -> None:
    seen: list[str] = []

    def reply(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers["authorization"])
        rows = [{"id": 4, "title": "T", "text": "body", "contents": "body"}, {"id": "5", "contents": "no title"}]
        return httpx.Response(200, json={"result": [rows]})

    engine = RemoteCorpus("http://x", key=SecretStr("s"), transport=httpx.MockTransport(reply))
    one, two = await engine.search("q")
    assert (one.id, one.title, one.text, one.score) == ("4", "T", "body", 0.0)
    assert (two.title, two.text) == ("", "no title")
    assert seen == ["Bearer s"]


async def test_busy_is_an_error_of_search() -> None:
    batcher = Batcher(lambda queries, k: [[] for _ in queries], most_waiting=1)
    with pytest.raises(BusyError) as caught:
        await batcher.ask(["a", "b"], MAX_TOPK)
    assert isinstance(caught.value, SearchError)
    assert await batcher.ask([], 1) == []
