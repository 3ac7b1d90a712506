"""What all rollouts of a process share: searches, the frozen agent, the judge, the way to tokens."""

import re
from dataclasses import dataclass, field

from mia_skill.agents.executor import Finder
from mia_skill.core.chat import ChatModel
from mia_skill.core.config import EndpointConfig
from mia_skill.core.errors import ConfigError
from mia_skill.core.openai_chat import OpenAIChat
from mia_skill.core.shown_address import shown_address
from retrieval.remote import RemoteCorpus
from retrieval.world import build_world
from training.onverl.render import Builder, renderer_for
from training.onverl.services import Patience, PatientChat, PatientFinder, ReferenceJudge
from training.onverl.settings import LoopSettings
from training.policy import Renderer, Tokenizer
from training.task import GoldJudge, Task, WorldShelf
from trust.reference import Grader

__all__ = ["Staff"]

WORLD = re.compile(r"world:(\d+):(\d+)")


@dataclass
class Staff:
    """Made once for the settings of a run."""

    settings: LoopSettings
    _finders: dict[str, Finder] = field(default_factory=dict, repr=False)
    _chats: dict[EndpointConfig, ChatModel] = field(default_factory=dict, repr=False)
    _renderer: Renderer | None = field(default=None, repr=False)

    def renderer(self, tokenizer: Tokenizer, builder: Builder) -> Renderer:
        """How this process turns messages into tokens; tried once, since every rollout asks.

        Raises:
            TemplateError: template and tokenizer belong to different models.
        """
        if self._renderer is None or self._renderer.tokenizer is not tokenizer:
            self._renderer = renderer_for(tokenizer, builder)
        return self._renderer

    def finder(self, task: Task) -> Finder:
        """What the task searches.

        Raises:
            ConfigError: neither the settings nor the row name a place.
        """
        place = task.corpus if self.settings.search == "row" else self.settings.search
        if place not in self._finders:
            self._finders[place] = self._open(place)
        return self._finders[place]

    def other(self) -> ChatModel | None:
        """The frozen agent, where it has an endpoint of its own."""
        chosen = self.settings.other
        return self._chat(chosen) if isinstance(chosen, EndpointConfig) else None

    def judge(self, task: Task) -> GoldJudge | ReferenceJudge:
        """Who compares with the gold answer."""
        if self.settings.judge is None:
            return GoldJudge(task.gold)
        return ReferenceJudge(Grader(self._chat(self.settings.judge)), task.gold)

    def _open(self, place: str) -> Finder:
        if world := WORLD.fullmatch(place):
            return WorldShelf(build_world(int(world[1]), int(world[2])))
        if not place.startswith(("http://", "https://")):
            raise ConfigError(
                f"mia.search={self.settings.search} and the row's corpus is {place!r}: set mia.search to the address "
                "of a /retrieve service or to world:SEED:SIZE"
            )
        limits = self.settings.services
        corpus = RemoteCorpus(place, timeout_s=limits.call_s)
        return PatientFinder(corpus, Patience(f"the search service {place}", limits))

    def _chat(self, endpoint: EndpointConfig) -> ChatModel:
        if endpoint not in self._chats:
            limits = self.settings.services
            pooled = endpoint.model_copy(update={"max_connections": limits.calls, "max_retries": 0})
            slow = limits.model_copy(update={"call_s": endpoint.timeout_s})
            self._chats[endpoint] = PatientChat(
                OpenAIChat(pooled), Patience(f"the model at {shown_address(endpoint.base_url)}", slow)
            )
        return self._chats[endpoint]
