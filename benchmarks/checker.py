"""Does the learned checker help on kinds of cases that it was never trained on? Needs torch; a GPU makes it minutes.

    python -m benchmarks.checker --weights FOLDER --plan "without halueval" --seed 0 --out FILE [--device cuda]
    python -m benchmarks.checker_report FILE...

Trains one checker and writes its scores of the held-out halves of the sets of `benchmarks.trust` (halves by question):
`made` sees only data made without labels; `without X` adds the train halves of all sets but X; `all` adds every one,
so that its figures are in-kind. The set `wiki` is never trained on, except that `made` and all others hold the train
questions of the same data. The report puts the scores beside word overlap and the checks without a model.
"""

import argparse
import json
import os
import random
import re
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import click

from benchmarks.trust_sets import Sample, load, wiki
from training.checker import Recipe, export, fit, made_pairs, score
from training.edits import Pair, asked

SETS = ("halueval", "boolq", "ramdocs", "world", "reflexion")
WINDOW, STRIDE, MOST = 900, 700, 8
"""Characters of a piece of evidence, the step to the next, and pieces of one case."""
FOCUS = 1100
"""Characters of the sentences that share most words with the question and the answer."""
SENTENCE = re.compile(r"(?<=[.!?])\s+")


def main() -> None:
    """Train one checker, score every held-out half, write both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("MIA_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--plan", default="made", help='"made", "without SET" or "all"')
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", type=int, default=0, help="keep so many layers of the encoder; 0 for all")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--limit", type=int, default=0, help="questions per set, and four times as many pairs: dry run")
    parser.add_argument("--export", type=Path, help="write the checker here")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    recipe = Recipe(device=given.device, epochs=given.epochs, seed=given.seed, layers=given.layers)
    samples = load(Path(given.data), given.limit)
    pairs = taught(given.plan, samples, Path(given.data), given.seed, given.limit)
    began = time.perf_counter()
    model, tokenizer = fit(given.weights, pairs, recipe)
    spent = time.perf_counter() - began
    test = {name: [one for one in group if name == "wiki" or not in_train(one)] for name, group in samples.items()}
    scores = {name: case_scores(model, tokenizer, group, recipe) for name, group in test.items()}
    found = {"plan": given.plan, "seed": given.seed, "layers": given.layers, "pairs": len(pairs), "seconds": spent}
    given.out.write_text(json.dumps(found | {"scores": scores}))
    if given.export:
        export(model, tokenizer, given.export, recipe, f"edited sentences, fictional questions; plan {given.plan!r}")
    click.echo(f"{given.plan} seed {given.seed}: {len(pairs)} pairs, {spent:.0f} s")


def taught(plan: str, samples: dict[str, list[Sample]], data: Path, seed: int, limit: int) -> list[Pair]:
    """The pairs of a plan."""
    made = made_pairs(sorted(data.glob("sandbox_wiki/corpus.*.jsonl")), seed)
    random.Random(seed).shuffle(made)
    made = made[: limit * 4 or None]
    sets = SETS if plan == "all" else () if plan == "made" else [one for one in SETS if f"without {one}" != plan]
    cases = [one for name in sets for one in samples[name] if in_train(one)]
    if plan != "made":
        held = {one.case.question for group in samples.values() for one in group if not in_train(one)}
        cases += [one for one in wiki(data, "train") if one.case.question not in held][: limit or None]
    return made + [pair for one in cases for pair in teach(one)]


def in_train(sample: Sample) -> bool:
    """Half of the questions, whatever their order."""
    return sha256(sample.group.encode()).digest()[0] < 128


def pieces(sample: Sample) -> list[str]:
    """The best sentences of all evidence, then overlapping windows of it, the best first."""
    texts = [f"{one.title}. {one.text}" if one.title else one.text for one in sample.case.evidence]
    texts += [step.observation for step in sample.case.steps]
    words = {one for one in asked(sample.case.question, sample.case.answer).casefold().split() if len(one) > 2}

    def rank(text: str) -> int:
        return -len(words & set(text.casefold().split()))

    cut = [
        text[start : start + WINDOW] for text in texts for start in range(0, max(1, len(text) - STRIDE // 3), STRIDE)
    ]
    lines = [line for text in texts for line in SENTENCE.split(text) if line.strip()]
    kept: list[int] = []
    for place in sorted(range(len(lines)), key=lambda n: (rank(lines[n]), n)):
        if sum(len(lines[n]) for n in kept) + len(lines[place]) <= FOCUS:
            kept.append(place)
    focus = " ".join(lines[n] for n in sorted(kept))
    return [one for one in (focus, *sorted(cut, key=rank)[: MOST - 1]) if one]


def teach(sample: Sample) -> list[Pair]:
    """The best sentences, and the best piece, are taught with the label of the whole."""
    claim = asked(sample.case.question, sample.case.answer)
    return [Pair(claim, text, sample.right, "case", sample.group) for text in pieces(sample)[:2]]


def case_scores(model: object, tokenizer: object, group: Sequence[Sample], recipe: Recipe) -> list[list[float]]:
    """The score of every piece of every case, that of the best sentences first."""
    flat: list[Pair] = []
    spans: list[tuple[int, int]] = []
    for one in group:
        claim = asked(one.case.question, one.case.answer)
        mine = [Pair(claim, text, one.right, "case", one.group) for text in pieces(one)]
        spans.append((len(flat), len(flat) + len(mine)))
        flat += mine
    found = [round(value, 4) for value in score(model, tokenizer, flat, recipe)]
    return [found[start:end] for start, end in spans]


if __name__ == "__main__":
    main()
