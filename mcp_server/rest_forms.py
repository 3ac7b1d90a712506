"""What clients of the published services send (spec section 11). Unknown fields are passed over, as there."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mia_skill.agents.talk import shown
from mia_skill.core.errors import InputError, ToolCallError
from mia_skill.core.toolformat import Turn, parse_turn, render_result, render_turn
from mia_skill.core.types import Modality, Outcome, Question, Step, Text, Trajectory

__all__ = ["Asking", "Batch", "Chat", "Judgement", "Named", "Names", "Reflecting", "Saving", "chat_of", "place_of"]
__all__ += ["steps_of_chat"]

Names = Annotated[list[Annotated[str, Field(max_length=200)]], Field(max_length=200)]
Batch = 256
"""Items of one request."""


class Taken(BaseModel):
    """Base of all of them."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Chat(Taken):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: Text = ""


def joined(value: object) -> object:
    """A caption that comes as a list of texts, as one; an empty one is none."""
    if isinstance(value, list):
        value = " ".join(str(one) for one in value)
    return value or None


Caption = Annotated[Text | None, BeforeValidator(joined)]


class Asking(Taken):
    """A question to plan for."""

    question: Text = Field(min_length=1)
    image_caption: Caption = None
    data_id: str | int | None = None
    mem_top_k: int = Field(default=2, ge=0, le=20)
    pass_num: int = Field(default=0, ge=0)
    past_messages: list[Chat] = []

    @property
    def asked(self) -> Question:
        """It, as our agents take it."""
        modality = Modality.IMAGE if self.image_caption else Modality.TEXT
        id_ = None if self.data_id is None else str(self.data_id)
        return Question(text=self.question, caption=self.image_caption, modality=modality, id=id_)


class Reflecting(Taken):
    """A run to think about."""

    workflow: Text
    past_messages: list[Chat] = []
    memory_indices: Names = []


def outcome_of(value: Any) -> Any:
    """A judgement in the words of the published clients. Anything else is refused, never guessed."""
    told = str(value).strip().casefold() if isinstance(value, str | int | bool) else value
    if told in ("correct", "true", "1", "a", "yes"):
        return Outcome.CORRECT
    if told in ("incorrect", "false", "0", "b", "no"):
        return Outcome.INCORRECT
    if told in (None, "", "none", "abstain", "unknown"):
        return None
    raise ValueError("a judgement is correct, incorrect or unknown")


Judgement = Annotated[Outcome | None, BeforeValidator(outcome_of)]


class Saving(Taken):
    """A run to remember."""

    question: Text = Field(min_length=1)
    data_id: str | int | None = None
    image_caption: Caption = None
    plan: Text = ""
    messages: list[Chat] = []
    judgement: Judgement = None
    used_memory_indices: Names = []

    @property
    def asked(self) -> Question:
        """Its question, as our agents take it."""
        return Asking(question=self.question, image_caption=self.image_caption, data_id=self.data_id).asked


class Named(Taken):
    """A file of memories, by name."""

    save_path: str = ""
    load_path: str = ""


def place_of(name: str, folder: Path) -> Path:
    """Where a memory file of that name lies.

    Raises:
        InputError: it has no name, or would leave the data folder.
    """
    base = folder.resolve()
    if not name.strip() or "\x00" in name or "\\" in name or len(name) > 200 or Path(name).is_absolute():
        raise InputError("save_path and load_path are names inside the data folder, e.g. memory.jsonl")
    place = (base / name).resolve()
    if place == base or not place.is_relative_to(base):
        raise InputError("save_path and load_path are names inside the data folder; this one would leave it")
    return place


def chat_of(prompt: str, run: Trajectory) -> list[dict[str, str]]:
    """A run as the conversation that made it."""
    from mia_skill.core.toolformat import ToolCall

    messages = [{"role": "user", "content": prompt}]
    for step in run.steps:
        call = ToolCall(name=step.tool, arguments={"query": step.query})
        messages.append({"role": "assistant", "content": render_turn(Turn(thought=step.thought, calls=(call,)))})
        messages.append({"role": "user", "content": render_result(shown(step))})
    if run.answer:
        messages.append({"role": "assistant", "content": render_turn(Turn(answer=run.answer))})
    return messages


def steps_of_chat(messages: list[Chat]) -> Trajectory:
    """The tool calls and the answer of a conversation; a turn that does not parse is no step."""
    steps: list[Step] = []
    answer = ""
    for position, message in enumerate(messages):
        if message.role != "assistant":
            continue
        try:
            turn = parse_turn(message.content)
        except ToolCallError:
            continue
        answer = turn.answer or answer
        after = messages[position + 1] if position + 1 < len(messages) else None
        back = after.content if after is not None and after.role in ("user", "tool") else ""
        body = back.removeprefix("<tool_response>\n").removesuffix("\n</tool_response>")
        for call in turn.calls[:1]:
            query = str(call.arguments.get("query", ""))
            steps.append(Step(thought=turn.thought, tool=call.name, query=query, observation=body))
    return Trajectory(steps=tuple(steps), answer=answer)
