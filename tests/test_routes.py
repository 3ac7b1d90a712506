"""Every route of the services that users script against has a test of its own, with the specification's request.

`docs/routes.md` is the table of them; the first test fails when a route of a service is in no row, or a row's test is
not there or does not ask its route.
"""

import ast
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_rest import AGAIN, CALL, PLAN, TALK, Shelf, client
from test_retrieve_service import served
from test_web_service import Backend

from mcp_server.rest_executor import executor_service
from mcp_server.rest_planner import planner_service
from mcp_server.rest_ttl import ttl_service
from mia_skill.agents.mia import Mia
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.json_service import JsonService
from retrieval.web import WebEngine
from retrieval.web_service import WebService
from training.policy_store import ScriptedLearner
from training.stream import StreamTrainer
from training.stream_service import reward_service, stream_service

TABLE = Path(__file__).parents[1] / "docs" / "routes.md"
ROW = re.compile(r"^\| (?P<service>\w+) \| `(?P<method>GET|POST) (?P<path>/\S+)` \| `(?P<file>\w+)::(?P<test>\w+)` \|$")

Make = Callable[..., Mia]
QUESTION = "Who founded Velmora Works?"
ITEM = {"question": QUESTION, "image_caption": ["a mill"], "data_id": "7", "mem_top_k": 2, "pass_num": 0}
SAVE = {
    "data_id": "7",
    "question": QUESTION,
    "image_caption": "",
    "plan": "1. find the founder",
    "messages": TALK,
    "judgement": "correct",
    "used_memory_indices": [],
}
BUFFER = {
    "data_id": "7",
    "slow_plan": "1. think",
    "plan": "1. find the founder",
    "question": QUESTION,
    "image_caption": "",
    "used_memory_indices": [],
    "temp_messages": TALK,
    "judgement": "correct",
}


@asynccontextmanager
async def planner(make_mia: Make, *replies: str, router: str = "") -> AsyncIterator[httpx.AsyncClient]:
    models = {"planner": ScriptedChat(replies)} | ({"router": ScriptedChat([router])} if router else {})
    async with client(planner_service(make_mia(models=models))) as http:
        yield http


async def asked(http: httpx.AsyncClient, path: str, body: object) -> Any:
    reply = await http.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


# -- the table ------------------------------------------------------------------------------------------------------


def rows() -> list[re.Match[str]]:
    return [found for line in TABLE.read_text().splitlines() if (found := ROW.match(line))]


def described(service: JsonService) -> set[tuple[str, str]]:
    """The routes of a service's own OpenAPI document."""
    paths: Any = service.openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


async def named(service: httpx.AsyncClient) -> set[tuple[str, str]]:
    """The routes that a service without such a document names to whoever asks for another."""
    return set(re.findall(r"(GET|POST) (/[\w/]+)", (await service.get("/elsewhere")).text))


async def test_every_route_of_every_service_is_in_the_table_and_the_table_has_no_other(
    make_mia: Make, tmp_path: Path
) -> None:
    mia, trainer = make_mia(), StreamTrainer(tmp_path / "stream", ScriptedLearner())
    services = {
        "planner": planner_service(mia),
        "executor": executor_service(mia),
        "ttl": ttl_service(mia),
        "trainer": stream_service(trainer),
        "reward": reward_service(),
    }
    there = {(name, *route) for name, service in services.items() for route in described(service)}
    async with served() as one:
        there |= {("retrieve", *route) for route in await named(one.client)}
    there |= {("search", *route) for route in await named(client(WebService(WebEngine(Backend("e")), hosts=None)))}
    trainer.close()
    told = [(row["service"], row["method"], row["path"]) for row in rows()]
    assert set(told) == there
    assert len(told) == len(set(told))


@cache
def functions(file: str) -> tuple[str, dict[str, str]]:
    """The text of a file of tests, and of each function in it."""
    source = (Path(__file__).parent / f"{file}.py").read_text()
    found = [one for one in ast.parse(source).body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    return source, {one.name: ast.get_source_segment(source, one) or "" for one in found}


@pytest.mark.parametrize("row", rows(), ids=lambda row: f"{row['service']} {row['path']}")
def test_the_test_of_a_row_is_there_and_asks_its_route(row: re.Match[str]) -> None:
    source, bodies = functions(row["file"])
    assert row["test"] in bodies
    shared = "".join(body for name, body in bodies.items() if not name.startswith("test_"))
    assert f'"{row["path"]}"' in bodies[row["test"]] + shared + source.partition(f"def {row['test']}")[0][-120:]


# -- the Memory-Planner ---------------------------------------------------------------------------------------------


async def test_planner_memory(make_mia: Make) -> None:
    async with planner(make_mia) as http:
        await asked(http, "/batch_memory_save", [SAVE])
        told = await asked(http, "/memory", [{**ITEM, "image_caption": ""}, {"question": "?", "image_caption": []}])
    assert [set(one) for one in told] == [{"context", "pos_indices", "neg_indices"}] * 2
    assert [len(one["pos_indices"]) for one in told] == [1, 0]


async def test_planner_plan(make_mia: Make) -> None:
    async with planner(make_mia, PLAN, PLAN) as http:
        told = await asked(http, "/plan", [ITEM, {**ITEM, "question": "Who owned it?"}])
    assert [set(one) for one in told] == [{"plan", "messages", "pos_indices", "neg_indices"}] * 2
    assert told[0]["plan"] == "1. find the founder\n2. check it"
    assert [one["role"] for one in told[0]["messages"]] == ["user", "assistant"]


async def test_planner_best_plan(make_mia: Make) -> None:
    plans = [f'{{"steps": ["way {n}"]}}' for n in range(4)]
    async with planner(make_mia, *plans, router='{"choice": 2}') as http:
        (told,) = await asked(http, "/best_plan", [ITEM])
    assert set(told) == {"plan", "messages", "pos_indices", "neg_indices", "selected_plan_number", "all_plans"}
    assert (told["selected_plan_number"], told["plan"], len(told["all_plans"])) == (2, "1. way 1", 4)


async def test_planner_judge_replan(make_mia: Make) -> None:
    body = {"workflow": "### Round 1", "past_messages": [{"role": "user", "content": "plan"}], "memory_indices": ["m"]}
    async with planner(make_mia, AGAIN, '{"need_replan": false, "reason": "found"}') as http:
        told = await asked(http, "/judge_replan", [body, body])
    assert [set(one) for one in told] == [{"need_replan", "messages"}] * 2
    assert [one["need_replan"] for one in told] == ["yes", "no"]
    assert [one["role"] for one in told[0]["messages"]] == ["user", "user", "assistant"]


async def test_planner_replan(make_mia: Make) -> None:
    item = {**ITEM, "mem_top_k": 1, "past_messages": [{"role": "user", "content": "plan"}]}
    async with planner(make_mia, PLAN) as http:
        (told,) = await asked(http, "/replan", [item])
    assert set(told) == {"replan", "messages", "pos_indices", "neg_indices"}
    assert told["replan"].startswith("1. find the founder")


async def test_planner_replan_train(make_mia: Make) -> None:
    body = {"question": "q", "plan": "p", "trace": "t", "mem_context1": "m", "mem_context2": "n"}
    async with planner(make_mia, AGAIN) as http:
        told = await asked(http, "/replan_train", body)
    assert told == {"replan": True, "content": "1. look at the history page"}


async def test_planner_batch_memory_save(make_mia: Make) -> None:
    async with planner(make_mia) as http:
        told = await asked(http, "/batch_memory_save", [SAVE, {**SAVE, "messages": []}])
    assert [one["status"] for one in told] == ["success", "skipped"]


async def test_planner_save_memory(make_mia: Make, tmp_path: Path) -> None:
    async with planner(make_mia) as http:
        await asked(http, "/batch_memory_save", [SAVE])
        told = await asked(http, "/save_memory", {"save_path": "run/one.jsonl"})
        assert (await http.post("/save_memory", json={"save_path": "../one.jsonl"})).status_code == 400
    assert told["status"] == "success"
    assert "Velmora" in (tmp_path / "saved" / "run" / "one.jsonl").read_text()


async def test_planner_load_memory(make_mia: Make) -> None:
    async with planner(make_mia) as http:
        await asked(http, "/batch_memory_save", [SAVE])
        await asked(http, "/save_memory", {"save_path": "one.jsonl"})
        await asked(http, "/clear_memory", {})
        assert (await asked(http, "/load_memory", {"load_path": "one.jsonl"}))["status"] == "success"
        assert (await http.post("/load_memory", json={"load_path": "none.jsonl"})).status_code == 400
        (found,) = await asked(http, "/memory", [{**ITEM, "image_caption": ""}])
    assert len(found["pos_indices"]) == 1


async def test_planner_clear_memory(make_mia: Make) -> None:
    async with planner(make_mia) as http:
        await asked(http, "/batch_memory_save", [SAVE])
        told = await asked(http, "/clear_memory", {"save_path": ""})
        (found,) = await asked(http, "/memory", [{**ITEM, "image_caption": ""}])
    assert (told["status"], found["pos_indices"]) == ("success", [])


# -- the Executor ---------------------------------------------------------------------------------------------------


async def carried(service: JsonService) -> tuple[Any, Any]:
    async with client(service) as http:
        body = {"data_id": "7", "question": QUESTION, "plan": "1. find the founder"}
        first = await asked(http, "/plan", body)
        again = {**body, "messages": first["history_messages"], "replan": "1. look again"}
        return first, await asked(http, "/replan", again)


def shelved(make_mia: Make) -> Mia:
    script = [CALL, "<answer>Aldric Tesh</answer>", "<answer>Bera Noll</answer>"]
    return make_mia(models={"executor": ScriptedChat(script)}, corpus=Shelf())


async def test_executor_plan(make_mia: Make) -> None:
    first, _ = await carried(executor_service(shelved(make_mia)))
    assert set(first) == {"prompt", "trace", "history_messages"}
    parts = ("### Question", "### Round 1", "#### Agent Reasoning and Tool Call", "#### Tool Call Return Results")
    places = [first["trace"].index(part) for part in parts]
    assert places == sorted(places)
    assert len(first["trace"].partition("#### Tool Call Return Results")[2].partition("### Answer")[0].split()) <= 512


async def test_executor_replan(make_mia: Make) -> None:
    first, again = await carried(executor_service(shelved(make_mia)))
    assert set(again) == {"prompt", "trace", "history_messages"}
    assert "Bera Noll" in again["trace"]
    assert len(again["history_messages"]) > len(first["history_messages"])


# -- test time ------------------------------------------------------------------------------------------------------


async def test_ttl_plan(make_mia: Make) -> None:
    first, _ = await carried(ttl_service(shelved(make_mia)))
    assert set(first) == {"prompt", "trace", "history_messages"}


async def test_ttl_replan(make_mia: Make) -> None:
    _, again = await carried(ttl_service(shelved(make_mia)))
    assert "Bera Noll" in again["trace"]


async def test_ttl_memory(make_mia: Make) -> None:
    async with client(ttl_service(make_mia())) as http:
        told = await asked(http, "/memory", {"data_id": "7", "question": QUESTION, "image_caption": ""})
    assert set(told) == {"prompt", "indices"}


async def test_ttl_memory_bank_save(make_mia: Make) -> None:
    async with client(ttl_service(make_mia())) as http:
        told = [await asked(http, "/memory_bank_save", BUFFER) for _ in range(2)]
    assert [(one["status"], one["buffered"]) for one in told] == [("success", 1), ("duplicate", 1)]


async def test_ttl_batch_evaluate(make_mia: Make) -> None:
    async with client(ttl_service(make_mia(models={"router": ScriptedChat(['{"choice": 2}'])}))) as http:
        for plan in ("1. find the founder", "1. ask around"):
            await asked(http, "/memory_bank_save", {**BUFFER, "plan": plan})
        told = await asked(http, "/batch_evaluate", {})
    assert told["results"] == [{"data_id": "7", "selected": 1, "plan": "1. ask around"}]


async def test_ttl_consolidate_memories(make_mia: Make) -> None:
    mia = make_mia()
    async with client(ttl_service(mia)) as http:
        await asked(http, "/memory_bank_save", BUFFER)
        await asked(http, "/memory_bank_save", {**BUFFER, "plan": "1. ask", "judgement": "incorrect"})
        told = await asked(http, "/consolidate_memories", {})
    assert (told["saved_positives"], told["saved_negatives"]) == (1, 1)
    assert (await mia.units()).total == 2


async def test_ttl_save_memory(make_mia: Make, tmp_path: Path) -> None:
    async with client(ttl_service(make_mia())) as http:
        assert (await asked(http, "/save_memory", {"save_path": "one.jsonl"}))["status"] == "success"
    assert (tmp_path / "saved" / "one.jsonl").is_file()


async def test_ttl_register_images(make_mia: Make) -> None:
    async with client(ttl_service(make_mia())) as http:
        body = {"entries": [{"data_id": "7", "images": ["aGk=", "aGk="]}]}
        told = await asked(http, "/streaming/register_images", body)
    assert (told["status"], told["registered"]) == ("success", 1)


async def test_ttl_health(make_mia: Make) -> None:
    async with client(ttl_service(make_mia())) as http:
        await asked(http, "/memory_bank_save", BUFFER)
        told = (await http.get("/streaming/health")).json()
    assert told == {"status": "ok", "buffered": 1, "images": 0}


# -- the streaming trainer ------------------------------------------------------------------------------------------


@pytest.fixture
async def trainer(tmp_path: Path) -> AsyncIterator[StreamTrainer]:
    one = StreamTrainer(tmp_path / "stream", ScriptedLearner(), groups_per_update=2, width=2)
    yield one
    one.close()


def sample(number: int, **more: object) -> dict[str, object]:
    rollout = {"data_id": f"q{number}", "question": f"is it {number}?"}
    return {"rollout": rollout, "epoch": 0, "finish": False, "flush_partial": False} | more


GOLDS = {"entries": [{"data_id": f"q{number}", "ground_truth": "no"} for number in range(3)]}


async def test_trainer_health(trainer: StreamTrainer) -> None:
    async with client(stream_service(trainer)) as http:
        told = (await http.get("/health")).json()
    named = {"status", "global_steps", "total_training_steps", "train_batch_size", "rollout_n", "rollout_buffer_len"}
    assert named <= set(told)
    assert (told["status"], told["train_batch_size"], told["rollout_n"], told["rollout_buffer_len"]) == ("ok", 2, 2, 0)


async def test_trainer_submit_sample(trainer: StreamTrainer) -> None:
    async with client(stream_service(trainer)) as http:
        await asked(http, "/register_gts", GOLDS)
        told = [await asked(http, "/submit_sample", sample(number)) for number in range(3)]
        last = await asked(http, "/submit_sample", {"rollout": None, "epoch": 0, "finish": True, "flush_partial": True})
    assert [one["status"] for one in (*told, last)] == ["rollout", "step", "rollout", "step"]
    assert "spread" in told[1]["metrics"]
    assert (told[0]["version"], told[2]["version"]) == (0, 1)


async def test_trainer_submit_batch(trainer: StreamTrainer) -> None:
    async with client(stream_service(trainer)) as http:
        await asked(http, "/register_gts", GOLDS)
        rollouts = [sample(number)["rollout"] for number in range(2)]
        told = await asked(http, "/submit_batch", {"rollouts": rollouts})
    assert (told["status"], [one["id"] for one in told["results"]]) == ("step", ["q0", "q1"])


async def test_trainer_save_checkpoint(trainer: StreamTrainer) -> None:
    async with client(stream_service(trainer)) as http:
        assert await asked(http, "/save_checkpoint", {}) == {"status": "success", "version": 0}


async def test_trainer_register_gts(trainer: StreamTrainer) -> None:
    async with client(stream_service(trainer)) as http:
        assert await asked(http, "/register_gts", GOLDS) == {"status": "success", "registered": 3}
        other = {"entries": [{"data_id": "q0", "ground_truth": "yes"}]}
        assert (await http.post("/register_gts", json=other)).status_code == 409


async def test_trainer_compute_gt_reward(trainer: StreamTrainer) -> None:
    async with client(stream_service(trainer)) as http:
        await asked(http, "/register_gts", GOLDS)
        assert await asked(http, "/compute_gt_reward", {"data_id": "q0", "solution_str": "No"}) == {"reward": 1.0}


async def test_trainer_register_images(trainer: StreamTrainer) -> None:
    async with client(stream_service(trainer)) as http:
        body = {"entries": [{"data_id": "q0", "images": ["aGk="]}]}
        assert (await asked(http, "/streaming/register_images", body))["registered"] == 1


async def test_trainer_feedback(trainer: StreamTrainer) -> None:
    async with client(stream_service(trainer)) as http:
        made = await asked(http, "/submit_sample", sample(0))
        said = {"id": made["id"], "ticket": made["ticket"], "rewards": [1.0, None]}
        told = [await asked(http, "/v1/feedback", said) for _ in range(2)]
        forged = {**said, "ticket": "0" * 64}
        assert (await http.post("/v1/feedback", json=forged)).status_code == 403
    assert [one["status"] for one in told] == ["accepted", "duplicate"]


async def test_trainer_rollback(trainer: StreamTrainer) -> None:
    async with client(stream_service(trainer)) as http:
        await asked(http, "/register_gts", GOLDS)
        for number in range(2):
            await asked(http, "/submit_sample", sample(number))
        assert await asked(http, "/v1/rollback", {"version": 0}) == {"status": "success", "version": 0}
        assert (await http.post("/v1/rollback", json={"version": 9})).status_code == 400


async def test_trainer_check(trainer: StreamTrainer) -> None:
    async with client(stream_service(trainer)) as http:
        told = await asked(http, "/v1/check", {})
    assert told == {"status": "success", "went_back_to": None, "version": 0}


# -- rewards --------------------------------------------------------------------------------------------------------


async def test_reward_health() -> None:
    async with client(reward_service()) as http:
        assert (await http.get("/health")).json() == {"status": "ok", "registered": 0}


async def test_reward_register_gts() -> None:
    async with client(reward_service()) as http:
        assert await asked(http, "/register_gts", GOLDS) == {"status": "success", "registered": 3}


async def test_reward_compute_gt_reward() -> None:
    async with client(reward_service()) as http:
        await asked(http, "/register_gts", GOLDS)
        assert await asked(http, "/compute_gt_reward", {"data_id": "q1", "solution_str": "yes"}) == {"reward": 0.0}
        unknown = {"data_id": "q9", "solution_str": "yes"}
        assert (await http.post("/compute_gt_reward", json=unknown)).status_code == 404


# -- search ---------------------------------------------------------------------------------------------------------


async def test_retrieve_retrieve() -> None:
    async with served() as one:
        body = {"queries": ["Aldric Tesh", "Vesk River"], "topk": 2, "return_scores": True}
        told = (await one.client.post("/retrieve", json=body)).json()["result"]
    assert [len(hits) for hits in told] == [2, 2]
    assert set(told[0][0]) == {"document", "score"}
    assert {"id", "contents"} <= set(told[0][0]["document"])


async def test_retrieve_health() -> None:
    async with served() as one:
        assert (await one.client.get("/health")).json()["status"] == "ok"


async def test_retrieve_metrics() -> None:
    async with served() as one:
        await one.client.post("/retrieve", json={"queries": ["a"]})
        assert "# TYPE" in (await one.client.get("/metrics")).text


@pytest.mark.parametrize("path", ["/server/search", "/search"])
async def test_search_search(path: str) -> None:
    async with client(WebService(WebEngine(Backend("ddgs")), hosts=["127.0.0.1"])) as http:
        told = await http.get(path, params={"q": ["one", "two"], "max_results": "3", "engine": "ddgs"})
    assert told.status_code == 200
    assert [len(hits) for hits in told.json()["result"]] == [1, 1]


async def test_search_health() -> None:
    async with client(WebService(WebEngine(Backend("e")), hosts=["127.0.0.1"])) as http:
        assert (await http.get("/health")).json() == {"status": "ok", "engine": "e"}


async def test_search_metrics() -> None:
    async with client(WebService(WebEngine(Backend("e")), hosts=["127.0.0.1"])) as http:
        assert "# TYPE" in (await http.get("/metrics")).text
