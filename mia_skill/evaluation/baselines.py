"""Baselines that keep runs as they were: RAG over trajectories, and Memento's case bank."""

from dataclasses import dataclass

from mia_skill.core.types import MemoryUnit, Outcome, Question, Usage
from mia_skill.evaluation.advice import Advice, Done, Procedure, recall_of
from mia_skill.evaluation.method import Shelved
from mia_skill.evaluation.mind import Mind
from mia_skill.evaluation.shelf import Change, Entry

__all__ = ["Memento", "Rag", "told"]

RAG_K = 3
MEMENTO_K = 4
PASSAGE_CHARS = 200


def told(done: Done) -> str:
    """A run as a text: question, searches with what they brought, answer."""
    run = done.attempt.trajectory
    lines = [f"question: {done.attempt.question.text}"]
    for step in run.steps:
        brought = "; ".join(f"{one.title}: {one.text[:PASSAGE_CHARS]}" for one in step.passages[:2])
        lines.append(f"{step.tool}: {step.query} -> {step.error or brought or 'nothing'}")
    return "\n".join([*lines, f"answer: {run.answer or '(none)'}"])


@dataclass
class Rag(Shelved):
    """The most similar trajectories, whole, whatever became of them."""

    name: str = "rag"
    source: str = "MIA, table 3 and 4, row 'RAG'"
    differs: str = f"top {RAG_K} by question similarity; the paper does not give its k"
    supervised: bool = False

    def fitting(self, question: Question) -> tuple[Entry, ...]:
        return self.shelf.similar(question.text, RAG_K)

    async def lesson(self, id_: str, done: Done, mind: Mind) -> tuple[Change, Usage]:
        entry = Entry(id=f"run-{id_}", kind="trajectory", key=done.attempt.question.text, text=told(done))
        return Change(put=(entry,)), Usage()


@dataclass
class Memento(Shelved):
    """Cases of question, plan and reward; the Planner sees the most similar ones, good and bad."""

    name: str = "memento"
    source: str = "Memento (Zhou et al. 2025), non-parametric case-based planner"
    differs: str = f"re-implemented; k = {MEMENTO_K} as published; our Planner and its one-shot plan, no sub-task loop"

    async def advise(self, question: Question) -> Advice:
        """Plans of similar cases, to the Planner."""
        found = self.shelf.similar(question.text, MEMENTO_K, kind="case")
        units = tuple(
            MemoryUnit(id=one.id, question=one.question, workflow=one.text, outcome=one.outcome) for one in found
        )
        ways = tuple(
            Procedure(question=one.question, steps=one.steps)
            for one in found
            if one.steps and one.outcome is Outcome.CORRECT
        )
        return Advice(planned=True, recall=recall_of(units), procedures=ways, shown=tuple(one.id for one in found))

    async def lesson(self, id_: str, done: Done, mind: Mind) -> tuple[Change, Usage]:
        if done.outcome is None or not done.attempt.plan:
            return Change(), Usage()
        steps = [line.partition(". ")[2] or line for line in done.attempt.plan.splitlines()]
        case = Entry(
            id=f"case-{id_}",
            kind="case",
            key=done.attempt.question.text,
            text=done.attempt.plan,
            question=done.attempt.question.text,
            outcome=done.outcome,
            steps=tuple(steps) if done.attempt.followed or mind.name != "rule-based" else await plan_of(done, mind),
        )
        return Change(put=(case,)), Usage()


async def plan_of(done: Done, mind: Mind) -> tuple[str, ...]:
    """An explorer has no plan of its own: the way it went is its case's plan."""
    lessons, _ = await mind.distil(done, "")
    return lines_of(lessons.items[0]) if lessons.items else ()


def lines_of(workflow: str) -> tuple[str, ...]:
    """The steps of a numbered workflow."""
    return tuple(line.partition(". ")[2] or line for line in workflow.splitlines())
