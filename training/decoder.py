"""A Llama that only writes: static key-value cache, one CUDA graph per shape. For many replies at once.

A transformers model launches some 500 kernels a token from Python, and while a small model does so the GPU waits.
Here one step is captured once for each (rows, length) and replayed. Numbers are kept as the learner keeps them under
autocast (residual stream and logits in float32, products of bfloat16), so that both give a token the same probability.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mia_skill.core.errors import InputError
from mia_skill.core.script import missing

try:
    import torch
    from torch.nn.functional import embedding, linear, scaled_dot_product_attention, silu
except ImportError as cause:
    raise missing(cause, __name__, "'mia-skill[rl]'") from None

__all__ = ["GraphDecoder", "PlainDecoder", "logits_of"]

ROWS, LENGTHS = 64, 128
"""Shapes are rounded up to multiples of these, so that few graphs are captured."""
PREFILL = 131_072
"""Tokens of prompts that are read at once."""


def logits_of(states: Any, weights: Any, dtype: Any) -> Any:
    """Logits in float32 of factors that were rounded to `dtype`: bfloat16 logits near 20 are off by 0.06."""
    return linear(states.to(dtype).float(), weights.to(dtype).float())


class GraphDecoder:
    """Reads prompts, then gives logits token by token. Keeps its own copy of the weights: `load` refreshes it."""

    def __init__(self, config: Any, device: Any, *, rows: int, length: int) -> None:
        if config.model_type != "llama" or getattr(config, "attention_bias", False):
            raise InputError(f"the fast decoder knows Llama models only, not {config.model_type!r}: use `fast=False`")
        self.config, self.device, self.graphs = config, device, torch.device(device).type == "cuda"
        self.dtype = torch.bfloat16 if self.graphs else torch.float32
        self.rows, self.length = up(rows, ROWS), up(length, LENGTHS)
        self.heads, self.wide = config.num_key_value_heads, config.hidden_size // config.num_attention_heads
        shape = (2, config.num_hidden_layers, self.rows, self.heads, self.length, self.wide)
        self.cache = torch.zeros(shape, device=device, dtype=self.dtype)
        theta = config.rope_parameters["rope_theta"]
        turns = theta ** (-torch.arange(0, self.wide, 2, device=device).float() / self.wide)
        angles_TD = torch.arange(self.length, device=device).float()[:, None] * torch.cat([turns, turns])
        self.cos, self.sin = angles_TD.cos(), angles_TD.sin()
        self.weights: dict[str, Any] = {}
        self.captured: dict[tuple[int, int], Any] = {}
        # What a captured step reads and writes, at addresses that never change.
        self.token_B = torch.zeros(self.rows, device=device, dtype=torch.long)
        self.place_B = torch.zeros(self.rows, device=device, dtype=torch.long)
        self.active, self.span = 0, 0

    def load(self, weights: Mapping[str, Any]) -> None:
        """Take over a state dict: matrices in the decoder's type, norms in float32."""
        for name, value in weights.items():
            if name not in self.weights:
                dtype = torch.float32 if value.dim() == 1 else self.dtype
                self.weights[name] = torch.empty(value.shape, device=self.device, dtype=dtype)
            self.weights[name].copy_(value)
        self.weights.setdefault("lm_head.weight", self.weights["model.embed_tokens.weight"])

    @torch.no_grad()
    def start(self, prompts: Sequence[Sequence[int]], most: int) -> Any:
        """Read the prompts; the logits of each one's next token. `most` tokens may follow.

        Raises:
            InputError: more rows or tokens than the cache holds.
        """
        longest = max(map(len, prompts))
        self.active, self.span = len(prompts), up(longest + most, LENGTHS)
        if self.active > self.rows or self.span > self.length:
            told = f"{self.active} prompts of up to {longest} tokens do not fit {self.rows} rows of {self.length}"
            raise InputError(f"{told}: make the decoder larger")
        ids_BT = torch.zeros((len(prompts), longest), dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids_BT[row, : len(prompt)] = torch.tensor(prompt)
        ids_BT = ids_BT.to(self.device)
        length_B = torch.tensor([len(prompt) for prompt in prompts], device=self.device)
        self.place_B.zero_()
        self.place_B[: self.active] = length_B - 1
        at_once = max(1, PREFILL // longest)
        parts = []
        for low in range(0, self.active, at_once):
            rows = slice(low, min(low + at_once, self.active))
            row_B = torch.arange(rows.stop - low, device=self.device)
            parts.append(self._read(ids_BT[rows], rows)[row_B, length_B[rows] - 1])
        return logits_of(torch.cat(parts), self.weights["lm_head.weight"], self.dtype)

    @torch.no_grad()
    def step(self, token_B: Any) -> Any:
        """Logits after one more token of every row."""
        self.token_B[: self.active] = token_B
        self.place_B[: self.active] += 1
        rows = up(self.active, ROWS)
        if not self.graphs:
            return self._write(rows, self.span)[: self.active]
        if (rows, self.span) not in self.captured:
            self._write(rows, self.span)  # loads kernels, which a capture must not
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=next((one.pool() for one, _ in self.captured.values()), None)):
                logits = self._write(rows, self.span)
            self.captured[rows, self.span] = (graph, logits)
        graph, logits = self.captured[rows, self.span]
        graph.replay()
        return logits[: self.active]

    def _read(self, ids_BT: Any, rows: slice) -> Any:
        """States of whole prompts, which fill the cache. Padding stands at the right, where causality hides it."""
        length = ids_BT.shape[1]

        def attend(layer: int, query: Any, key: Any, value: Any) -> Any:
            self.cache[0, layer, rows, :, :length] = key
            self.cache[1, layer, rows, :, :length] = value
            return scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)

        return self._layers(ids_BT, self.cos[:length], self.sin[:length], attend)

    def _write(self, rows: int, span: int) -> Any:
        """One token of `rows` rows, looking back over at most `span`."""
        place_B = self.place_B[:rows]
        row_B = torch.arange(rows, device=self.device)
        seen_B11T = (torch.arange(span, device=self.device) <= place_B[:, None])[:, None, None]
        group = self.config.num_attention_heads // self.heads
        seen_BHGT = seen_B11T.expand(rows, self.heads, group, span)

        def attend(layer: int, query: Any, key: Any, value: Any) -> Any:
            self.cache[0, layer, row_B, :, place_B] = key[:, :, 0]
            self.cache[1, layer, row_B, :, place_B] = value[:, :, 0]
            keys, values = self.cache[0, layer, :rows, :, :span], self.cache[1, layer, :rows, :, :span]
            # The queries that share a key head stand in the place of its times: no key is copied.
            grouped = query.view(rows, self.heads, group, self.wide)
            mixed = scaled_dot_product_attention(grouped, keys, values, attn_mask=seen_BHGT)
            return mixed.reshape(rows, -1, 1, self.wide)

        turn = self.cos[place_B][:, None, None], self.sin[place_B][:, None, None]
        states_B1D = self._layers(self.token_B[:rows, None], *turn, attend)
        return logits_of(states_B1D[:, 0], self.weights["lm_head.weight"], self.dtype)

    def _layers(self, ids_BT: Any, cos: Any, sin: Any, attend: Any) -> Any:
        rows, length = ids_BT.shape
        weights = self.weights
        states = embedding(ids_BT, weights["model.embed_tokens.weight"]).float()
        for layer in range(self.config.num_hidden_layers):
            name = f"model.layers.{layer}"
            query, key, value = (
                linear(self._norm(states, f"{name}.input_layernorm"), weights[f"{name}.self_attn.{one}_proj.weight"])
                .view(rows, length, -1, self.wide)
                .transpose(1, 2)
                for one in "qkv"
            )
            query, key = (self._turned(one, cos, sin) for one in (query, key))
            mixed = attend(layer, query, key, value).transpose(1, 2).reshape(rows, length, -1)
            states = states + linear(mixed, weights[f"{name}.self_attn.o_proj.weight"])
            normed = self._norm(states, f"{name}.post_attention_layernorm")
            gate = silu(linear(normed, weights[f"{name}.mlp.gate_proj.weight"]))
            inner = gate * linear(normed, weights[f"{name}.mlp.up_proj.weight"])
            states = states + linear(inner, weights[f"{name}.mlp.down_proj.weight"])
        return self._norm(states, "model.norm")

    def _norm(self, states: Any, name: str) -> Any:
        scale = torch.rsqrt(states.pow(2).mean(-1, keepdim=True) + self.config.rms_norm_eps)
        return (states * scale * self.weights[f"{name}.weight"]).to(self.dtype)

    def _turned(self, heads: Any, cos: Any, sin: Any) -> Any:
        """Rotary positions."""
        left, right = heads.float().chunk(2, dim=-1)
        return (heads.float() * cos + torch.cat([-right, left], dim=-1) * sin).to(self.dtype)


class PlainDecoder:
    """Writes with a transformers model of any kind: read the prompts, then one token for every row at a time."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def load(self, weights: Mapping[str, Any]) -> None:
        self.model.load_state_dict(weights)

    def start(self, prompts: Sequence[Sequence[int]], most: int) -> Any:
        """Logits of the next token of each prompt; all prompts end at the right, so that all go on at one place."""
        longest = max(map(len, prompts))
        self.seen_BT = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
        self.seen_BT = self.seen_BT.to(self.model.device)
        self.cache = None
        self.place_BT = (self.seen_BT.cumsum(1) - 1).clamp(min=0)
        return self._forward(torch.tensor([[0] * (longest - len(one)) + list(one) for one in prompts]))

    def step(self, token_B: Any) -> Any:
        """Logits after one more token of every row."""
        self.seen_BT = torch.cat([self.seen_BT, self.seen_BT.new_ones(len(token_B), 1)], 1)
        self.place_BT = self.place_BT[:, -1:] + 1
        return self._forward(token_B[:, None])

    @torch.no_grad()
    def _forward(self, ids_BT: Any) -> Any:
        out = self.model(
            input_ids=ids_BT.to(self.model.device), attention_mask=self.seen_BT, position_ids=self.place_BT,
            past_key_values=self.cache, use_cache=True, logits_to_keep=1,
        )  # fmt: skip
        self.cache = out.past_key_values
        return out.logits[:, -1].float()


def up(number: int, step: int) -> int:
    return -(-number // step) * step
