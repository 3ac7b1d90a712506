"""Recall of the corpus search on the sandbox wiki: BM25, embeddings, and both fused, in one run.

    python benchmarks/search_quality.py [--split dev] [--data FOLDER] [--cache FOLDER] [--threads N]

Needs the development data (`MIA_SHARED_DATA`, or `../shared/data` beside the checkout). The first run embeds 18,533
passages with the packaged model, 12 to 18 minutes of one core; vectors are kept under `--cache` (`MIA_CACHE`, or the
user's cache folder), and a run that was broken off goes on where it was. The whole question is the only query.

Last rows: the same index searched as an agent does, one query a hop. The hops are MuSiQue's gold sub-questions with the
earlier gold answers put in, 5 passages each, so this is what is within reach of a perfect planner and not a result.
"""

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from retrieval.corpus import Corpus, How
from retrieval.minilm import MiniLM
from retrieval.rerank import LinkReranker

HOWS: tuple[How, ...] = ("bm25", "dense", "fused", "reranked")
DEPTHS = (5, 10)
A_HOP = 5
"""Passages taken for each sub-question."""


class Asked(NamedTuple):
    """A question and the passages that answer it."""

    text: str
    gold: frozenset[str]
    hops: tuple[str, ...] = ()
    """Gold sub-questions (MuSiQue), complete with the answers of earlier ones."""


class Figures(NamedTuple):
    """Mean share of gold passages found, and share of questions with all of them found, at each depth."""

    recall: tuple[float, ...]
    complete: tuple[float, ...]
    milliseconds: float
    """A query, wall time."""


def main() -> None:
    args = arguments()
    wiki = args.data / "sandbox_wiki"
    if not (wiki / f"{args.split}.jsonl").is_file():
        sys.exit(f"no {wiki / args.split}.jsonl: set MIA_SHARED_DATA to the folder that holds sandbox_wiki")
    questions = read_questions(wiki / f"{args.split}.jsonl")
    started = time.perf_counter()
    files = sorted(wiki.glob("corpus.0*.jsonl"))
    corpus = Corpus.open(files, MiniLM(threads=args.threads), cache=args.cache, progress=show, reranker=LinkReranker())
    print(f"\n{len(corpus)} passages opened in {time.perf_counter() - started:.1f} s; {len(questions)} questions")
    print(f"{'':10}" + "".join(f"{f'R@{k}':>8}{f'all@{k}':>8}" for k in DEPTHS) + f"{'ms/query':>10}")
    for how in HOWS:
        got = measure(corpus, questions, how)
        cells = "".join(f"{r:8.3f}{a:8.3f}" for r, a in zip(got.recall, got.complete, strict=True))
        print(f"{how:10}{cells}{got.milliseconds:10.2f}")
    hopping = [one for one in questions if one.hops]
    if hopping:
        print(f"\none query a hop, {A_HOP} passages each; {len(hopping)} questions with gold sub-questions")
        print(f"{'':10}{'recall':>8}{'all':>8}{'whole question at as many passages':>38}")
        for how in HOWS:
            recall, complete, single = reach(corpus, hopping, how)
            print(f"{how:10}{recall:8.3f}{complete:8.3f}{single:38.3f}")


def arguments() -> argparse.Namespace:
    beside = Path(__file__).resolve().parents[1].parent / "shared" / "data"
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mia"
    parser = argparse.ArgumentParser(description="Recall of the corpus search on the sandbox wiki")
    parser.add_argument("--split", default="dev", choices=("dev", "train"))
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("MIA_SHARED_DATA") or beside))
    parser.add_argument("--cache", type=Path, default=Path(os.environ.get("MIA_CACHE") or user))
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def read_questions(path: Path) -> list[Asked]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [Asked(row["question"], frozenset(row["gold_ids"]), hops_of(row.get("decomposition") or [])) for row in rows]


def hops_of(decomposition: Sequence[dict[str, str]]) -> tuple[str, ...]:
    """`#1 >> spouse` and the like, made plain by the answers of the hops before."""
    answers = [hop["answer"] for hop in decomposition]
    filled = [re.sub(r"#(\d+)", lambda found: answers[int(found[1]) - 1], hop["question"]) for hop in decomposition]
    return tuple(text.replace(">>", " ") for text in filled)


def reach(corpus: Corpus, questions: Sequence[Asked], how: How) -> tuple[float, float, float]:
    """Mean share of gold found over all hops together, share of questions with all of it, and the mean share that the
    whole question finds with the same number of passages."""
    shares, single = [], []
    for one in questions:
        found = {passage.id for hop in one.hops for passage in corpus.find(hop, A_HOP, how)}
        shares.append(len(one.gold & found) / len(one.gold))
        whole = {passage.id for passage in corpus.find(one.text, A_HOP * len(one.hops), how)}
        single.append(len(one.gold & whole) / len(one.gold))
    count = len(questions)
    return sum(shares) / count, sum(share == 1 for share in shares) / count, sum(single) / count


def measure(corpus: Corpus, questions: Sequence[Asked], how: How) -> Figures:
    """One ranking over all questions."""
    started = time.perf_counter()
    rankings = [[passage.id for passage in corpus.find(one.text, max(DEPTHS), how)] for one in questions]
    seconds = time.perf_counter() - started
    shares = [
        [len(one.gold.intersection(ranking[:k])) / len(one.gold) for k in DEPTHS]
        for one, ranking in zip(questions, rankings, strict=True)
    ]
    columns = list(zip(*shares, strict=True))
    return Figures(
        recall=tuple(sum(column) / len(column) for column in columns),
        complete=tuple(sum(share == 1 for share in column) / len(column) for column in columns),
        milliseconds=1000 * seconds / len(questions),
    )


def show(done: int, total: int) -> None:
    """One line that counts up."""
    end = "\n" if done == total else ""
    print(f"\rembedded {done} of {total}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
