"""The published services over `Mia`: upstream's requests get upstream's answers, and its faults are gone."""

from collections.abc import Callable

import httpx
import pytest
from click.testing import CliRunner

from mcp_server.rest_executor import executor_service
from mcp_server.rest_planner import planner_service
from mcp_server.rest_ttl import ttl_service
from mia_skill.agents.mia import Mia
from mia_skill.cli.main import main
from mia_skill.core.chat import ScriptedChat
from mia_skill.core.json_service import JsonService
from mia_skill.core.types import Passage

Make = Callable[..., Mia]
ITEM = {"question": "Who founded Velmora Works?", "image_caption": [], "data_id": 7, "mem_top_k": 2, "pass_num": 0}
PLAN = '{"steps": ["find the founder", "check it"]}'
AGAIN = '{"need_replan": true, "reason": "not found", "steps": ["look at the history page"]}'
CALL = '<tool_call>{"name": "search", "arguments": {"query": "Velmora Works founder"}}</tool_call>'
TALK = [
    {"role": "assistant", "content": CALL},
    {"role": "user", "content": "<tool_response>\nVelmora Works was founded by Aldric Tesh.\n</tool_response>"},
    {"role": "assistant", "content": "<answer>Aldric Tesh</answer>"},
]
SAVE = {**ITEM, "plan": "1. find the founder", "messages": TALK, "judgement": "correct", "used_memory_indices": []}


class Shelf:
    name = "shelf"

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        return (Passage(id="p1", title="Velmora Works", text="word " * 600),)


def client(service: JsonService) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=service), base_url="http://127.0.0.1")


async def test_upstreams_flow_plan_reflect_replan_save_and_retrieve(make_mia: Make) -> None:
    mia = make_mia(models={"planner": ScriptedChat([PLAN, AGAIN])})
    async with client(planner_service(mia)) as http:
        (planned,) = (await http.post("/plan", json=[ITEM])).json()
        assert planned["plan"] == "1. find the founder\n2. check it"
        assert [one["role"] for one in planned["messages"]] == ["user", "assistant"]
        assert (planned["pos_indices"], planned["neg_indices"]) == ([], [])
        asked = {"workflow": "### Round 1 nothing", "past_messages": planned["messages"], "memory_indices": []}
        (judged,) = (await http.post("/judge_replan", json=[asked])).json()
        assert judged["need_replan"] == "yes"
        (again,) = (await http.post("/replan", json=[{**ITEM, "past_messages": judged["messages"]}])).json()
        assert again["replan"] == "1. look at the history page"
        (saved,) = (await http.post("/batch_memory_save", json=[SAVE])).json()
        assert saved["status"] == "success"
        (found,) = (await http.post("/memory", json=[ITEM])).json()
    assert found["pos_indices"] == saved["ids"]
    assert "Velmora" in found["context"]


async def test_best_plan_asks_for_four_plans_and_tells_which_the_router_picked(make_mia: Make) -> None:
    plans = [f'{{"steps": ["way {n}"]}}' for n in range(4)]
    mia = make_mia(models={"planner": ScriptedChat(plans), "router": ScriptedChat(['{"choice": 3}'])})
    async with client(planner_service(mia)) as http:
        (best,) = (await http.post("/best_plan", json=[ITEM])).json()
    assert (best["selected_plan_number"], best["plan"]) == (3, "1. way 2")
    assert best["all_plans"] == [f"1. way {n}" for n in range(4)]


async def test_replan_train_gives_the_content_of_a_new_plan(make_mia: Make) -> None:
    body = {"question": "q", "plan": "p", "trace": "t", "mem_context1": "m", "mem_context2": ""}
    async with client(planner_service(make_mia(models={"planner": ScriptedChat([AGAIN])}))) as http:
        told = (await http.post("/replan_train", json=body)).json()
    assert told == {"replan": True, "content": "1. look at the history page"}


async def test_a_memory_is_saved_cleared_and_loaded_by_name(make_mia: Make) -> None:
    async with client(planner_service(make_mia())) as http:
        (saved,) = (await http.post("/batch_memory_save", json=[SAVE])).json()
        for path, body in (
            ("/save_memory", {"save_path": "run/one.jsonl"}),
            ("/clear_memory", {}),
            ("/load_memory", {"load_path": "run/one.jsonl"}),
        ):
            assert (await http.post(path, json=body)).json()["status"] == "success"
            (found,) = (await http.post("/memory", json=[ITEM])).json()
            assert found["pos_indices"] == ([] if path == "/clear_memory" else saved["ids"])


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../out.jsonl", "a/../../b", "a\x00b", "..\\x", "."])
async def test_a_name_that_would_leave_the_data_folder_is_refused(make_mia: Make, name: str) -> None:
    async with client(planner_service(make_mia())) as http:
        assert (await http.post("/save_memory", json={"save_path": name})).status_code == 400
        assert (await http.post("/load_memory", json={"load_path": name})).status_code == 400


async def test_a_broken_reply_is_an_error_and_not_an_empty_plan(make_mia: Make) -> None:
    chatty = ScriptedChat(["I would say yes", "Yes, no need"])
    async with client(planner_service(make_mia(models={"planner": chatty}))) as http:
        assert (await http.post("/plan", json=[ITEM])).status_code == 502
        assert (await http.post("/judge_replan", json=[{"workflow": "w"}])).status_code == 502
    async with client(planner_service(make_mia())) as http:
        assert (await http.post("/plan", json=[ITEM])).status_code == 503


async def test_a_judgement_nobody_understands_is_refused_before_anything_is_kept(make_mia: Make) -> None:
    mia = make_mia()
    async with client(planner_service(mia)) as http:
        wrong = {**SAVE, "judgement": "THE ANSWER IS B"}
        assert (await http.post("/batch_memory_save", json=[SAVE, wrong])).status_code == 400
    assert (await mia.units()).total == 0


async def test_the_executor_answers_with_prompt_trace_and_history(make_mia: Make) -> None:
    script = [CALL, "<answer>Aldric Tesh</answer>", "<answer>Bera Noll</answer>"]
    mia = make_mia(models={"executor": ScriptedChat(script)}, corpus=Shelf())
    async with client(executor_service(mia)) as http:
        body = {"data_id": 7, "question": ITEM["question"], "plan": "1. find the founder"}
        told = (await http.post("/plan", json=body)).json()
        assert set(told) == {"prompt", "trace", "history_messages"}
        assert "### Round 1" in told["trace"]
        assert told["trace"].count("word") < 513
        second = {**body, "messages": told["history_messages"], "replan": "1. look again"}
        again = (await http.post("/replan", json=second)).json()
    assert "Bera Noll" in again["trace"]
    assert len(again["history_messages"]) > len(told["history_messages"])


async def test_the_test_time_service_buffers_picks_without_judgements_and_consolidates_once(make_mia: Make) -> None:
    router = ScriptedChat(['{"choice": 2}'])
    mia = make_mia(models={"router": router})
    failed = {**SAVE, "plan": "1. ask around", "judgement": "incorrect", "temp_messages": TALK, "messages": []}
    async with client(ttl_service(mia)) as http:
        shown = (await http.post("/memory", json=ITEM)).json()
        assert set(shown) == {"prompt", "indices"}
        for run, status in ((SAVE, "success"), (failed, "success"), (SAVE, "duplicate")):
            assert (await http.post("/memory_bank_save", json={**run, "slow_plan": ""})).json()["status"] == status
        picked = (await http.post("/batch_evaluate", json={})).json()
        assert picked["results"] == [{"data_id": 7, "selected": 1, "plan": "1. ask around"}]
        assert "incorrect" not in router.seen[0][0].content
        learnt = (await http.post("/consolidate_memories", json={})).json()
        assert (learnt["saved_positives"], learnt["saved_negatives"]) == (1, 1)
        again = (await http.post("/consolidate_memories", json={})).json()
        assert (again["saved_positives"], again["saved_negatives"]) == (0, 0)
        images = {"entries": [{"data_id": "d", "images": ["aGk="]}]}
        assert (await http.post("/streaming/register_images", json=images)).json()["registered"] == 1
        assert (await http.get("/streaming/health")).json() == {"status": "ok", "buffered": 0, "images": 1}
    assert (await mia.units()).total == 2


@pytest.mark.parametrize("command", [["serve", "--rest", "planner"], ["stream", "serve"]])
def test_tokens_that_are_bound_to_namespaces_do_not_open_services_that_know_none(command: list[str]) -> None:
    clients = 'server.clients=[{"name": "ann", "token": "0123456789abcdef", "namespaces": ["ann"]}]'
    done = CliRunner().invoke(main, ["--set", clients, *command])
    assert done.exit_code == 1
    assert "use server.token" in done.output
