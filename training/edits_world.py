"""Pairs of the fictional encyclopedia: what no single sentence of a page holds, and what two wordings of a fact share.

A right answer is supported by the pages on the way to it; an answer that stands in the same pages and does not answer
the question is not, nor is the right one with a page left out (facts/trust.md: supported is not yet right).
"""

from collections.abc import Iterator
from random import Random

from retrieval.world import World, WorldQuestion
from retrieval.world_model import build_graph
from retrieval.world_pages import entity_page
from training.edits import EDITS, NUMBER, SENTENCE, Pair, asked, names, usable

__all__ = ["wording_pairs", "world_pairs"]


def world_pairs(world: World, random: Random) -> Iterator[Pair]:
    """Right answers, answers that stand in the same pages, and right answers with a page of the way left out."""
    pages = {page.id: page for page in world.pages}
    for question in world.questions:
        read = [pages[one] for one in question.gold_ids]
        text = " ".join(f"{page.title}. {page.text}" for page in read)
        group = f"world-{world.seed}-{question.id}"
        yield Pair(asked(question.text, question.answer), text, True, "answer", group)
        wrong = wrong_answer(question, text, random)
        if wrong:
            yield Pair(asked(question.text, wrong), text, False, "other answer", group)
        if len(read) > 1 and question.kind in ("chain", "numeric"):
            kept = " ".join(f"{page.title}. {page.text}" for page in read[:-1])
            if question.answer not in kept:
                yield Pair(asked(question.text, question.answer), kept, False, "page missing", group)


def wrong_answer(question: WorldQuestion, text: str, random: Random) -> str | None:
    """Something of the right form that the same pages hold."""
    if question.kind == "yesno":
        return "no" if question.answer == "yes" else "yes"
    if question.kind == "comparison":
        return next((one for one in question.entities if one != question.answer), None)
    pool = NUMBER.findall(text) if question.kind == "numeric" else names(text)
    right = {question.answer, *question.aliases}
    held = [one for one in pool if one not in right and question.answer not in one and one not in question.text]
    return random.choice(sorted(set(held))) if held else None


def wording_pairs(seed: int, size: int, random: Random) -> Iterator[Pair]:
    """The facts of each entity told twice in different words: a sentence of one telling against the other one."""
    graph = build_graph(Random(f"graph {seed} {size}"), size)
    for entity in graph.entities.values():
        one, other = (entity_page(graph, random, entity).text for _ in range(2))
        facts = [fact.value for fact in graph.facts_of(entity.id)]
        told = [part for part in SENTENCE.split(one) if usable(part) and any(value in part for value in facts)]
        told = [part for part in told if all(value in other for value in facts if value in part)]
        if not told:
            continue
        group = f"wording-{seed}-{entity.id}"
        claim = random.choice(told)
        yield Pair(claim, other, True, "other words", group)
        kinds = list(EDITS)
        random.shuffle(kinds)
        changed = next((made for kind in kinds if (made := EDITS[kind](claim, other, random))), None)
        if changed:
            yield Pair(changed, other, False, "other words, edited", group)
