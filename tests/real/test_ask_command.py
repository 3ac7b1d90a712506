"""The command `mia ask` over the development wiki: real planner, executor and judge on a vLLM server.

A model of 135M parameters neither keeps to the form of calls by itself nor finds the end of a plan. A relay stands
between the command and the server and adds the form that the server then holds the model to: a short plan, a search
with words of the question, a visit of a passage that was found, an answer that cites one. What is in the forms is the
model's.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import orjson
import pytest
from click.testing import CliRunner

from mia_skill.cli import main
from mia_skill.core.config import EndpointConfig

pytestmark = [pytest.mark.real, pytest.mark.slow]

PLANS = {
    "PlanForm": r'\{"steps": \["[A-Z][a-z ]{8,40}[a-z]", "[A-Z][a-z ]{8,40}[a-z]"\]\}',
    "ReplanForm": r'\{"need_replan": false, "reason": "[A-Za-z ]{5,40}"\}',
}
CALL = r'<tool_call>\{"name": "%s", "arguments": \{"%s": "%s"\}\}</tool_call>'


def form(messages: list[dict[str, str]], words: list[str]) -> str:
    """The pattern of the executor's next turn."""
    shown = re.findall(r"^\[([\w:.@#-]+)\]", messages[-1]["content"], re.MULTILINE)
    said = [one["content"] for one in messages if one["role"] == "assistant"]
    if not said or not shown:
        choice = "|".join(map(re.escape, words))
        return CALL % ("search", "query", f"({choice})( ({choice})){{1,4}}")
    id_ = "|".join(map(re.escape, shown[:3]))
    if '"visit"' not in said[-1]:
        return CALL % ("visit", "source", f"({id_})")
    return rf"<answer>[A-Z][a-z]{{2,12}}( [A-Z][a-z]{{2,12}})? \[({id_})\]</answer>"


@contextmanager
def relay(upstream: str, words: list[str]) -> Iterator[str]:
    """The address of an endpoint that adds the form and passes everything on."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.passed(httpx.get(upstream + self.path.removeprefix("/v1"), timeout=300, trust_env=False))

        def do_POST(self) -> None:
            body = orjson.loads(self.rfile.read(int(self.headers["content-length"])))
            asked = body.get("response_format", {}).get("json_schema", {}).get("name")
            if asked is None or asked in PLANS:
                body.pop("response_format", None)
                body["structured_outputs"] = {"regex": PLANS.get(asked) or form(body["messages"], words)}
            address = upstream + self.path.removeprefix("/v1")
            self.passed(httpx.post(address, json=body, timeout=300, trust_env=False))

        def passed(self, reply: httpx.Response) -> None:
            self.send_response(reply.status_code)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(reply.content)))
            self.end_headers()
            self.wfile.write(reply.content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1"
        server.shutdown()
        thread.join()


def test_mia_ask_over_the_wiki_searches_visits_and_cites_what_it_read(
    tmp_path: Path, shared_data: Path, vllm_endpoint: EndpointConfig
) -> None:
    wiki = shared_data / "sandbox_wiki"
    question = orjson.loads((wiki / "dev.jsonl").read_bytes().splitlines()[0])["question"]
    words = list(dict.fromkeys(re.findall(r"\w{4,}", question)))
    corpus = [str(one) for one in sorted(wiki.glob("corpus.0*.jsonl"))]
    settings = {
        "memory.embedder": "hash",
        "search.dense": "false",
        "search.k": "2",
        "search.passage_chars": "200",
        "search.corpus": json.dumps(corpus),
    }
    with relay(vllm_endpoint.base_url.rstrip("/"), words) as address:
        settings |= {
            "models.default.base_url": address,
            "models.default.model": vllm_endpoint.model,
            "models.default.max_tokens": "300",
            "models.default.temperature": "0.0",
            "models.default.timeout_s": "300",
        }
        given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        result = CliRunner().invoke(main, ["--home", str(tmp_path), *given, "ask", question, "--json"])
    assert result.exit_code == 0, result.output
    run = json.loads(result.stdout)["trajectory"]
    used = [step["tool"] for step in run["steps"] if not step.get("error")]
    assert {"search", "visit"} <= set(used)
    read = {passage["id"] for step in run["steps"] for passage in step.get("passages", ())}
    assert run["cites"]
    assert set(run["cites"]) <= read
