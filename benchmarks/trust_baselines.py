"""What a judgment has to beat: one number per answer, without any thought."""

import math
from collections import Counter
from collections.abc import Sequence

from mia_skill.core.verdict import Case
from trust.words import content

__all__ = ["best_threshold", "cosine", "length", "overlap", "tfidf"]


def evidence_of(case: Case) -> str:
    """All texts of a case."""
    return " ".join([*(one.text for one in case.evidence), *(step.observation for step in case.steps)])


def length(case: Case) -> float:
    """Characters of the answer."""
    return float(len(case.answer))


def overlap(case: Case) -> float:
    """Share of the answer's words that stand in the evidence."""
    said, read = content(case.answer), set(content(evidence_of(case)))
    return sum(one in read for one in said) / len(said) if said else 0.5


def tfidf(cases: Sequence[Case]) -> list[float]:
    """Cosine of question and answer with the evidence, words weighed by their rarity in this set's evidence."""
    read = [Counter(content(evidence_of(case))) for case in cases]
    spread = Counter(word for one in read for word in one)
    rarity = {word: math.log(1 + len(cases) / count) for word, count in spread.items()}

    def vector(counts: Counter[str]) -> dict[str, float]:
        raw = {word: (1 + math.log(n)) * rarity.get(word, 0.0) for word, n in counts.items()}
        norm = math.sqrt(sum(one * one for one in raw.values())) or 1.0
        return {word: one / norm for word, one in raw.items()}

    made = []
    for case, counts in zip(cases, read, strict=True):
        said, there = vector(Counter(content(f"{case.question} {case.answer}"))), vector(counts)
        made.append(sum(one * there.get(word, 0.0) for word, one in said.items()))
    return made


def cosine(cases: Sequence[Case]) -> list[float]:
    """Cosine of MiniLM's vectors: question and answer against the evidence's best passage of 1,000 characters."""
    from retrieval.minilm import MiniLM

    model = MiniLM()
    chunks: dict[str, int] = {}
    places: list[list[int]] = []
    for case in cases:
        text = evidence_of(case)
        pieces = [text[start : start + 1000] for start in range(0, min(len(text), 6000), 1000)] or [""]
        places.append([chunks.setdefault(piece, len(chunks)) for piece in pieces])
    read = model.embed(list(chunks), "passage")
    said = model.embed([f"{case.question} {case.answer}" for case in cases], "query")
    return [float(max(read[where] @ one)) for where, one in zip(places, said, strict=True)]


def best_threshold(truth: Sequence[bool], scores: Sequence[float]) -> float:
    """Balanced accuracy of the best cut on `scores`, either way round."""
    ordered = sorted(zip(scores, truth, strict=True))
    positive = sum(truth)
    negative = len(truth) - positive
    best, above_right, above_wrong = 0.5, positive, negative
    for place, (score, right) in enumerate(ordered):
        above_right -= right
        above_wrong -= not right
        if place + 1 < len(ordered) and ordered[place + 1][0] == score:
            continue
        here = (above_right / max(1, positive) + 1 - above_wrong / max(1, negative)) / 2
        best = max(best, here, 1 - here)
    return best
