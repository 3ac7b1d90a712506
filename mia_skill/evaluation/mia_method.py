"""MIA itself as a method, and its memory shown to the Executor in place of the Planner."""

import random
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from mia_skill.agents.manager import Manager, Run, credits_of, pairs_of, query_of, screened, select, unit_of
from mia_skill.agents.quote import quote_memories
from mia_skill.app import open_bank
from mia_skill.core.config import MemoryConfig, MiaConfig
from mia_skill.core.types import Question
from mia_skill.evaluation.advice import Advice, Done, Procedure
from mia_skill.evaluation.baselines import lines_of
from mia_skill.evaluation.method import Learnt
from mia_skill.evaluation.mind import Mind
from retrieval.bank import Bank, Consolidation, MemoryQuery, Recall
from retrieval.embed import Embedder

__all__ = ["MiaMemory", "open_fresh"]


@dataclass
class MiaMemory:
    """The real bank, Manager, scores and credits; its memory goes to the Planner."""

    bank: Bank
    manager: Manager
    memory: MemoryConfig
    name: str
    source: str
    differs: str
    independent: bool = True
    supervised: bool = True
    to_executor: bool = False

    async def advise(self, question: Question) -> Advice:
        """Recall by question and caption (0.8 / 0.2), successes and failures."""
        recall = await self.manager.recall(self.query(question))
        ways = tuple(
            Procedure(question=hit.unit.question, steps=lines_of(hit.unit.workflow)) for hit in recall.successes
        )
        shown = tuple(hit.unit.id for hit in recall.hits)
        if self.to_executor:
            notes = "" if recall.nothing_relevant else quote_memories(recall)
            return Advice(notes=notes, procedures=ways, shown=shown)
        return Advice(planned=True, replan=True, recall=Recall.model_validate(recall), procedures=ways, shown=shown)

    def query(self, question: Question) -> MemoryQuery:
        """With the configured limits; nothing is withheld by chance, so that runs can be repeated."""
        return query_of(question, self.memory)

    async def learn(self, id_: str, done: Done, mind: Mind) -> Learnt:
        """A unit, its credits and plan pair, as the Manager makes them."""
        attempt = done.attempt
        run = Run(
            question=attempt.question,
            trajectory=attempt.trajectory,
            plan=attempt.plan,
            outcome=done.outcome,
            memory_ids=done.shown,
            judged_by=done.judged_by,
        )
        kept = select((run,), random.Random(0))
        workflow, usage = await self.manager.compress(run)
        units = (screened(unit_of(run, workflow)),) if workflow else ()
        change = Consolidation(units=units, pairs=pairs_of(kept), credits=credits_of((run,)))
        return Learnt(change=change.model_dump(mode="json"), usage=usage)

    def apply(self, change: dict[str, JsonValue]) -> None:
        self.bank.consolidate(Consolidation.model_validate(change))

    def close(self) -> None:
        self.bank.close()


def open_fresh(path: Path, embedder: Embedder, memory: MemoryConfig) -> Bank:
    """An empty bank with the configured scores; what was there is removed, for the trace holds all that belongs into
    it."""
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    own = memory.model_copy(update={"path": path, "url": None})
    return open_bank(MiaConfig(home=path.parent, memory=own), embedder)
