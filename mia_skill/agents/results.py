"""What the verbs of `Mia` answer with."""

from typing import Literal

from mia_skill.agents.planner import Replan
from mia_skill.core.brief import Brief
from mia_skill.core.types import Passage, Plan, Text, Usage, Value
from mia_skill.core.verdict import Verdict
from retrieval.bank import Recall
from trust.process import Signal

__all__ = ["Found", "Judged", "Planned", "QueryResult", "Replanned"]


class Planned(Value):
    """A plan, or the brief with which the host writes it."""

    status: Literal["plan", "brief"]
    recall: Recall
    plan: Plan | None = None
    brief: Brief | None = None
    warnings: tuple[Text, ...] = ()
    usage: Usage = Usage()


class Replanned(Value):
    """The Planner's decision about a run, or the brief with which the host decides."""

    status: Literal["decided", "brief"]
    signals: tuple[Signal, ...] = ()
    replan: Replan | None = None
    brief: Brief | None = None
    usage: Usage = Usage()


class Judged(Value):
    """A verdict; with a brief when a model's opinion could still refine it."""

    verdict: Verdict
    brief: Brief | None = None
    receipt: str = ""
    """With it, and with nothing else, the verdict's label can enter the bank."""


class QueryResult(Value):
    """What one query found. `error` is never an empty list in disguise."""

    query: Text
    passages: tuple[Passage, ...] = ()
    error: Text | None = None


class Found(Value):
    """Results of one search call, in the order of its queries."""

    source: str
    results: tuple[QueryResult, ...]
