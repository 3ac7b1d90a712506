"""The test-time service (spec section 11): the Executor's routes, and runs that are buffered, picked, consolidated."""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated

import anyio
import anyio.to_thread
from pydantic import Field, JsonValue

from mcp_server.rest_executor import executor_routes
from mcp_server.rest_forms import Asking, Chat, Named, Saving, Taken
from mcp_server.rest_memory import MemoryDesk, run_of
from mia_skill.agents.mia import Mia
from mia_skill.agents.planner import plan_messages
from mia_skill.agents.router import Router
from mia_skill.core.asgi import Refusal
from mia_skill.core.errors import ConfigError, InputError
from mia_skill.core.json_service import JsonService, Route
from mia_skill.core.types import Outcome, Plan

__all__ = ["ttl_service"]

MOST_RUNS = 4096
MOST_PICTURES = 1000


class Buffering(Saving):
    """A run of one plan of a question, judged or not."""

    slow_plan: str = ""
    temp_messages: list[Chat] = Field(default=[])


class Pictures(Taken):
    """Images of a question."""

    data_id: str | int
    images: list[JsonValue] = Field(max_length=64)


class Entries(Taken):
    """Images of several questions."""

    entries: Annotated[list[Pictures], Field(max_length=256)]


@dataclass
class Desk:
    """Buffers runs by question. Two clients never consolidate a run twice."""

    mia: Mia
    runs: OrderedDict[str, list[Buffering]] = field(default_factory=OrderedDict)
    pictures: OrderedDict[str, int] = field(default_factory=OrderedDict)
    lock: anyio.Lock = field(default_factory=anyio.Lock)

    async def memory(self, given: Asking) -> dict[str, object]:
        """The planning prompt with memories in it, and which they are."""
        recall = await self.mia.recall(given.asked)
        prompt = plan_messages(given.asked, recall)[0].content
        return {"prompt": prompt, "indices": [hit.unit.id for hit in recall.hits]}

    async def buffer(self, given: Buffering) -> dict[str, object]:
        """Keep a run until its batch is consolidated. The same run again is known."""
        if sum(map(len, self.runs.values())) >= MOST_RUNS:
            raise Refusal(429, f"{MOST_RUNS} runs wait: consolidate them first", 5)
        given = given.model_copy(update={"messages": given.messages or given.temp_messages})
        waiting = self.runs.setdefault(f"{given.data_id} {given.question}", [])
        known = given in waiting
        if not known:
            waiting.append(given)
        return {"status": "duplicate" if known else "success", "buffered": sum(map(len, self.runs.values()))}

    async def evaluate(self, _given: object) -> dict[str, object]:
        """One plan per buffered question. Whoever picks sees plans and pairs of earlier questions, never judgements."""
        model = self.mia.models.get("router") or self.mia.models.get("planner")
        if model is None:
            raise ConfigError("picking a plan needs a model: set models.default.base_url and models.default.model")
        results = []
        for runs in list(self.runs.values()):
            question = runs[0].asked
            plans = [Plan(steps=(run.plan or run.slow_plan or "(no plan)",)) for run in runs]
            pairs = await anyio.to_thread.run_sync(self.mia.bank.similar_pairs, question.text)
            index = (await Router(model).choose(question, plans, pairs))[0] if len(plans) > 1 else 0
            results.append({"data_id": runs[0].data_id, "selected": index, "plan": runs[index].plan})
        return {"status": "success", "results": results}

    async def consolidate(self, _given: object) -> dict[str, object]:
        """The shortest success and one failure of every question, in a transaction each. Where the bank fails, that
        question and those after it stay buffered."""
        good = bad = 0
        async with self.lock:
            for key, waiting in list(self.runs.items()):
                runs = tuple(waiting)  # more may come while these are stored
                made = [run_of(run, self.mia.config.memory.namespace) for run in runs]
                judged = [run for run in made if run.outcome is not None and run.trajectory.steps]
                if judged:
                    try:
                        await self.mia.manager.consolidate(judged)
                    except InputError:
                        judged = []
                outcomes = {run.outcome for run in judged}
                good, bad = good + (Outcome.CORRECT in outcomes), bad + (Outcome.INCORRECT in outcomes)
                rest = self.runs[key][len(runs) :]
                if rest:
                    self.runs[key] = rest
                else:
                    del self.runs[key]
        return {"status": "success", "saved_positives": good, "saved_negatives": bad}

    async def register_images(self, given: Entries) -> dict[str, object]:
        """Take note of images; the oldest are forgotten."""
        for one in given.entries:
            self.pictures[str(one.data_id)] = len(one.images)
        while len(self.pictures) > MOST_PICTURES:
            self.pictures.popitem(last=False)
        return {"status": "success", "registered": len(given.entries)}

    async def health(self, _none: object) -> dict[str, object]:
        """What waits."""
        return {"status": "ok", "buffered": sum(map(len, self.runs.values())), "images": len(self.pictures)}


def ttl_service(mia: Mia, hosts: Collection[str] | None = None) -> JsonService:
    """The application."""
    desk, kept = Desk(mia), MemoryDesk(mia)
    nothing = dict[str, JsonValue]
    routes = (
        *executor_routes(mia),
        Route("POST", "/memory", desk.memory, Asking, "the planning prompt of a question"),
        Route("POST", "/memory_bank_save", desk.buffer, Buffering, "buffer a run"),
        Route("POST", "/batch_evaluate", desk.evaluate, nothing, "pick a plan per buffered question"),
        Route("POST", "/consolidate_memories", desk.consolidate, nothing, "learn from what is buffered"),
        Route("POST", "/save_memory", kept.save, Named, "write the memory to a named file"),
        Route("POST", "/streaming/register_images", desk.register_images, Entries, "images of questions"),
        Route("GET", "/streaming/health", desk.health, about="what waits"),
    )
    return JsonService("MIA test-time service", routes, hosts=hosts)
