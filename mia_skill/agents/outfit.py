"""What one episode is given beside its question: the Executor with its tools, and the words for its image."""

from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from mia_skill.agents.executor import Executor
from mia_skill.agents.explore import AgentStudent, routed
from mia_skill.agents.ledger import Ledger
from mia_skill.agents.manager import Manager
from mia_skill.agents.planner import Planner
from mia_skill.agents.router import Router
from mia_skill.agents.stream import Record, Stream
from mia_skill.agents.tools import AgentTool, ImageTool, VisitTool
from mia_skill.core.config import Role
from mia_skill.core.errors import ConfigError, InputError
from mia_skill.core.types import Modality, Passage, Question, Usage
from mia_skill.core.verdict import Case, Verdict

if TYPE_CHECKING:
    from mia_skill.agents.mia import Mia
    from retrieval.images import ImageQuery

__all__ = ["captioned", "executor_for", "need", "stream_for", "tools_for"]


async def captioned(manager: Manager, question: Question, image: "ImageQuery | None") -> tuple[Question, Usage]:
    """The question with what its image shows, in the manager's words where it brings none.

    Raises:
        ModelError: there is no caption.
    """
    if image is None:
        return question, Usage()
    caption, usage = question.caption, Usage()
    if caption is None and image.picture is not None:
        caption, usage = await manager.caption(image.picture)
    return question.model_copy(update={"caption": caption, "modality": Modality.IMAGE}), usage


def executor_for(mia: "Mia", question: Question, image: "ImageQuery | None" = None, *, notes: str = "") -> Executor:
    """The configured Executor, for one episode.

    Raises:
        ConfigError, InputError: it has no model, or nothing to search.
    """
    need(mia, "carrying a plan out", "executor")
    endpoint = mia.config.models.of("executor")
    return Executor(
        model=mia.models["executor"],
        finder=mia.sources.pick("auto"),
        k=mia.config.search.k,
        tools=tools_for(mia, question, image),
        notes=notes,
        room=endpoint.room if endpoint else None,
    )


def tools_for(mia: "Mia", question: Question, image: "ImageQuery | None") -> tuple[AgentTool, ...]:
    """What the Executor of one episode may call besides `search`."""
    used = Ledger()  # once per episode: an episode has its own count, whatever was asked before

    async def opened(what: str, start: int) -> tuple[Passage, ...]:
        return (await mia.visit(what, question=question.text, start=start)).passages

    async def looked() -> tuple[Passage, ...]:
        if image is None:
            raise InputError("this question has no image")
        with used.once("image_search", question.text) if mia.config.images.once else nullcontext():
            return await mia.sources.similar(image, mia.config.images.k)

    offered = mia.sources.opens and mia.config.visit.mode != "off"
    tools: list[AgentTool] = [VisitTool(opened)] if offered else []
    if image is not None and mia.sources.images is not None:
        tools.append(ImageTool(looked))
    return tuple(tools)


def stream_for(mia: "Mia", record: Record, width: int, namespace: str | None, parallel: int) -> Stream:
    """The configured agents, over a stream of questions; `parallel` plans are carried out at once.

    Raises:
        ConfigError: a model is missing.
    """
    need(mia, "exploring", "planner", "executor", "router")
    student = AgentStudent(
        planner=Planner(mia.models["planner"]),
        executor=partial(executor_for, mia),
        manager=mia.manager,
        limits=mia.config.budget,
    )

    async def judge(_question: Question, case: Case) -> Verdict:
        return await mia.verdict(case)

    return Stream(
        manager=mia.manager,
        student=student,
        judge=judge,
        pick=routed(Router(mia.models["router"])),
        query=partial(mia.query, namespace=namespace),
        record=record,
        width=width,
        namespace=namespace or mia.config.memory.namespace,
        parallel=parallel,
    )


def need(mia: "Mia", what: str, *roles: Role) -> None:
    """Raises: ConfigError: a role that `what` needs has no model; the message names all that are missing."""
    missing = [role for role in roles if role not in mia.models]
    if missing:
        raise ConfigError(
            f"{what} needs a model for {' and '.join(missing)}: set models.default.base_url and "
            "models.default.model (MIA_MODELS__DEFAULT__BASE_URL, MIA_MODELS__DEFAULT__MODEL)"
        )
