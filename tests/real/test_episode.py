"""Planner, reviewers and a whole episode against a real vLLM server, JSON-schema output included."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters

from mia_skill.agents.forms import PlanForm
from mia_skill.app import Mia, build
from mia_skill.core.config import EndpointConfig, MiaConfig, load_config
from mia_skill.core.types import Passage, Question, StopReason
from mia_skill.core.verdict import Case
from retrieval.world import build_world

pytestmark = [pytest.mark.real, pytest.mark.slow]

QUESTION = Question(text="Who founded Velmora Works?")
PASSAGE = Passage(id="p1", title="Velmora Works", text="Velmora Works was founded in 1874 by Aldric Tesh.")


@pytest.fixture
def config(tmp_path: Path, vllm_endpoint: EndpointConfig) -> MiaConfig:
    build_world(seed=3, size=60).write(tmp_path / "world")
    flags: dict[str, object] = {
        "home": str(tmp_path / "home"),
        "memory.embedder": "hash",
        "search.corpus": [str(tmp_path / "world" / "corpus.jsonl")],
        "search.dense": False,
        "search.k": 2,
        "search.passage_chars": 400,
        "budget.steps": 4,
    }
    endpoint = vllm_endpoint.model_dump(exclude={"api_key"}) | {"max_tokens": 1000, "frequency_penalty": 1.5}
    flags |= {f"models.default.{name}": value for name, value in endpoint.items()}
    return load_config(environment={}, flags=flags)


@pytest.fixture
async def mia(config: MiaConfig) -> AsyncIterator[Mia]:
    async with build(config) as made:
        yield made


async def test_the_planner_fills_in_its_form_on_a_real_server(mia: Mia) -> None:
    planned = await mia.plan(QUESTION)
    assert planned.status == "plan"
    assert planned.plan is not None
    assert planned.plan.brain == "endpoint"
    assert 1 <= len(planned.plan.steps) <= 12
    assert planned.usage.completion_tokens > 0


async def test_three_reviewers_give_scores_on_a_real_server(mia: Mia) -> None:
    case = Case(question=QUESTION.text, answer="Aldric Tesh", evidence=(PASSAGE,))
    verdict = (await mia.judge(case)).verdict
    assert {review.reviewer for review in verdict.reviews} == {"reasoning", "sourcing", "validity"}
    assert verdict.usage.calls >= 3
    assert verdict.backend == "endpoint"


async def test_a_whole_episode_ends_in_an_honest_state_and_what_it_taught_is_kept(mia: Mia) -> None:
    episode = await mia.ask(QUESTION)
    assert episode.usage.calls >= 2
    assert episode.trajectory.stop in tuple(StopReason)
    assert (episode.trajectory.answer == "") == (episode.trajectory.stop is not StopReason.ANSWERED)
    assert (await mia.units()).total == bool(episode.trajectory.steps)


async def test_the_mcp_server_plans_with_the_endpoint_and_not_with_a_brief(config: MiaConfig) -> None:
    endpoint = config.models.default
    assert endpoint is not None
    server = StdioServerParameters(
        command=sys.executable,
        args=["-m", "mcp_server", "--stdio"],
        env={
            "MIA_HOME": str(config.home),
            "MIA_MEMORY__EMBEDDER": "hash",
            "MIA_MODELS__DEFAULT__BASE_URL": endpoint.base_url,
            "MIA_MODELS__DEFAULT__MODEL": endpoint.model,
            "MIA_MODELS__DEFAULT__MAX_TOKENS": "1000",
            "MIA_MODELS__DEFAULT__FREQUENCY_PENALTY": "1.5",
        },
    )
    async with Client(server) as client:
        result = await client.call_tool("plan", {"question": QUESTION.text})
    assert not result.is_error
    assert result.structured_content is not None
    assert result.structured_content["status"] == "plan"
    assert PlanForm(steps=result.structured_content["steps"]).steps
