"""No key, token or password that a run came across is kept, whichever host stored it."""

import subprocess
import time
from pathlib import Path

import orjson
import pytest
from mcp import Client

from mcp_server.server import build_server
from mia_skill.core.config import MemoryConfig, MiaConfig
from mia_skill.core.redact import redact, without_secrets
from mia_skill.core.types import Passage, Question, Step

ROOT = Path(__file__).resolve().parents[1]
SECRETS = {
    "key": "sk-proj-abcdefghijklmnopqrstuv",
    "forge": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "cloud": "AKIA" + "ABCDEFGHIJKLMNOP",
    "signed": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
    "header": "Authorization: Bearer abcdefghijklmnop",
    "assigned": 'api_key = "hunter2hunter2"',
    "said": "password: hunter2hunter2",
    "variable": "export DB_PASSWORD=hunter2hunter2",
    "json": '{"client_secret": "hunter2hunter2"}',
    "address": "https://me:hunter2hunter2@localhost/x",
    "private": "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
}
TELLTALES = ("hunter2", "abcdefghijkl", "MIIB", "c2ln", "ABCDEFGH")
PLAIN = (
    "The token ring was built in 1984; its secret was simple. Ask for the basic plan at https://example.org/a@b. "
    "Secretary: Ada Brook. Secret: always verify the date. Tokens: three. mem_0123456789abcdef0123456789abcdef"
)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_a_secret_is_replaced_and_the_words_around_it_stay(secret: str) -> None:
    clean = redact(f"before {secret} after")
    assert "[redacted]" in clean
    assert clean.startswith("before ")
    assert not any(one in clean for one in TELLTALES)


def test_plain_words_stay() -> None:
    assert redact(PLAIN) == PLAIN


def test_a_step_is_redacted_however_deep_the_secret_stands() -> None:
    passage = Passage(id="p1", title="T", text=SECRETS["key"])
    step = Step(tool="search", query=SECRETS["said"], passages=(passage,), observation="fine")
    clean = without_secrets(step)
    assert clean.passages[0].text == "[redacted]"
    assert clean.passages[0].id == "p1"
    assert clean.query == "password: [redacted]"
    assert without_secrets(Question(text="plain")) == Question(text="plain")


@pytest.mark.slow
@pytest.mark.parametrize(
    "part",
    ["a.", "sk-", "eyJa-", "a://", "token", "api_key", "bearer ", "password: '", "-----BEGIN PRIVATE KEY", "x=" * 9],
)
def test_hostile_text_costs_no_more_than_in_proportion_to_its_length(part: str) -> None:
    def cost(size: int) -> float:
        text = (part * size)[:size]
        began = time.process_time()
        redact(text)
        return time.process_time() - began

    cost(1000)
    small, large = min(cost(20_000) for _ in range(3)), cost(320_000)
    assert large < 0.05 + 64 * small  # quadratic work would be 256 times as much


def test_the_hooks_read_the_same_definition() -> None:
    ours = (ROOT / "mia_skill/core/secrets.json").read_bytes()
    assert (ROOT / "integrations/openclaw/secrets.json").read_bytes() == ours


def test_the_hooks_replace_the_same_words(node: str) -> None:
    texts = [*(f"before {one} after" for one in SECRETS.values()), PLAIN]
    script = (
        f"import {{ redact }} from {orjson.dumps((ROOT / 'integrations/openclaw/text.js').as_uri()).decode()};"
        f"console.log(JSON.stringify({orjson.dumps(texts).decode()}.map(redact)))"
    )
    done = subprocess.run(
        [node, "--input-type=module", "--eval", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert orjson.loads(done.stdout) == [redact(one) for one in texts]


def everything_under(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


async def test_nothing_that_memory_store_or_feedback_is_given_leaves_a_secret_on_disk(tmp_path: Path) -> None:
    async with Client(build_server(MiaConfig(home=tmp_path, memory=MemoryConfig(embedder="hash")))) as client:
        for number, secret in enumerate(SECRETS.values()):
            kept = await client.call_tool(
                "memory_store",
                {
                    "question": f"How is mill number {number} reached with {secret} in hand?",
                    "answer": f"by ferry {secret}",
                    "plan": f"1. ask {secret}",
                    "steps": [{"query": f"ferry {secret}", "found": f"by ferry, {secret}", "thought": secret}],
                    "outcome": "correct",
                },
            )
            assert not kept.is_error
            assert kept.structured_content is not None
            (unit,) = kept.structured_content["ids"]
            rated = await client.call_tool("memory_feedback", {"id": unit, "good": True, "note": f"with {secret}"})
            assert not rated.is_error
            whole = await client.call_tool("memory_show", {"id": unit})
            assert "[redacted]" in str(whole.structured_content)
    disk = everything_under(tmp_path)
    assert b"mill number" in disk
    assert [one for one in TELLTALES if one.encode() in disk] == []
