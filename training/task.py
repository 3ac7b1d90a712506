"""What a rollout works on: a question with its gold answer, and what was collected for it in advance."""

from collections.abc import Sequence
from dataclasses import dataclass

from mia_skill.core.types import Outcome, Passage, Question, Value
from mia_skill.core.verdict import Case, Label, MemoryAdvice, Verdict
from retrieval.bank import Recall
from retrieval.lexical import LexicalIndex
from retrieval.search import checked
from retrieval.world import World, WorldQuestion, build_world
from trust.reference import exact_match

__all__ = ["GoldJudge", "Task", "WorldShelf", "plan_steps", "world_tasks"]

EASY_KINDS = ("chain", "numeric")
"""Shapes whose answer stands in a page; comparisons and yes-no questions can be guessed half of the time."""


class Task(Value):
    """One question of the training or test set."""

    question: Question
    gold: tuple[str, ...]
    """Any of them is right."""
    corpus: str = ""
    """Where it is answered: `world:SEED:SIZE`, or the address of a `/retrieve` service."""
    plan: tuple[str, ...] = ()
    """The initial plan, for stage 1."""
    recall: Recall = Recall()
    """The memories, collected in advance as the original does (spec section 11)."""
    hops: int = 1
    shape: str = ""
    group: str = ""
    """Its name among its rollouts; the question's id when empty."""

    @property
    def name(self) -> str:
        return self.group or self.question.id or self.question.text


@dataclass(frozen=True)
class GoldJudge:
    """Right is what equals a gold answer. Needs no model, so it never abstains."""

    gold: tuple[str, ...]

    async def __call__(self, case: Case, /) -> Verdict:
        right = exact_match(case.answer, self.gold)
        label, outcome = (Label.CORRECT, Outcome.CORRECT) if right else (Label.INCORRECT, Outcome.INCORRECT)
        advice = MemoryAdvice(store="yes", outcome=outcome, trust=1.0)
        return Verdict(label=label, p_correct=float(right), memory_advice=advice, backend="gold")


class WorldShelf:
    """The pages of one world, searched in memory (a `Finder`)."""

    name = "corpus"

    def __init__(self, world: World) -> None:
        self._passages = tuple(Passage(id=page.id, title=page.title, text=page.text) for page in world.pages)
        self._index = LexicalIndex.open(self._passages, "", None)

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """At most `k` pages.

        Raises:
            InputError: the query is empty or too long.
        """
        return tuple(self._passages[place] for place, _ in self._index.rank(checked(query, k), k))


def plan_steps(question: WorldQuestion) -> tuple[str, ...]:
    """The world's own plan for a question: its workflow, starting from the name that the question gives."""
    steps = [line.partition(" (")[0] for line in question.workflow]
    start = question.entities[0]
    kind = question.shape.partition("-")[0]
    first = steps[0].removesuffix(f"the {kind}") + start
    return (first, *(f"{step} found in step {number}" for number, step in enumerate(steps[1:], 1)))


def world_tasks(
    seed: int, size: int, *, hops: Sequence[int] = (1, 2), limit: int | None = None
) -> tuple[tuple[Task, ...], tuple[WorldQuestion, ...], World]:
    """The chain questions of one world, with the world's own plans, in the world's (random) order."""
    world = build_world(seed, size)
    chosen = [one for one in world.questions if one.kind in EASY_KINDS and one.hops in hops][:limit]
    tasks = tuple(
        Task(
            question=Question(text=one.text, id=f"w{seed}.{size}.{one.id}", category=one.shape),
            gold=(one.answer, *one.aliases),
            corpus=f"world:{seed}:{size}",
            plan=plan_steps(one),
            hops=one.hops,
            shape=one.shape,
        )
        for one in chosen
    )
    return tasks, tuple(chosen), world
