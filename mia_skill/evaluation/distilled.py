"""Baselines that keep what a run taught, distilled: ExpeL, ReasoningBank, A-Mem and Mem0, re-implemented in short."""

from dataclasses import dataclass

from mia_skill.agents.workflow import names
from mia_skill.core.types import Outcome, Question, Usage
from mia_skill.evaluation.advice import Done
from mia_skill.evaluation.baselines import lines_of, told
from mia_skill.evaluation.method import Shelved
from mia_skill.evaluation.mind import Mind
from mia_skill.evaluation.shelf import Change, Entry

__all__ = ["AMem", "Expel", "Mem0", "ReasoningBank"]

EXPEL_K = 3
INSIGHTS = 10
START = 2
"""Strength of a new insight: two runs against it remove it."""
ITEMS_K = 1
NOTES_K = 5
LINK = 0.5
FACTS_K = 10
RULED = "rule-based"


@dataclass
class Expel(Shelved):
    """Insights with a strength, and the most similar successes."""

    independent: bool = False
    name: str = "expel"
    source: str = "ExpeL (Zhao et al. 2023): insights by ADD, AGREE and REMOVE, successes as examples"
    differs: str = (
        f"re-implemented; gathered in the stream instead of a training stage, no Reflexion retries; {EXPEL_K} "
        f"examples, at most {INSIGHTS} insights shown"
    )

    def fitting(self, question: Question) -> tuple[Entry, ...]:
        insights = sorted(self.shelf.of("insight"), key=lambda one: -one.strength)
        near = {one.id for one in self.shelf.similar(question.text, INSIGHTS, kind="insight")}
        shown = tuple(one for one in insights if one.id in near)
        return shown + self.shelf.similar(question.text, EXPEL_K, kind="trajectory", outcome=Outcome.CORRECT)

    async def lesson(self, id_: str, done: Done, mind: Mind) -> tuple[Change, Usage]:
        if done.outcome is None:
            return Change(), Usage()
        good = done.outcome is Outcome.CORRECT
        question = done.attempt.question.text
        put = [one.model_copy(update={"strength": one.strength + (1 if good else -1)}) for one in self.used(done)]
        if good:
            put.append(Entry(id=f"run-{id_}", kind="trajectory", key=question, text=told(done), outcome=done.outcome))
        usage, drop = Usage(), [one.id for one in put if one.kind == "insight" and one.strength <= 0]
        if good or mind.name != RULED:
            known = [(one.id, one.text) for one in self.used(done)]
            asked = "Write general insights that would help with other questions: at most two, none that is known."
            lessons, usage = await mind.distil(done, asked, known)
            drop += [one for one in lessons.drop if one in dict(known)]
            put += [
                Entry(
                    id=f"insight-{id_}-{place}",
                    kind="insight",
                    key=question,
                    text=text,
                    question=question,
                    steps=lines_of(text),
                    strength=START,
                )
                for place, text in enumerate(lessons.items[:2])
                if text not in {said for _, said in known}
            ]
        kept = tuple(one for one in put if one.id not in drop)
        return Change(put=kept, drop=tuple(dict.fromkeys(drop))), usage

    def used(self, done: Done) -> tuple[Entry, ...]:
        """The insights that were shown."""
        return tuple(one for one in self.shelf.get(done.shown) if one.kind == "insight")


@dataclass
class ReasoningBank(Shelved):
    """Strategy items from successes and failures."""

    name: str = "reasoningbank"
    source: str = "ReasoningBank (Ouyang et al. 2025): memory items distilled from successes and failures"
    differs: str = (
        f"re-implemented without test-time scaling; k = {ITEMS_K} run as published; items are judged as every other "
        "method's here, not by a judge of its own"
    )

    def fitting(self, question: Question) -> tuple[Entry, ...]:
        near = self.shelf.similar(question.text, ITEMS_K, kind="item")
        return tuple(one for hit in near for one in self.shelf.get((hit.id, *hit.links)))

    async def lesson(self, id_: str, done: Done, mind: Mind) -> tuple[Change, Usage]:
        if done.outcome is None:
            return Change(), Usage()
        good = done.outcome is Outcome.CORRECT
        asked = (
            f"Write at most three items about {'why this worked' if good else 'what went wrong and how to avoid it'}, "
            "each as 'title: one sentence of what to do', general enough for other questions."
        )
        lessons, usage = await mind.distil(done, asked)
        ids = [f"item-{id_}-{place}" for place in range(len(lessons.items[:3]))]
        put = [
            Entry(
                id=own,
                kind="item" if own == ids[0] else "more",
                key=done.attempt.question.text,
                text=f"[from a run that {'worked' if good else 'failed'}] {text}",
                question=done.attempt.question.text,
                outcome=done.outcome,
                steps=lines_of(text),
                links=tuple(ids[1:]) if own == ids[0] else (),
            )
            for own, text in zip(ids, lessons.items, strict=False)
        ]
        return Change(put=tuple(put)), usage


@dataclass
class AMem(Shelved):
    """Linked notes that grow new links and tags as notes come in."""

    independent: bool = False
    name: str = "amem"
    source: str = "A-Mem (Xu et al. 2025): notes with keywords, tags and links; neighbours evolve"
    differs: str = (
        "re-implemented: the authors publish no package (a-mem on the index is another's, with torch and Chroma); "
        f"one note a run, top {NOTES_K} with their links; links by "
        "similarity, tags of neighbours grow, contexts are not rewritten"
    )
    supervised: bool = False

    def fitting(self, question: Question) -> tuple[Entry, ...]:
        near = self.shelf.similar(question.text, NOTES_K)
        linked = self.shelf.get(link for one in near for link in one.links[:1])
        return tuple({one.id: one for one in (*near, *linked)}.values())

    async def lesson(self, id_: str, done: Done, mind: Mind) -> tuple[Change, Usage]:
        question = done.attempt.question.text
        asked = "Write one note: a sentence of context, then keywords and tags of this run."
        lessons, usage = await mind.distil(done, asked)
        near = self.shelf.similar(question, NOTES_K, least=LINK)
        tags = tuple(dict.fromkeys(name.casefold() for name in names(question)))
        text = f"{told(done)}\nnote: {' '.join(lessons.items[:1])}\ntags: {', '.join(tags)}"
        steps = lines_of(lessons.items[0]) if lessons.items else ()
        note = Entry(
            id=f"note-{id_}",
            kind="note",
            key=f"{question} {' '.join(tags)}",
            text=text,
            question=question,
            steps=steps,
            tags=tags,
            links=tuple(one.id for one in near),
        )
        grown = [
            one.model_copy(
                update={
                    "links": tuple(dict.fromkeys((*one.links, note.id))),
                    "tags": tuple(dict.fromkeys((*one.tags, *tags)))[:20],
                }
            )
            for one in near
        ]
        return Change(put=(*grown, note)), usage


@dataclass
class Mem0(Shelved):
    """Short facts, each added, updated, deleted or left."""

    independent: bool = False
    name: str = "mem0"
    source: str = "Mem0 (Chhikara et al. 2025): facts drawn from the dialogue; ADD, UPDATE, DELETE or NOOP"
    differs: str = (
        "re-implemented in short, so that it runs without a model too (mem0-package is the package itself); "
        f"top {FACTS_K} facts; one call draws facts "
        "and names what they replace; without a model the fact is the question and its answer"
    )
    supervised: bool = False

    def fitting(self, question: Question) -> tuple[Entry, ...]:
        return self.shelf.similar(question.text, FACTS_K, kind="fact")

    async def lesson(self, id_: str, done: Done, mind: Mind) -> tuple[Change, Usage]:
        question, answer = done.attempt.question.text, done.attempt.trajectory.answer
        if mind.name == RULED:
            texts, drop, usage = [f"{question} {answer}"] if answer else [], [], Usage()
        else:
            near = self.shelf.similar(question, FACTS_K, kind="fact")
            asked = "Write the facts that are worth remembering: one short sentence each, none that is known."
            lessons, usage = await mind.distil(done, asked, [(one.id, one.text) for one in near])
            texts = lessons.items
            drop = [one for one in lessons.drop if one in {entry.id for entry in near}]
        same = {one.text: one.id for one in self.shelf.of("fact")}
        put = [
            Entry(id=f"fact-{id_}-{place}", kind="fact", key=text, text=text)
            for place, text in enumerate(texts)
            if text not in same
        ]
        return Change(put=tuple(put), drop=tuple(drop)), usage
