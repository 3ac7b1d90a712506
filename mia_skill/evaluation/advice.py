"""What a method gives an agent before it answers, and what the agent hands back."""

from pydantic import Field

from mia_skill.core.types import MemoryUnit, Outcome, Question, Text, Trajectory, Usage, Value
from retrieval.bank import Hit, Recall

__all__ = ["Advice", "Attempt", "Done", "Procedure", "recall_of"]


class Procedure(Value):
    """A remembered way to answer a question, for an agent that reads procedures and not prose."""

    question: Text
    steps: tuple[Text, ...]


class Advice(Value):
    """How a question is to be gone about."""

    planned: bool = False
    """A Planner writes a plan, with `recall` in view. Else the Executor starts at once."""
    replan: bool = False
    """The Planner may change its plan once."""
    recall: Recall = Recall()
    notes: Text = ""
    """Memories that the Executor itself is shown."""
    procedures: tuple[Procedure, ...] = ()
    """The ways to success in `recall` or `notes`, most fitting first."""
    shown: tuple[str, ...] = ()
    """Ids of what was shown."""
    usage: Usage = Usage()


class Attempt(Value):
    """One answer and the way to it."""

    trajectory: Trajectory
    plan: Text = ""
    first_answer: Text = ""
    """Before the replan."""
    replanned: bool = False
    followed: bool = False
    """The answer came by following a remembered procedure: known of the agent without a model only."""
    question: Question
    """As it was asked, with its caption."""
    usage: Usage = Usage()
    model_seconds: float = Field(default=0.0, ge=0)
    """Of the usage's seconds: waiting for models, their queue included."""
    tool_seconds: float = Field(default=0.0, ge=0)
    """Of the usage's seconds: waiting for searches and other tools."""
    prompts: dict[str, str] = Field(default_factory=dict)


class Done(Value):
    """A finished attempt with what its method was told about it."""

    attempt: Attempt
    outcome: Outcome | None
    """None: nobody could say. Never means wrong."""
    shown: tuple[str, ...] = ()
    judged_by: str = "gold"


def recall_of(units: tuple[MemoryUnit, ...], note: str = "") -> Recall:
    """Units as the Planner is shown them."""
    hits = tuple(Hit(unit=unit, score=1, similarity=1, value=0, rarity=1, why="similar") for unit in units)
    return Recall(
        successes=tuple(hit for hit in hits if hit.unit.outcome is Outcome.CORRECT),
        failures=tuple(hit for hit in hits if hit.unit.outcome is Outcome.INCORRECT),
        considered=len(units),
        note=note or ("similar questions" if units else "no memory"),
    )
