"""Training, exporting and loading the learned checker from small random weights. Needs torch, transformers, onnx."""

from pathlib import Path

import pytest

from mia_skill.core.errors import InputError
from training.checker import Recipe, export, fit, made_pairs, score
from trust.checker import Checker

pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("default")]


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A BERT of two small layers whose vocabulary is letters and a few words."""
    import transformers

    folder = tmp_path / "weights"
    folder.mkdir()
    letters = [chr(code) for code in range(33, 127)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{one}" for one in letters)]
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = transformers.BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    tokenizer.save_pretrained(folder)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        num_labels=1,
    )
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_the_exported_checker_scores_as_the_trained_model(weights: Path, tmp_path: Path) -> None:
    pairs = made_pairs([], 0, worlds=1, size=20)[:32]
    recipe = Recipe(epochs=1, batch=8, length=128)
    model, tokenizer = fit(weights, pairs, recipe)
    told = score(model, tokenizer, pairs, recipe)
    export(model, tokenizer, tmp_path / "out", recipe, "test")
    again = Checker(tmp_path / "out").support([(pair.claim, pair.evidence) for pair in pairs])
    assert again == pytest.approx(told, abs=1e-4)


def test_pairs_of_one_class_are_refused(weights: Path) -> None:
    pairs = [pair for pair in made_pairs([], 0, worlds=1, size=20) if pair.supported]
    with pytest.raises(InputError, match="both kinds"):
        fit(weights, pairs, Recipe())
