"""The benchmark of the reviewers measures the calls that the product makes, and the published order beside them."""

import json

import httpx
import pytest

from benchmarks.reviewer_latency import ARMS, Server, measure, table
from mia_skill.core.chat import asked_schema
from trust.forms import ReviewForm

Body = dict[str, object]


class Scripted:
    """A model server that keeps what it was asked and writes nonsense, as one under `ignore_eos` does."""

    def __init__(self) -> None:
        self.bodies: list[Body] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(json.loads(request.content))
        usage = {"prompt_tokens": 10, "completion_tokens": 4}
        return httpx.Response(200, json={"choices": [{"message": {"content": "}{"}}], "usage": usage})


def text(body: Body) -> str:
    messages = body["messages"]
    assert isinstance(messages, list)
    return str(messages[0]["content"])


async def asked(arm: str) -> list[Body]:
    """What one judgment of `arm` asks the server."""
    script = Scripted()
    async with httpx.AsyncClient(transport=httpx.MockTransport(script)) as client:
        rows = await measure(Server(client, "http://model/v1", "m", 4), 1, 1500, arms={arm: ARMS[arm]})
    assert list(rows[0]) == [arm]
    return script.bodies[1:]


@pytest.mark.parametrize(("arm", "calls"), [("ours", 3), ("ours with chair", 4), ("ours, one by one", 3)])
async def test_our_arms_ask_what_the_panel_asks_over_one_prefix(arm: str, calls: int) -> None:
    bodies = await asked(arm)
    assert len(bodies) == calls
    for body in bodies[:3]:
        assert json.dumps(asked_schema(ReviewForm)) in json.dumps(body["response_format"])
    evidence = text(bodies[0]).partition("You are the reviewer of")[0]
    assert all(text(body).startswith(evidence) for body in bodies)
    assert len({text(body) for body in bodies}) == calls


async def test_a_broken_prefix_shares_nothing_from_the_first_line_on() -> None:
    assert len({text(body).partition("\n")[0] for body in await asked("ours, prefix broken")}) == 3


async def test_the_published_order_asks_four_times_and_puts_its_instructions_first() -> None:
    bodies = await asked("published")
    assert [("Trajectory:" in text(body)) for body in bodies] == [True, True, False, True]
    assert not any("response_format" in body for body in bodies)


def test_the_table_tells_how_many_times_as_fast_each_arm_was() -> None:
    lines = table([{name: 2.0 if name == "published" else 1.0 for name in ARMS}] * 3)
    assert [line for line in lines if "2.00x as fast" in line] == lines[1:]
