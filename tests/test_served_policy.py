"""A policy that vLLM serves: ids in, ids out, adapters told by name, and a server that was started anew."""

from collections.abc import Callable
from pathlib import Path

import httpx
import orjson
import pytest
from test_token_policy import renderer

from mia_skill.core.errors import ModelReplyError, ModelStatusError, TrainingError
from training.adapter import AdapterPool, write_adapter
from training.groups import Group, Rollout, Tokens
from training.replies import played_of
from training.served import ServedPolicy, VllmSampler, digest_of


class Vllm:
    """The routes of a vLLM server that are used here."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}
        self.calls: list[str] = []
        self.reply: Callable[[], dict[str, object]] = lambda: {
            "token_ids": renderer().encode("yes"),
            "logprobs": {"token_logprobs": [-0.5, -0.25, -0.125]},
            "finish_reason": "stop",
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path, body = request.url.path.rpartition("/")[2], orjson.loads(request.content)
        self.calls.append(path)
        if path == "load_lora_adapter":
            if body["lora_name"] in self.known:
                return httpx.Response(400, text="The lora adapter has already been loaded.")
            self.known[body["lora_name"]] = body["lora_path"]
            return httpx.Response(200)
        if path == "unload_lora_adapter":
            return httpx.Response(200 if self.known.pop(body["lora_name"], None) else 404)
        if body["model"] not in (*self.known, "mia"):
            return httpx.Response(404, text="no such model")
        return httpx.Response(200, json={"choices": [self.reply()]})

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self), base_url="http://127.0.0.1")


def adapter(folder: Path, value: float) -> Path:
    import numpy as np

    name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    write_adapter(folder, {name: np.full((1, 2), value, np.float32)}, rank=1, alpha=2, base="m")
    return folder


async def test_replies_keep_the_tokens_and_log_probabilities_of_the_server(tmp_path: Path) -> None:
    server = Vllm()
    async with server.client() as client:
        policy = ServedPolicy(AdapterPool(client), renderer(), "mia")
        (made, _) = await policy.sample("Is it?", 2)
    (talk,) = made.tokens
    assert made.text == "yes"
    assert [own for own in talk.mask if own] == [True] * 3
    assert talk.logprobs[-3:] == (-0.5, -0.25, -0.125)


async def test_an_adapter_is_loaded_before_it_is_asked_and_again_after_the_server_was_started_anew(
    tmp_path: Path,
) -> None:
    server, folder = Vllm(), adapter(tmp_path / "a", 1.0)
    async with server.client() as client:
        policy = ServedPolicy(AdapterPool(client), renderer(), digest_of(folder, "ann"), folder)
        await policy.sample("?", 1)
        await policy.sample("?", 1)
        assert server.calls.count("load_lora_adapter") == 1
        server.known.clear()
        assert (await policy.sample("?", 1))[0].text == "yes"
        assert server.calls.count("load_lora_adapter") == 2


async def test_the_adapter_asked_for_longest_ago_is_given_back_and_an_old_path_is_replaced(tmp_path: Path) -> None:
    server = Vllm()
    server.known["b"] = "/gone"
    async with server.client() as client:
        pool = AdapterPool(client, most=2)
        for name in ("a", "b", "a", "c"):
            await pool.hold(name, tmp_path / name)
    assert set(server.known) == {"a", "c"}
    assert "/gone" not in server.known.values()


def test_a_name_is_of_namespace_and_weights(tmp_path: Path) -> None:
    one, two = adapter(tmp_path / "one", 1.0), adapter(tmp_path / "two", 2.0)
    names = {digest_of(one, "ann"), digest_of(two, "ann"), digest_of(one, "a/nn"), digest_of(one, "ann")}
    assert len(names) == 3


@pytest.mark.parametrize(
    "reply",
    [
        {"text": "yes"},
        {"token_ids": [1, 2], "logprobs": {"token_logprobs": [-1.0]}, "finish_reason": "stop"},
        {"token_ids": [1], "logprobs": {"token_logprobs": [None]}, "finish_reason": "stop"},
    ],
)
async def test_a_server_that_keeps_ids_to_itself_is_an_error_and_no_sample(reply: dict[str, object]) -> None:
    server = Vllm()
    server.reply = lambda: reply
    async with server.client() as client:
        with pytest.raises(ModelReplyError):
            await VllmSampler(client, "mia").generate([1], temperature=1.0, max_tokens=9, stop=())
        with pytest.raises(ModelStatusError):
            await VllmSampler(client, "other").generate([1], temperature=1.0, max_tokens=9, stop=())


def test_only_what_was_sampled_can_be_learnt_from() -> None:
    talk = Tokens(ids=(1, 2), mask=(False, True), logprobs=(0.0, -1.0))
    good = Group(key="k", prompt="?", rollouts=(Rollout(text="a", reward=1.0, tokens=(talk,)), Rollout(text="b")))
    assert played_of([good])[0][0].conversations[0].written == 1
    with pytest.raises(TrainingError, match="without tokens"):
        played_of([Group(key="k", prompt="?", rollouts=(Rollout(text="a", reward=1.0),))])
