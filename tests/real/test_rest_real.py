"""Upstream's flow through the Memory-Planner service, with plans from a real vLLM server."""

from pathlib import Path

import httpx
import pytest

from mcp_server.rest_planner import planner_service
from mia_skill.app import build
from mia_skill.core.config import EndpointConfig, load_config

pytestmark = [pytest.mark.real, pytest.mark.slow]

ITEM = {"question": "Who founded Velmora Works?", "image_caption": "", "data_id": "1", "mem_top_k": 2}
TALK = [
    {
        "role": "assistant",
        "content": '<tool_call>{"name": "search", "arguments": {"query": "Velmora Works"}}</tool_call>',
    },
    {"role": "user", "content": "<tool_response>\nVelmora Works was founded by Aldric Tesh.\n</tool_response>"},
    {"role": "assistant", "content": "<answer>Aldric Tesh</answer>"},
]


async def test_plan_reflect_replan_save_and_retrieve_with_a_real_model(
    tmp_path: Path, vllm_endpoint: EndpointConfig
) -> None:
    endpoint = vllm_endpoint.model_dump(exclude={"api_key"}) | {"max_tokens": 700, "frequency_penalty": 1.5}
    flags: dict[str, object] = {"home": str(tmp_path), "memory.embedder": "hash"}
    flags |= {f"models.planner.{name}": value for name, value in endpoint.items()}
    async with build(load_config(environment={}, flags=flags)) as mia:
        transport = httpx.ASGITransport(app=planner_service(mia))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=300) as http:
            (planned,) = (await http.post("/plan", json=[ITEM])).raise_for_status().json()
            assert planned["plan"].startswith("1. ")
            asked = {"workflow": "### Round 1\nnothing was found", "past_messages": planned["messages"]}
            (judged,) = (await http.post("/judge_replan", json=[asked])).raise_for_status().json()
            assert judged["need_replan"] in ("yes", "no")
            again = {**ITEM, "past_messages": judged["messages"], "mem_top_k": 1}
            (replanned,) = (await http.post("/replan", json=[again])).raise_for_status().json()
            assert replanned["replan"].startswith("1. ")
            save = {**ITEM, "plan": planned["plan"], "messages": TALK, "judgement": "correct"}
            (saved,) = (await http.post("/batch_memory_save", json=[save])).raise_for_status().json()
            (found,) = (await http.post("/memory", json=[ITEM])).raise_for_status().json()
            assert found["pos_indices"] == saved["ids"]
