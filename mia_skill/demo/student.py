"""The world's deterministic agent as a student of test-time learning: it plans from memory and by exploring."""

from dataclasses import dataclass

import anyio.to_thread

from mia_skill.agents.explorer import Explorer, Work, follow
from mia_skill.agents.reader import same_shape
from mia_skill.core.types import Passage, Plan, Question, Step, StopReason, Trajectory
from mia_skill.core.verdict import Case, Label
from mia_skill.demo.host import EXPLORE
from retrieval.bank import Recall
from retrieval.search import SearchEngine
from trust.evidence import examine

__all__ = ["WorldStudent"]

BUDGETS = (3, 4, 6, 8)
"""Searches that the exploring plans of one question may spend: what makes them differ."""


@dataclass(frozen=True)
class WorldStudent:
    """Plans: the fitting remembered workflows, most fitting first, then exploring with ever larger budgets."""

    engine: SearchEngine
    k: int = 5

    async def plans(self, question: Question, recall: Recall, n: int) -> tuple[Plan, ...]:
        """`n` plans, without chance."""
        shown = tuple(hit.unit.id for hit in recall.hits)
        fitting = [hit.unit for hit in recall.successes if same_shape(question.text, hit.unit.question)]
        made = [tuple(line.partition(". ")[2] for line in unit.workflow.splitlines()) for unit in fitting]
        made += [(*EXPLORE, f"search at most {count} times") for count in reversed(BUDGETS)]
        return tuple(Plan(steps=steps, memory_ids=shown, brain="memory") for steps in made[:n])

    async def solve(self, question: Question, plan: Plan) -> tuple[Trajectory, str, bool]:
        """Carry one plan out: the run, the answer before the one replan, and whether there was one. A remembered way
        is left for exploring when what was read does not bear its answer out."""
        read: dict[str, tuple[Passage, ...]] = {}

        async def search(query: str) -> tuple[Passage, ...]:
            read[query] = await self.engine.search(query, self.k)
            return read[query]

        exploring = plan.steps[: len(EXPLORE)] == tuple(EXPLORE)
        limit = int(plan.steps[-1].split()[-2]) if exploring else BUDGETS[-1]
        work = Work(question=question.text, search=search, limit=limit)
        first, replanned = "", False
        if not exploring:
            await follow(work, [list(plan.steps)])
            first = work.answer
            case = Case(question=question.text, answer=first, steps=steps_of(work, read))
            label = (await anyio.to_thread.run_sync(examine, case)).label
            replanned = label in (Label.INCORRECT, Label.NOT_ATTEMPTED)
        if exploring or replanned:
            work.answer, work.limit = "", len(work.notes) + limit
            await Explorer(work).run()
        stop = StopReason.ANSWERED if work.answer else StopReason.GAVE_UP
        run = Trajectory(steps=steps_of(work, read), answer=work.answer, stop=stop)
        return run, first if replanned else work.answer, replanned


def steps_of(work: Work, read: dict[str, tuple[Passage, ...]]) -> tuple[Step, ...]:
    """The searches so far."""
    return tuple(Step(query=one.query, thought=one.thought, passages=read[one.query]) for one in work.notes)
