"""LoRA adapters: whole folders, and a swap that keeps the old one served when the new one cannot be loaded."""

from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from mia_skill.core.errors import InputError, ModelReplyError
from training.adapter import AdapterSwap, write_adapter

NAME = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def test_an_adapter_is_in_the_safetensors_form_and_is_never_written_over(tmp_path: Path) -> None:
    numbers = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_adapter(tmp_path / "a", {NAME: numbers}, rank=2, alpha=4, base="m")
    body = (tmp_path / "a" / "adapter_model.safetensors").read_bytes()
    length = int.from_bytes(body[:8], "little")
    entry = orjson.loads(body[8 : 8 + length])[NAME]
    assert (entry["shape"], entry["data_offsets"], length % 8) == ([2, 3], [0, 24], 0)
    assert np.frombuffer(body[8 + length :], dtype="<f4").tolist() == [0, 1, 2, 3, 4, 5]
    assert orjson.loads((tmp_path / "a" / "adapter_config.json").read_bytes())["target_modules"] == ["q_proj"]
    for place, value in (("a", numbers), ("b", numbers * np.nan)):
        with pytest.raises(InputError):
            write_adapter(tmp_path / place, {NAME: value}, rank=2, alpha=4, base="m")
    assert not (tmp_path / "b").exists()


async def test_namespaces_have_their_own_adapters_and_a_failed_load_keeps_the_old_one(tmp_path: Path) -> None:
    calls: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        name = orjson.loads(request.content)["lora_name"]
        calls.append((request.url.path.rpartition("/")[2], name))
        return httpx.Response(400 if name.endswith("v9") else 200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://127.0.0.1") as client:
        swap = AdapterSwap(client, "mia")
        assert swap.model("ann") == "mia"
        names = [await swap.swap("ann", version, tmp_path) for version in (1, 2, 3)]
        other = await swap.swap("a/nn", 1, tmp_path)
        assert (swap.model("ann"), swap.model("a/nn")) == (names[2], other)
        assert [name for verb, name in calls if verb == "unload_lora_adapter"] == names[:1]
        with pytest.raises(ModelReplyError):
            await swap.swap("ann", 9, tmp_path)
        assert swap.model("ann") == names[2]
