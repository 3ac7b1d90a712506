"""The services describe themselves: every reference leads somewhere, answers are as they are described."""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from pydantic import TypeAdapter
from test_rest import Make, client

from mcp_server.rest_executor import executor_service
from mcp_server.rest_planner import planner_service
from mcp_server.rest_ttl import ttl_service
from mia_skill.core.json_service import JsonService, Route
from training.policy_store import ScriptedLearner
from training.stream import StreamTrainer
from training.stream_service import reward_service, stream_service


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for name, inner in node.items():
            if name == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def at(document: Any, reference: str) -> Any:
    for name in reference.removeprefix("#/").split("/"):
        document = document[name]
    return document


@pytest.fixture
async def trainer(tmp_path: Path) -> AsyncIterator[StreamTrainer]:
    one = StreamTrainer(tmp_path / "stream", ScriptedLearner(), groups_per_update=1, width=2)
    yield one
    one.close()


@pytest.fixture(params=["planner", "executor", "ttl", "trainer", "reward"])
def service(request: pytest.FixtureRequest, make_mia: Make, trainer: StreamTrainer) -> JsonService:
    mia = make_mia()
    made = {
        "planner": lambda: planner_service(mia),
        "executor": lambda: executor_service(mia),
        "ttl": lambda: ttl_service(mia),
        "trainer": lambda: stream_service(trainer),
        "reward": reward_service,
    }
    return made[request.param]()


async def test_every_reference_of_a_document_leads_somewhere(service: JsonService) -> None:
    async with client(service) as http:
        told = (await http.get("/openapi.json")).json()
    found = list(references(told))
    assert found
    assert all(isinstance(at(told, one), dict) for one in found)


async def test_the_page_shows_every_route_and_form_and_loads_nothing_from_elsewhere(service: JsonService) -> None:
    async with client(service) as http:
        page = await http.get("/docs")
        told = (await http.get("/openapi.json")).json()
    assert page.headers["content-type"].startswith("text/html")
    for path in told["paths"]:
        assert path in page.text
    for name in told["components"]["schemas"]:
        assert f'<h3 id="{name}">' in page.text
    assert "http://" not in page.text
    assert "<script" not in page.text


async def test_a_service_that_is_full_still_says_how_it_is() -> None:
    go, begun = anyio.Event(), anyio.Event()

    async def slow(_given: object) -> dict[str, str]:
        begun.set()
        await go.wait()
        return {"status": "done"}

    async def health(_none: object) -> dict[str, str]:
        return {"status": "ok"}

    routes = (Route("POST", "/slow", slow, dict[str, str]), Route("GET", "/health", health))
    async with client(JsonService("busy", routes, most_at_once=1)) as http, anyio.create_task_group() as group:
        group.start_soon(partial(http.post, "/slow", json={}))
        await begun.wait()
        assert (await http.post("/slow", json={})).status_code == 429
        assert (await http.get("/health")).json() == {"status": "ok"}
        go.set()


async def test_what_the_trainer_answers_is_what_its_document_promises(trainer: StreamTrainer) -> None:
    service = stream_service(trainer)
    answers = {route.path: TypeAdapter(route.answer) for route in service.routes if route.answer is not None}
    async with client(service) as http:
        made = await http.post("/submit_sample", json={"rollout": {"data_id": "d", "question": "is it?"}})
        said = {"id": "d", "ticket": made.json()["ticket"], "rewards": [1.0, 0.0]}
        got: dict[str, httpx.Response] = {
            "/submit_sample": made,
            "/v1/feedback": await http.post("/v1/feedback", json=said),
            "/health": await http.get("/health"),
            "/save_checkpoint": await http.post("/save_checkpoint", json={}),
            "/v1/rollback": await http.post("/v1/rollback", json={"version": 0}),
            "/v1/check": await http.post("/v1/check", json={}),
        }
    assert set(got) == set(answers)
    for path, answer in got.items():
        read = answers[path].validate_python(answer.json())
        assert set(answer.json()) <= set(read.model_dump()), path
