"""`ServerSampler`: veRL's rollout server as the `Sampler` of a `TokenPolicy`. Token ids in, token ids out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol
from uuid import uuid4

from mia_skill.core.errors import ModelReplyError
from training.policy import Finish, Renderer, Sampled

__all__ = ["Server", "ServerSampler"]

STOP_TOKENS = 16
"""A stop string ends within the last so many tokens."""


class Server(Protocol):
    """The part of veRL's `LLMServerClient` that is used here."""

    async def generate(
        self, request_id: str, *, prompt_ids: list[int], sampling_params: dict[str, Any], **more: Any
    ) -> Any: ...


@dataclass
class ServerSampler:
    """One rollout's way to the server. `sampling` is what veRL asks for: top_p, log-probs, ..."""

    server: Server
    renderer: Renderer
    sampling: Mapping[str, Any]
    ends: Collection[int]
    """Special tokens that end a reply."""
    request_id: str = field(default_factory=lambda: uuid4().hex)
    """The same for all calls of a rollout: one server keeps its prefix."""
    versions: list[int] = field(default_factory=list)
    """Of the policies that wrote, as the server counts them."""
    seconds: float = 0.0
    preempted: int = 0

    async def generate(
        self, prompt_ids: Sequence[int], *, temperature: float, max_tokens: int, stop: Sequence[str]
    ) -> Sampled:
        """At most `max_tokens` ids.

        Raises:
            ModelReplyError: the server gave up the request, or gave no log-probabilities.
        """
        asked = {**self.sampling, "temperature": temperature, "max_tokens": max_tokens}
        if stop:
            asked |= {"stop": list(stop), "include_stop_str_in_output": True}
        began = perf_counter()
        made = await self.server.generate(self.request_id, prompt_ids=list(prompt_ids), sampling_params=asked)
        self.seconds += perf_counter() - began
        ids = tuple(int(one) for one in made.token_ids)
        if made.stop_reason == "aborted" or not ids:
            raise ModelReplyError(f"the rollout server gave up a request ({made.stop_reason})", raw="")
        if self.sampling.get("logprobs") and (made.log_probs is None or len(made.log_probs) != len(ids)):
            raise ModelReplyError("the rollout server gave no log-probabilities: set calculate_log_probs", raw="")
        self._remember(made)
        logprobs = tuple(float(one) for one in made.log_probs or (0.0,) * len(ids))
        return Sampled(ids, logprobs, self._finish(ids, max_tokens, stop))

    def _finish(self, ids: Sequence[int], most: int, stop: Sequence[str]) -> Finish:
        """veRL calls a reply that ran into its limit "completed" too."""
        if ids[-1] in self.ends:
            return "stop"
        tail = self.renderer.decode(ids[-STOP_TOKENS:])
        if any(one in tail for one in stop):
            return "stop"
        return "length" if len(ids) >= most else "stop"

    def _remember(self, made: Any) -> None:
        more = made.extra_fields or {}
        step = more.get("global_steps")
        for name in ("min_global_steps", "max_global_steps"):
            version = more.get(name, step)
            if version is not None:
                self.versions.append(int(version))
        self.preempted += max(0, made.num_preempted or 0)
