"""A folder with a model, looked at before a run: weights, shape, tokenizer and chat template belong together."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import orjson

from mia_skill.core.errors import InputError, boundary
from training.policy import Renderer, TemplateError, Tokenizer

__all__ = ["check_model", "has_own_head", "model_shape"]

SHAPE = ("model_type", "hidden_size", "num_hidden_layers", "vocab_size")
WEIGHTS = ("*.safetensors", "*.bin")


def model_shape(folder: Path) -> dict[str, Any]:
    """What tells models apart. Raises: InputError: there is no model in the folder."""
    config = config_in(folder)
    return {name: config.get(name) for name in SHAPE}


def has_own_head(folder: Path) -> bool:
    """Has the output layer weights of its own, apart from those of the words read? Where that is left unsaid, too.

    Raises:
        InputError: there is no model in the folder.
    """
    return not config_in(folder).get("tie_word_embeddings", False)


def config_in(folder: Path) -> dict[str, Any]:
    """Raises: InputError: there is no model in the folder."""
    try:
        config: dict[str, Any] = orjson.loads((folder / "config.json").read_bytes())
    except OSError as cause:
        raise InputError(f"{folder} holds no model (config.json: {cause.strerror})") from None
    except orjson.JSONDecodeError as cause:
        raise InputError(f"{folder} holds no model (config.json: {cause})") from None
    return config


def check_model(folder: Path) -> dict[str, Any]:
    """Its shape. The tokenizer and its template are tried where transformers is installed.

    Raises:
        InputError: weights are missing, or the tokenizer or the template is of another model.
    """
    shape = model_shape(folder)
    if not any(file.stat().st_size for form in WEIGHTS for file in folder.glob(form)):
        raise InputError(f"{folder} holds no weights ({', '.join(WEIGHTS)}): is its download or export complete?")
    if find_spec("transformers") is not None:
        check_words(folder, shape["vocab_size"])
    return shape


def check_words(folder: Path, known: int | None) -> None:
    """Raises: InputError: the tokenizer cannot be loaded, or it, or its template, is of another model."""
    from transformers import AutoTokenizer

    with boundary(InputError, f"loading the tokenizer of {folder}", OSError, ValueError, KeyError, TypeError):
        tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    if known is not None and len(tokenizer) > known:
        raise InputError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens and the model {known}: it is of another model"
        )
    if not tokenizer.chat_template:
        raise InputError(f"{folder} has no chat template: take an instruct model, or add its chat_template.jinja")
    plain = Renderer(cast(Tokenizer, tokenizer))
    try:
        plain.check()
    except TemplateError:
        if plain.appends():  # one that rewrites earlier turns is continued by veRL's own builders
            raise
