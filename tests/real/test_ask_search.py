"""`ask` over a corpus against a real vLLM server: search, visit and the ids of what was read.

The packaged model has 135M parameters and follows the form of calls only now and then, so the first test holds the
run to what must be true of any model. The second has the server hold the model to the form of each turn (a structured
output), so that search, visit and a cited answer pass through a real server, in text that the model wrote.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import orjson
import pytest

from mia_skill.agents.executor import Executor
from mia_skill.agents.tools import VisitTool
from mia_skill.app import build
from mia_skill.core.budget import Meter
from mia_skill.core.chat import Message, Reply
from mia_skill.core.config import EndpointConfig, MiaConfig, load_config
from mia_skill.core.errors import JudgeError, PlanError
from mia_skill.core.types import Passage, Plan, Question, StopReason, Usage
from retrieval.world import build_world

pytestmark = [pytest.mark.real, pytest.mark.slow]

QUESTION = Question(text="Who founded Velmora Works?")


@pytest.fixture
def config(tmp_path: Path, vllm_endpoint: EndpointConfig) -> MiaConfig:
    build_world(seed=3, size=60).write(tmp_path / "world")
    flags: dict[str, object] = {
        "home": str(tmp_path / "home"),
        "memory.embedder": "hash",
        "search.corpus": [str(tmp_path / "world" / "corpus.jsonl")],
        "search.dense": False,
        "search.k": 2,
        "search.passage_chars": 200,
        "budget.steps": 4,
    }
    endpoint = vllm_endpoint.model_dump(exclude={"api_key"}) | {"max_tokens": 200, "temperature": 0.0}
    return load_config(environment={}, flags=flags | {f"models.default.{key}": one for key, one in endpoint.items()})


async def test_whatever_a_small_model_does_its_calls_are_known_or_errors_and_its_sources_were_read(
    config: MiaConfig,
) -> None:
    async with build(config) as mia:
        try:
            run = (await mia.ask(QUESTION, store=False)).trajectory
        except (PlanError, JudgeError):
            return
    for step in run.steps:
        assert step.tool in ("search", "visit") or step.error
        assert not (step.error and step.passages)
    read = {passage.id for step in run.steps for passage in step.passages}
    assert set(run.cites) <= read


@dataclass
class Held:
    """A chat model whose every turn the server holds to a pattern: the call or answer of that turn, in the model's
    own letters where the pattern leaves it a choice."""

    endpoint: EndpointConfig
    patterns: list[str]
    found: list[str]
    name: str = "held"

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        n: int = 1,
    ) -> tuple[Reply, ...]:
        shown = re.findall(r"^\[([\w:.-]+)\]", messages[-1].content, re.MULTILINE)
        pattern = self.patterns.pop(0).replace("ID", re.escape(shown[0]) if shown else "none")
        body = {
            "model": self.endpoint.model,
            "messages": [{"role": one.role, "content": one.content} for one in messages],
            "structured_outputs": {"regex": pattern},
            "max_tokens": 80,
            "temperature": 0,
        }
        async with httpx.AsyncClient(timeout=300, trust_env=False) as client:
            reply = (await client.post(f"{self.endpoint.base_url}/chat/completions", json=body)).raise_for_status()
        text = orjson.loads(reply.content)["choices"][0]["message"]["content"]
        self.found.append(text)
        assert re.fullmatch(pattern, text), text
        return (Reply(text=text, usage=Usage(calls=1)),)


async def test_search_visit_and_a_cited_answer_pass_through_a_real_server(config: MiaConfig) -> None:
    assert config.models.default is not None
    page = orjson.loads(config.search.corpus[0].read_bytes().splitlines()[0])
    asked = Question(text=f"Where is {page['title']}?")
    words = "|".join(re.escape(word) for word in page["title"].split())
    call = r'<tool_call>\{"name": "%s", "arguments": \{"%s": "%s"\}\}</tool_call>'
    patterns = [
        call % ("search", "query", f"({words})( ({words})){{0,2}}"),
        call % ("visit", "source", "ID"),
        r"<answer>[A-Z][a-z]{2,12} \[ID\]</answer>",
    ]
    async with build(config) as mia:

        async def opened(what: str, start: int) -> tuple[Passage, ...]:
            return (await mia.visit(what, start=start)).passages

        model = Held(config.models.default, patterns, [])
        executor = Executor(model, mia.sources.pick("auto"), 2, (VisitTool(opened),))
        run = await executor.run(asked, Plan(steps=("Find the place",)), Meter(config.budget))
        assert run.stop is StopReason.ANSWERED, model.found
        assert [(step.tool, step.error) for step in run.steps] == [("search", None), ("visit", None)]
        (whole,) = run.steps[1].passages
        assert run.cites == (whole.id,)
        assert mia.ledger.passages([whole.id]) == (whole,)
