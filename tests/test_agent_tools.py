"""What the Executor and the MCP tools do with pages and images: one form of calls, ids that can be judged and cited."""

from pathlib import Path
from typing import Any

import orjson
import pytest
from loopback import Wire, html, names, reply, serving
from mcp import Client

from mcp_server.server import build_server
from mia_skill.agents.cites import cited
from mia_skill.agents.manager import Manager
from mia_skill.agents.mia import Mia, Sources
from mia_skill.app import build
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.config import MiaConfig, VisitConfig, load_config
from mia_skill.core.picture import picture_of
from mia_skill.core.types import Modality, Passage, Question, Step
from retrieval.embed import HashEmbedder
from retrieval.images import ImageQuery, Images, PreparedImages
from retrieval.sqlite_bank import SqliteBank
from retrieval.visit import Visitor

LONG = "Nothing of note happened in these years. " * 60
PAGES = [
    {"id": "p1", "title": "Velmora Works", "text": f"Velmora Works makes bells. {LONG} It was founded by Aldric Tesh."},
    {"id": "p2", "title": "Tesh", "text": "Aldric Tesh was born in Orune."},
]
PLAN = orjson.dumps({"steps": ["Find the founder of Velmora Works"]}).decode()
KEEP = orjson.dumps({"need_replan": False, "reason": "answered", "steps": []}).decode()
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 20


def call(name: str, **arguments: object) -> str:
    return f"thinking\n<tool_call>{orjson.dumps({'name': name, 'arguments': arguments}).decode()}</tool_call>"


@pytest.fixture
def config(tmp_path: Path) -> MiaConfig:
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_bytes(b"\n".join(orjson.dumps(page) for page in PAGES))
    flags = {"home": str(tmp_path / "home"), "memory.embedder": "hash", "search.corpus": [str(corpus)]}
    return load_config(environment={}, flags={**flags, "search.dense": False, "search.passage_chars": 200})


def scripted(mia: Mia, *turns: str) -> ScriptedChat:
    """The instance's planner and executor, with these turns of the executor."""
    mia.models["planner"] = ScriptedChat([PLAN, KEEP])
    executor = mia.models["executor"] = ScriptedChat(turns)
    return executor


# -- ask ------------------------------------------------------------------------------------------------------


async def test_ask_over_a_corpus_searches_opens_a_passage_in_full_and_cites_what_it_read(config: MiaConfig) -> None:
    async with build(config) as mia:
        executor = scripted(
            mia,
            call("search", query="Velmora Works founder"),
            call("visit", source="p1"),
            f"it says so\n<answer>Aldric Tesh [p1:0-{len(PAGES[0]['text'])}, p9]</answer>",
        )
        episode = await mia.ask(Question(text="Who founded Velmora Works?"))
        run = episode.trajectory
        assert [step.tool for step in run.steps] == ["search", "visit"]
        assert all(step.error is None for step in run.steps)
        assert "Aldric Tesh" not in run.steps[0].passages[0].text
        whole = run.steps[1].passages[0]
        assert "founded by Aldric Tesh" in whole.text
        assert (run.answer, run.cites) == ("Aldric Tesh", (whole.id,))
        assert mia.ledger.passages([whole.id]) == (whole,)
    prompt = executor.seen[0][0].content
    assert '"name": "visit"' in prompt
    assert "image_search" not in prompt
    assert f"[{whole.id}]" in executor.seen[2][-1].content


async def test_a_visit_that_fails_is_a_failed_step_and_the_run_goes_on(config: MiaConfig) -> None:
    async with build(config) as mia:
        scripted(
            mia,
            call("visit", source="nowhere"),
            call("visit", source="http://127.0.0.1/"),
            call("visit"),
            call("visit", source="p1", start="x"),
            "<answer>unknown</answer>",
        )
        run = (await mia.ask(Question(text="Who?"), store=False)).trajectory
    errors = [step.error or "" for step in run.steps]
    assert "no passage 'nowhere'" in errors[0]
    assert "visit.mode" in errors[1]
    assert 'needs a "source"' in errors[2]
    assert "whole number" in errors[3]
    assert all(not step.passages for step in run.steps)


async def test_an_image_is_captioned_recalled_by_and_searched_once(config: MiaConfig, tmp_path: Path) -> None:
    (tmp_path / "cache" / "d1").mkdir(parents=True)
    (tmp_path / "cache" / "d1" / "meta.json").write_bytes(orjson.dumps({"title_list": ["Bell of Velmora Works"]}))
    config = config.model_copy(update={"images": config.images.model_copy(update={"cache": (tmp_path / "cache",)})})
    async with build(config) as built:
        eye = ScriptedChat(["a bronze bell " + "very " * 80])
        mia = Mia(config, built.bank, Manager(built.bank, eye), built.sources)
        executor = scripted(
            mia, call("image_search"), call("image_search"), "<answer>Velmora Works [img_d1_0]</answer>"
        )
        episode = await mia.ask(
            Question(text="Who made it?"), image=ImageQuery(data_id="d1", picture=picture_of(PNG)), store=False
        )
    first, second = episode.trajectory.steps
    assert first.passages[0].title == "Bell of Velmora Works"
    assert "once per episode" in (second.error or "")
    assert episode.trajectory.cites == ("img_d1_0",)
    assert episode.question.modality is Modality.IMAGE
    assert len((episode.question.caption or "").split()) == 50
    assert eye.seen[0][0].images == (picture_of(PNG),)
    assert "The image shows: a bronze bell" in executor.seen[0][0].content
    assert '"name": "image_search"' in executor.seen[0][0].content


@pytest.mark.parametrize(
    ("answer", "left", "cites"),
    [
        ("1874 [a]", "1874", ("a",)),
        ("1874 [a, b; c]", "1874", ("a", "b")),
        ("1874 [a] [b]", "1874", ("a", "b")),
        ("1874 [c]", "1874 [c]", ()),
        ("the set [0, 1]", "the set [0, 1]", ()),
        ("[a]", "", ("a",)),
        ("x [a] y", "x [a] y", ()),
        ("plain", "plain", ()),
    ],
)
def test_only_ids_that_were_read_are_taken_for_sources(answer: str, left: str, cites: tuple[str, ...]) -> None:
    steps = [Step(passages=(Passage(id="a", text="t"), Passage(id="b", text="t")))]
    assert cited(answer, steps) == (left, cites)


# -- a run is repeated without the network --------------------------------------------------------------------


async def test_a_recorded_episode_replays_byte_for_byte_with_the_network_off(tmp_path: Path) -> None:
    tape = tmp_path / "run.jsonl"
    found = {"organic": [{"link": "http://site.example/a", "title": "A", "snippet": "On Velmora."}]}
    turns = [
        call("search", query="Velmora"),
        call("visit", source="http://site.example/a"),
        call("search", query="Tesh"),
        "<answer>Aldric Tesh</answer>",
    ]

    async def episode(home: str, **flags: object) -> bytes:
        base = {"home": str(tmp_path / home), "memory.embedder": "hash", "search.web": "serper", **flags}
        async with build(load_config(environment={}, flags=base)) as mia:
            scripted(mia, *turns)
            run = (await mia.ask(Question(text="Who founded Velmora Works?"), store=False)).trajectory
        return run.model_dump_json().encode()

    async with serving({"/": reply(200, orjson.dumps(found))}) as server:
        url = f"http://127.0.0.1:{server.port}/"
        before = await episode("a", **{"search.web_url": url, "search.record": str(tape)})
        asked = list(server.requests)
    assert len(asked) >= 2
    assert await episode("b", **{"search.replay": str(tape)}) == before


# -- MCP ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def web(tmp_path: Path, anyio_backend: str) -> Any:
    """A server whose visits lead to a loopback site."""
    (tmp_path / "cache" / "d1").mkdir(parents=True)
    (tmp_path / "cache" / "d1" / "meta.json").write_bytes(orjson.dumps({"title_list": ["A bell"]}))
    images = {"cache": [tmp_path / "cache"]}
    config = MiaConfig.model_validate({"home": tmp_path, "visit": {"mode": "on", "max_chars": 1200}, "images": images})
    page = html(f"<p>Intro words. {LONG}</p><p>Velmora Works was founded by Aldric Tesh in 1874.</p>", title="Velmora")
    bank = SqliteBank.open(config.bank_path, HashEmbedder())
    async with serving({"/v": page}) as site:
        visitor = Visitor(
            VisitConfig(max_chars=1200), resolve=names(inside_example="10.0.0.1"), network=Wire(site.port)
        )
        sources = Sources(visitor=visitor, images=Images([PreparedImages([tmp_path / "cache"])]))
        mia = Mia(config, bank, Manager(bank), sources)
        async with Client(build_server(config, mia=mia)) as client:
            yield client
        await mia.aclose()


async def test_visit_shows_what_matters_and_judge_can_check_it_by_its_ids(web: Client) -> None:
    result = await web.call_tool("visit", {"url": "http://site.example/v", "question": "Who founded Velmora Works?"})
    assert not result.is_error, result.content
    shown = result.structured_content
    assert shown is not None
    assert "picked by the question" in shown["note"]
    ids = [one["id"] for one in shown["passages"] if "Aldric Tesh" in one["text"]]
    steps = [{"tool": "visit", "query": "http://site.example/v", "passage_ids": ids}]
    judged = await web.call_tool(
        "judge", {"question": "Who founded Velmora Works?", "answer": "Aldric Tesh", "steps": steps}
    )
    assert judged.structured_content is not None
    claims = judged.structured_content["claims"]
    assert claims[0]["support"] == "supported"
    assert claims[0]["quotes"][0]["source_id"] in ids


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("http://inside.example/", "not public"),
        ("http://site.example/none", "is not there (404)"),
        ("file:///etc/passwd", "only http"),
        ("words", "is no web address|cannot be visited"),
    ],
)
async def test_pages_that_may_not_or_cannot_be_read_are_errors_in_words(web: Client, source: str, said: str) -> None:
    import re

    result = await web.call_tool("visit", {"source": source})
    assert result.is_error
    assert re.search(said.replace("(404)", r"\(404\)"), str(result.content))


async def test_image_search_answers_once_per_question(web: Client) -> None:
    first = await web.call_tool("image_search", {"image": "d1", "question": "What is it?"})
    assert first.structured_content is not None
    assert first.structured_content["passages"][0]["title"] == "A bell"
    again = await web.call_tool("image_search", {"image": "d1", "question": "what is it?"})
    assert again.is_error
    assert "once per episode" in str(again.content)
    escape = await web.call_tool("image_search", {"image": "../d1", "question": "And this?"})
    assert escape.is_error


async def test_without_any_source_search_says_what_to_configure(web: Client) -> None:
    result = await web.call_tool("search", {"queries": ["a", "b"]})
    assert result.is_error
    assert "mia corpus build" in str(result.content)
    assert "search.web" in str(result.content)
