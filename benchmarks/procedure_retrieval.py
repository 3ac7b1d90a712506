"""Does memory find the same procedure? Same-procedure hit@1, hit@5 and MRR, and how often something unrelated is shown.

    python benchmarks/procedure_retrieval.py [--seed 7] [--per-shape 8] [--resamples 1000]

Two sets with known procedures: the seeded world (the shape of a question is its procedure) and, where the shared data
are (MIA_SHARED_DATA or ../shared/data), 812 web tasks of 190 templates. Leave one out: every task asks all others;
tasks of the very same words count neither as hits nor as misses. Procedures are split in two by a hash: the weights
and the floor were chosen on the tuning half, the table shows the other. Brackets: 95 % bootstrap intervals over
procedures, which are what is sampled, not tasks. The last column: unrelated questions (the other set's, and real trivia
questions) for which the ranking still shows something.

"ours" is the relevance that the bank ranks by (`retrieval.blend`), over all tasks at once, without the bank's cut to
candidates, its value and its diversity. The other rows are peers and ablations over the same vectors.
"""

import argparse
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.config import BlendWeights, ScoreWeights
from retrieval.blend import Signals, relevance
from retrieval.embed import MiniLM
from retrieval.postings import Postings
from retrieval.score import paper_scores
from retrieval.shape import features, masked_text
from retrieval.world import build_world

Scores = NDArray[np.float64]
FLOOR_PAPER, FLOOR_OURS = 0.35, 0.45
K1, B = 1.2, 0.75


@dataclass(frozen=True)
class Tasks:
    """Texts and the procedure each needs."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]


def world_tasks(seed: int, per_shape: int) -> Tasks:
    """Questions of the seeded world, at most so many of each shape."""
    shapes: dict[str, list[str]] = defaultdict(list)
    for question in build_world(seed=seed, size=300).questions:
        shapes[question.shape].append(question.text)
    rows = [(text, shape) for shape, texts in shapes.items() for text in texts[:per_shape]]
    return Tasks(f"world {seed}", tuple(text for text, _ in rows), tuple(shape for _, shape in rows))


def shared(*parts: str) -> list[dict[str, object]]:
    """Rows of a shared file; none where it is not there."""
    here = Path(__file__).resolve().parent.parent
    root = Path(os.environ.get("MIA_SHARED_DATA", "") or here.parent / "shared" / "data")
    path = root.joinpath("procedures_dev", *parts)
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def bm25(asked: Sequence[str], texts: Sequence[str]) -> Scores:
    """Plain BM25 over lower-cased words, `[Q, N]`."""
    documents = [Counter(re.findall(r"\w+", text.casefold())) for text in texts]
    lengths = np.array([max(1, sum(one.values())) for one in documents], dtype=np.float64)
    norm_N = K1 * (1 - B + B * lengths / lengths.mean())
    posted: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for at, document in enumerate(documents):
        for word, count in document.items():
            posted[word].append((at, count))
    scores = np.zeros((len(asked), len(texts)))
    for row, text in zip(scores, asked, strict=True):
        for word in set(re.findall(r"\w+", text.casefold())):
            found = posted.get(word, [])
            idf = log(1 + (len(texts) - len(found) + 0.5) / (len(found) + 0.5))
            for at, count in found:
                row[at] += idf * count * (K1 + 1) / (count + norm_N[at])
    return scores


def rrf(*rankings: Scores) -> Scores:
    """Reciprocal rank fusion, constant 60."""
    return np.asarray(sum(1 / (61 + np.argsort(np.argsort(-one, axis=1), axis=1)) for one in rankings))


def all_scores(
    asked: Sequence[str], texts: Sequence[str], embed: Callable[[Sequence[str]], NDArray[np.float32]]
) -> dict[str, Scores]:
    """Every way to score `texts` for each question."""
    dense = (embed(asked) @ embed(texts).T).astype(np.float64)
    masked = embed([masked_text(one) for one in asked]) @ embed([masked_text(one) for one in texts]).T
    postings = Postings()
    postings.extend([features(text) for text in texts])
    lexical = np.stack([postings.shares(features(text)) for text in asked])
    plain, none = bm25(asked, texts), np.zeros(len(texts))
    weights = BlendWeights()

    def blend(**changed: float) -> Scores:
        mixed = weights.model_copy(update=changed)
        return np.stack([relevance(Signals(*rows), mixed) for rows in zip(lexical, masked, dense, strict=True)])

    return {
        "paper score": np.stack([paper_scores(row, none, none, ScoreWeights()) for row in dense]),
        "cosine": dense,
        "BM25": plain,
        "BM25 + cosine, RRF": rrf(plain, dense),
        "ours": blend(),
        "ours without masked words": blend(lexical=0.0),
        "ours without masked meaning": blend(masked=0.0),
        "ours without plain meaning": blend(dense=1e-9),
        "masked words only": lexical.astype(np.float64),
        "masked meaning only": masked.astype(np.float64),
        "ours' parts, RRF": rrf(lexical.astype(np.float64), masked.astype(np.float64), dense),
    }


def ranks_of(scores: Scores, tasks: Tasks) -> NDArray[np.int64]:
    """For each task the place of the first other task of its procedure, from 0; -1 where there is none."""
    words = np.array([" ".join(text.casefold().split()) for text in tasks.texts])
    labels = np.array(tasks.labels)
    same = words[:, None] == words[None, :]
    alike = (labels[:, None] == labels[None, :]) & ~same
    order = np.argsort(-np.where(same, -np.inf, scores), axis=1, kind="stable")
    first = np.take_along_axis(alike, order, axis=1).argmax(axis=1)
    return np.where(alike.any(axis=1), first, -1)


def cell(values: NDArray[np.float64], groups: NDArray[np.str_], resamples: int) -> str:
    """The mean over tasks, with its bootstrap interval over procedures."""
    names = np.unique(groups)
    sums = np.array([values[groups == name].sum() for name in names])
    counts = np.array([(groups == name).sum() for name in names])
    drawn = np.random.default_rng(0).integers(0, len(names), size=(resamples, len(names)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return f"{values.mean():.3f} [{low:.3f} {high:.3f}]"


def injected(name: str, scores: Scores, cosines: Scores) -> float:
    """Share of unrelated questions for which something would be shown. The paper's min-max knows no floor of its own:
    its best always scores 0.7 and more."""
    if name == "ours":
        return float((scores.max(axis=1) >= FLOOR_OURS).mean())
    return float((cosines.max(axis=1) >= FLOOR_PAPER).mean()) if name == "cosine" else 1.0


def table(
    tasks: Tasks,
    others: Sequence[str],
    embed: Callable[[Sequence[str]], NDArray[np.float32]],
    resamples: int,
) -> None:
    """Print one set."""
    groups = np.array(tasks.labels)
    held = np.array([sum(map(ord, label)) % 2 == 1 for label in tasks.labels])
    found = all_scores(tasks.texts, tasks.texts, embed)
    strangers = all_scores(others, tasks.texts, embed) if others else {}
    counted = ranks_of(found["ours"], tasks) >= 0
    shown = counted & held
    print(f"\n{tasks.name}: {len(tasks.texts)} tasks, {len(set(tasks.labels))} procedures; reported on {shown.sum()}")
    print(f"{'':28} {'hit@1':>21} {'hit@5':>21} {'MRR':>21}  tuning half  unrelated shown")
    for name, scores in found.items():
        ranks = ranks_of(scores, tasks)
        cells = [
            cell(values[shown], groups[shown], resamples)
            for values in ((ranks == 0) * 1.0, (ranks < 5) * 1.0, 1.0 / (ranks + 1.0 + 1e9 * (ranks < 0)))
        ]
        tuned = float((ranks[counted & ~held] == 0).mean())
        wrong = ""
        if strangers and name in ("paper score", "cosine", "BM25", "ours"):
            wrong = f"{injected(name, strangers[name], strangers['cosine']):.3f}"
        print(f"{name:28} {cells[0]:>21} {cells[1]:>21} {cells[2]:>21} {tuned:12.3f}  {wrong:>15}")
    kept = np.where(np.array(tasks.labels)[:, None] == groups[None, :], found["ours"], -1.0)
    np.fill_diagonal(kept, -1.0)
    print(f"related tasks that pass our floor: {(kept.max(axis=1)[shown] >= FLOOR_OURS).mean():.3f}")


def main() -> None:
    """Every set that is here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--per-shape", type=int, default=8)
    parser.add_argument("--resamples", type=int, default=1000)
    given = parser.parse_args()
    model, cache = MiniLM(), dict[str, NDArray[np.float32]]()

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        fresh = [text for text in dict.fromkeys(texts) if text not in cache]
        if fresh:
            cache.update(zip(fresh, model.embed(fresh), strict=True))
        return np.stack([cache[text] for text in texts])

    world = world_tasks(given.seed, given.per_shape)
    web = shared("webarena_templates", "tasks.jsonl")
    trivia = sorted({str(row["question"]) for row in shared("reflexion_hotpotqa", "trajectories_base.jsonl")})
    sets = [world]
    if web:
        sets.append(Tasks("web tasks", tuple(str(r["intent"]) for r in web), tuple(str(r["template_id"]) for r in web)))
    else:
        print("the web tasks are not here: set MIA_SHARED_DATA to show them; no unrelated questions either")
    for tasks in sets:
        others = [text for other in sets if other is not tasks for text in other.texts]
        table(tasks, [*others, *trivia], embed, given.resamples)


if __name__ == "__main__":
    main()
