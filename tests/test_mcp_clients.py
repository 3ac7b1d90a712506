"""Beyond one token: clients with scopes and namespaces of their own, rates, an authorization server, the audit."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs

import httpx
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.types import TextContent
from pydantic import SecretStr, ValidationError

from mcp_server.doorkeeper import Buckets
from mcp_server.tokens import ConfiguredTokens, audience
from mia_skill.core.config import ClientConfig, MiaConfig, ServerConfig, load_config

PATIENCE_S = 60
ALICE, BOB, READER, ROOT = (f"token-of-{name}-0123456789" for name in ("alice", "bob", "reader", "root"))
CLIENTS = [
    {"name": "alice", "token": ALICE, "scopes": ["read", "write", "admin"], "namespaces": ["alice", "shared"]},
    {"name": "bob", "token": BOB, "scopes": ["read", "write", "admin"], "namespaces": ["bob"]},
    {"name": "reader", "token": READER, "scopes": ["read"], "namespaces": ["shared"]},
    {"name": "root", "token": ROOT, "scopes": ["read", "write", "admin"]},
]
RUN = {"question": "q one", "answer": "a", "steps": [{"query": "s", "found": "a is it"}], "outcome": "correct"}
Era = Literal["auto", "legacy"]
ERAS: tuple[Era, ...] = ("auto", "legacy")


@contextmanager
def serving(home: Path, **environment: str) -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and its lines on stderr, complete once it has ended."""
    process = subprocess.Popen(
        [sys.executable, "-m", "mcp_server", "--http", "--port", "0", "--home", str(home)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "MIA_MEMORY__EMBEDDER": "hash", **environment},
    )
    said: list[str] = []
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "http://" in line, line + process.stderr.read()
        yield line.split()[-1], said
        process.terminate()
        said += process.communicate(timeout=PATIENCE_S)[1].splitlines()
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("clients"), MIA_SERVER__CLIENTS=json.dumps(CLIENTS)) as (address, _):
        yield address


class Bearer:
    """Calls as one client; every call in a session of its own."""

    def __init__(self, url: str, token: str, era: Era = "auto") -> None:
        self.url, self.token, self.era = url, token, era

    async def call(self, tool: str, **arguments: Any) -> Any:
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {self.token}"}, timeout=PATIENCE_S) as http,
            Client(streamable_http_client(self.url, http_client=http), mode=self.era) as client,
        ):
            return await client.call_tool(tool, arguments)

    async def get(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self.call(tool, **arguments)
        assert not result.is_error, result.content
        return dict(result.structured_content)

    async def refused(self, tool: str, **arguments: Any) -> str:
        result = await self.call(tool, **arguments)
        assert result.is_error, result.structured_content
        (block,) = result.content
        assert isinstance(block, TextContent)
        return block.text


@pytest.mark.parametrize("era", ERAS)
async def test_clients_see_and_change_only_what_is_in_their_namespaces(url: str, era: Era) -> None:
    alice, bob, root = (Bearer(url, token, era) for token in (ALICE, BOB, ROOT))
    own = RUN | {"question": f"which one, said {era}?"}
    (unit,) = (await alice.get("memory_store", **own))["ids"]
    assert unit in {one["id"] for one in (await alice.get("memory_list"))["memories"]}
    assert (await bob.get("memory_list"))["memories"] == []
    assert (await bob.get("memory_retrieve", question=own["question"]))["memories"] == []
    assert "default" not in json.dumps(await bob.get("memory_retrieve", question=own["question"]))
    unknown = await bob.refused("memory_show", id="mem_none")
    for tool, arguments in (
        ("memory_show", {"id": unit}),
        ("memory_feedback", {"id": unit, "good": False}),
        ("memory_forget", {"ids": [unit]}),
    ):
        said = await bob.refused(tool, **arguments)
        assert said.replace(unit, "mem_none") == unknown
    stored = await bob.get("memory_store", **own, memory_ids=[unit])
    assert "credited" not in stored
    assert f"unknown memory {unit}" in stored["note"]
    assert (await root.get("memory_show", id=unit)).get("uses", 0) == 0
    assert "it is for: bob" in await bob.refused("memory_retrieve", question="q", namespace="alice")
    await bob.get("memory_forget", ids=stored["ids"])
    await alice.get("memory_forget", ids=[unit])


async def test_recalling_the_same_question_credits_nobody_elses_memory(url: str) -> None:
    alice, bob, root = (Bearer(url, token) for token in (ALICE, BOB, ROOT))
    (unit,) = (await alice.get("memory_store", **RUN))["ids"]
    assert (await alice.get("memory_retrieve", question=RUN["question"]))["memories"]
    await bob.get("memory_store", **RUN)
    assert (await root.get("memory_show", id=unit)).get("uses", 0) == 0


@pytest.mark.parametrize("era", ERAS)
async def test_a_scope_that_is_missing_is_named(url: str, era: Era) -> None:
    reader = Bearer(url, READER, era)
    assert "total" in await reader.get("memory_list")
    said = await reader.refused("memory_store", **RUN)
    assert said.startswith("memory_store needs the scope 'write'; your token has: read.")
    assert "'admin'" in await reader.refused("memory_forget", ids=["mem_x"])


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer nobody", f"Basic {ALICE}", f"Bearer {ALICE}x"])
def test_an_unknown_token_is_refused(url: str, given: str) -> None:
    answer = httpx.post(url, json={}, headers={"authorization": given} if given else {}, trust_env=False)
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


def test_a_session_of_the_handshake_era_is_no_good_to_another_client(url: str) -> None:
    hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    accept = {"accept": "application/json, text/event-stream", "mcp-protocol-version": "2025-11-25"}
    begun = httpx.post(
        url,
        json={"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello},
        headers=accept | {"authorization": f"Bearer {ALICE}"},
        trust_env=False,
    )
    session = begun.headers["mcp-session-id"]
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
    stolen = accept | {"mcp-session-id": session, "authorization": f"Bearer {BOB}"}
    assert httpx.post(url, json=call, headers=stolen, trust_env=False).status_code in {403, 404}


async def test_too_many_requests_are_told_when_to_come_again_and_others_go_on(tmp_path: Path) -> None:
    limits = {"MIA_SERVER__CLIENTS": json.dumps(CLIENTS), "MIA_SERVER__RATE_PER_MINUTE": "5"}
    with serving(tmp_path, **limits) as (address, _):
        mine = [post(address, ALICE) for _ in range(12)]
        assert {answer.status_code for answer in mine[:5]} == {400}
        late = next(answer for answer in mine if answer.status_code == 429)
        assert 1 <= int(late.headers["retry-after"]) <= 12
        assert post(address, BOB).status_code == 400
        wrong = [post(address, f"wrong-{number}") for number in range(12)]
        assert (wrong[0].status_code, wrong[-1].status_code) == (401, 429)
        assert post(address, BOB).status_code == 400


def get(url: str) -> Any:
    """What is told to everybody."""
    return httpx.get(url, trust_env=False).json()


def post(url: str, token: str = "") -> httpx.Response:
    """A request that comes in or not; what it says is not understood."""
    bearer = {"authorization": f"Bearer {token}"} if token else {}
    given = bearer | {"accept": "application/json, text/event-stream"}
    return httpx.post(url, json={"hello": 1}, headers=given, trust_env=False)


def test_a_bucket_refills_evenly() -> None:
    now = [0.0]
    bucket = Buckets(60, clock=lambda: now[0])
    for _ in range(60):
        assert bucket.wait_s("a") == 0
        bucket.take("a")
    assert bucket.wait_s("a") == pytest.approx(1)
    assert bucket.wait_s("b") == 0
    now[0] = 0.5
    assert bucket.wait_s("a") == pytest.approx(0.5)
    now[0] = 1.0
    assert bucket.wait_s("a") == 0


def test_a_body_over_the_limit_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, MIA_SERVER__MAX_BODY_BYTES="2000") as (address, _):
        usual = {"accept": "application/json, text/event-stream"}
        assert httpx.post(address, json={"x": "y" * 3000}, headers=usual, trust_env=False).status_code == 413


async def test_every_call_leaves_a_line_without_contents(tmp_path: Path) -> None:
    with serving(tmp_path, MIA_SERVER__CLIENTS=json.dumps(CLIENTS)) as (address, said):
        await Bearer(address, ALICE).get("memory_store", **(RUN | {"question": "SECRET question"}))
        await Bearer(address, READER).refused("memory_store", **RUN)
    lines = [line for line in said if " audit " in line]
    shape = r"audit tool=memory_store caller='(\w+)' outcome=(\w+) ms=\d+ in=\d+ out=\d+$"
    found = [match.groups() for line in lines if (match := re.search(shape, line))]
    assert found == [("alice", "answered"), ("reader", "failed")]
    for secret in ("SECRET", ALICE, READER):
        assert secret not in "\n".join(said)


@contextmanager
def authorization_server(tokens: dict[str, dict[str, Any]]) -> Iterator[str]:
    """An introspection endpoint that knows `tokens`."""

    class Endpoint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            body = json.dumps(tokens.get(form["token"][0], {"active": False})).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/introspect"
    server.shutdown()
    server.server_close()
    thread.join()


def variables(oauth: dict[str, str]) -> dict[str, str]:
    """The settings as environment variables."""
    return {f"MIA_SERVER__OAUTH__{name.upper()}": value for name, value in oauth.items()}


async def test_tokens_of_an_authorization_server_open_namespaces_of_their_own(tmp_path: Path) -> None:
    mine = "https://mia.example/mcp"
    known = {
        "good": {"active": True, "sub": "ann", "client_id": "app", "scope": "read write", "aud": mine},
        "other": {"active": True, "sub": "ben", "client_id": "app", "scope": "read", "aud": [mine, "x"]},
        "elsewhere": {"active": True, "sub": "ann", "scope": "read", "aud": "https://else.example/mcp"},
        "late": {"active": True, "sub": "ann", "scope": "read", "aud": mine, "exp": 1},
        "nobody": {"active": True, "scope": "read", "aud": mine},
    }
    with authorization_server(known) as introspection:
        oauth = {"issuer_url": "https://login.example", "resource_url": mine, "introspection_url": introspection}
        with serving(tmp_path, **variables(oauth), MIA_SERVER__CLIENTS=json.dumps(CLIENTS)) as (address, _):
            challenge = post(address)
            assert challenge.status_code == 401
            assert "resource_metadata=" in challenge.headers["www-authenticate"]
            root = address.removesuffix("/mcp")
            told = get(f"{root}/.well-known/oauth-protected-resource/mcp")
            assert (told["resource"], told["authorization_servers"]) == (mine, ["https://login.example"])
            for token in ("elsewhere", "late", "nobody", "unknown"):
                assert post(address, token).status_code == 401, token
            await Bearer(address, "good").get("memory_store", **RUN)
            assert (await Bearer(address, "good").get("memory_list"))["total"] == 1
            assert (await Bearer(address, "other").get("memory_list"))["total"] == 0
            assert "'write'" in await Bearer(address, "other").refused("memory_store", **RUN)
            assert (await Bearer(address, ROOT).get("memory_list"))["total"] == 0
            (seen,) = (await Bearer(address, "good").get("memory_list"))["memories"]
            assert (await Bearer(address, ROOT).get("memory_show", id=seen["id"]))["question"] == "q one"


async def test_an_authorization_server_that_is_down_lets_nobody_in(tmp_path: Path) -> None:
    oauth = {"issuer_url": "https://l.example", "resource_url": "https://m.example/mcp"}
    given = variables(oauth | {"introspection_url": "http://127.0.0.1:9/introspect"})
    with serving(tmp_path, **given) as (address, _):
        assert post(address, "any").status_code == 401


async def test_configured_tokens_say_who_and_what() -> None:
    known = ConfiguredTokens(
        ServerConfig(token=SecretStr("everything"), clients=(ClientConfig.model_validate(CLIENTS[2]),))
    )
    reader = await known.verify_token(READER)
    assert reader is not None
    assert (reader.client_id, reader.scopes) == ("reader", ["read"])
    owner = await known.verify_token("everything")
    assert owner is not None
    assert set(owner.scopes) == {"read", "write", "admin"}
    assert await known.verify_token("cut \ud83d") is None


def test_short_tokens_and_unknown_scopes_are_refused() -> None:
    for wrong in ({"token": "short"}, {"scopes": ["all"]}, {"name": "a b"}):
        with pytest.raises(ValidationError):
            ClientConfig.model_validate(CLIENTS[0] | wrong)


def test_clients_can_be_given_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[[server.clients]]\nname = "alice"\ntoken = "{ALICE}"\nscopes = ["read"]\n')
    config = load_config(file, environment={})
    assert isinstance(config, MiaConfig)
    assert config.server.clients[0].name == "alice"
    assert ALICE not in repr(config)


def test_of_several_audiences_this_server_is_picked() -> None:
    assert audience(["x", "https://m/mcp/"], "https://m/mcp") == "https://m/mcp/"
    assert audience("y", "https://m/mcp") is None
    assert audience(None, "https://m/mcp") is None
