"""Does the learned checker help on kinds of cases that it was never trained on? Needs torch; a GPU makes it minutes.

    python -m benchmarks.checker --weights FOLDER [--device cuda] [--data FOLDER] [--epochs N] [--limit N]

Trains several checkers from the same MiniLM weights and scores the test halves of the sets of `benchmarks.trust`
(halves by question): `made` sees only data made without labels; `without X` adds the train halves of the other sets;
`all` adds every train half, so that its figures are in-kind. AUROC, and balanced accuracy at 0.5, with 95% bootstrap
intervals over questions; word overlap and the checks without a model stand beside them on the same halves.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from benchmarks.trust import Sample, auroc, load, overlap
from training.checker import Recipe, export, fit, made_pairs, score
from training.edits import Pair, asked
from trust.evidence import examine

SETS = ("halueval", "boolq", "ramdocs", "world", "reflexion")
DRAWS = 300
WINDOW, STRIDE, MOST = 900, 700, 12
"""Characters of a piece of evidence, the step to the next, and pieces of one case."""


def main() -> None:
    """Train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("MIA_SHARED_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--limit", type=int, default=0, help="questions per set, and pairs made, for a dry run")
    parser.add_argument("--export", type=Path, help="write the checker trained on made data here")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    recipe = Recipe(device=given.device, epochs=given.epochs)
    samples = load(Path(given.data), given.limit)
    train = {name: [one for one in group if in_train(one)] for name, group in samples.items()}
    test = {name: [one for one in group if not in_train(one)] for name, group in samples.items()}
    made = made_pairs(sorted(Path(given.data).glob("sandbox_wiki/corpus.*.jsonl")), seed=0)
    random.Random(0).shuffle(made)
    made = made[: given.limit * 4 or None]
    print(f"{len(made)} pairs made without labels; " + ", ".join(f"{k} {len(v)}" for k, v in train.items()), flush=True)
    results = {"overlap": whole(test, lambda one: overlap(one.case)), "checks": whole(test, checks)}
    plans = {"made": ()} | {f"without {name}": tuple(one for one in SETS if one != name) for name in SETS}
    plans["all"] = SETS
    for title, sets in plans.items():
        began = time.perf_counter()
        pairs = made + [pair for name in sets for one in train[name] for pair in teach(one)]
        model, tokenizer = fit(given.weights, pairs, recipe)
        kept = (
            test if title in ("made", "all") else {title.removeprefix("without "): test[title.removeprefix("without ")]}
        )
        scores = {name: case_scores(model, tokenizer, group, recipe) for name, group in kept.items()}
        results[title] = {name: figures(test[name], found) for name, found in scores.items()}
        print(f"{title}: {len(pairs)} pairs, {time.perf_counter() - began:.0f} s", flush=True)
        if title == "made" and given.export:
            export(model, tokenizer, given.export, recipe, "edited sentences and fictional questions")
    show(results)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


def in_train(sample: Sample) -> bool:
    """Half of the questions, whatever their order."""
    return sha256(sample.group.encode()).digest()[0] < 128


def pieces(sample: Sample) -> list[str]:
    """The evidence in overlapping windows, best matching the answer and question first."""
    texts = [one.text for one in sample.case.evidence] + [step.observation for step in sample.case.steps]
    cut = [
        text[start : start + WINDOW] for text in texts for start in range(0, max(1, len(text) - STRIDE // 3), STRIDE)
    ]
    words = set(asked(sample.case.question, sample.case.answer).casefold().split())
    return sorted(cut, key=lambda text: -len(words & set(text.casefold().split())))[:MOST]


def teach(sample: Sample) -> list[Pair]:
    """The best piece is taught with the label of the whole."""
    claim = asked(sample.case.question, sample.case.answer)
    return [Pair(claim, text, sample.right, "case", sample.group) for text in pieces(sample)[:2]]


def case_scores(model: object, tokenizer: object, group: Sequence[Sample], recipe: Recipe) -> list[float]:
    """The best-supported piece speaks for the case."""
    flat: list[Pair] = []
    spans: list[tuple[int, int]] = []
    for one in group:
        mine = [
            Pair(asked(one.case.question, one.case.answer), text, one.right, "case", one.group) for text in pieces(one)
        ]
        spans.append((len(flat), len(flat) + len(mine)))
        flat += mine
    found = score(model, tokenizer, flat, recipe)
    return [max(found[start:end], default=0.5) for start, end in spans]


def checks(sample: Sample) -> float:
    """What the checks without a model say."""
    said = examine(sample.case).p_correct
    return 0.5 if said is None else said


def whole(test: dict[str, list[Sample]], rate: object) -> dict[str, dict[str, float]]:
    """Figures of a function of one sample."""
    return {name: figures(group, [rate(one) for one in group]) for name, group in test.items()}  # type: ignore[operator]


def figures(group: Sequence[Sample], scores: Sequence[float]) -> dict[str, float]:
    """AUROC with its interval, and balanced accuracy at 0.5."""
    truth = [one.right for one in group]
    members: dict[str, list[int]] = {}
    for place, one in enumerate(group):
        members.setdefault(one.group, []).append(place)
    chance, names = random.Random(0), list(members)
    draws = []
    for _ in range(DRAWS):
        drawn = [place for name in chance.choices(names, k=len(names)) for place in members[name]]
        draws.append(auroc([truth[n] for n in drawn], [scores[n] for n in drawn]))
    draws.sort()
    right = [score > 0.5 for score, fact in zip(scores, truth, strict=True) if fact]
    wrong = [score <= 0.5 for score, fact in zip(scores, truth, strict=True) if not fact]
    return {
        "n": len(group),
        "auroc": auroc(truth, scores),
        "low": draws[int(0.025 * DRAWS)],
        "high": draws[int(0.975 * DRAWS)],
        "bacc": (sum(right) / max(1, len(right)) + sum(wrong) / max(1, len(wrong))) / 2,
    }


def show(results: dict[str, dict[str, dict[str, float]]]) -> None:
    """A row per checker, a column per set."""
    print("\nAUROC (95%) / balanced accuracy at 0.5, test halves")
    print(f"{'':18}" + "".join(f"{name:>28}" for name in SETS))
    for title, sets in results.items():
        cells = [
            f"{one['auroc']:.3f} ({one['low']:.3f}-{one['high']:.3f}) {one['bacc']:.3f}"
            if (one := sets.get(name))
            else ""
            for name in SETS
        ]
        print(f"{title:18}" + "".join(f"{cell:>28}" for cell in cells))


if __name__ == "__main__":
    main()
