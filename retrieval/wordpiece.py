"""BERT's uncased WordPiece tokenizer over the packaged vocabulary."""

from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from mia_skill.core.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["VOCABULARY_SHA256", "WordPiece"]

VOCABULARY_SHA256 = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"


class WordPiece:
    """Texts to token ids, `[CLS] ... [SEP]`, cut at `max_tokens`, never padded (padding depends on the batch)."""

    def __init__(self, max_tokens: int) -> None:
        """Load the vocabulary.

        Raises:
            ConfigError: the packaged vocabulary is not the pinned one.
        """
        self._tokenizer = _build(max_tokens)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text."""
        return [one.ids for one in self._tokenizer.encode_batch(list(texts))]


def _build(max_tokens: int) -> "Tokenizer":
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece as Model
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer
    from tokenizers.processors import TemplateProcessing

    vocabulary = _vocabulary()
    tokenizer = Tokenizer(Model(vocab=vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    tokenizer.enable_truncation(max_length=max_tokens)
    return tokenizer


def _vocabulary() -> dict[str, int]:
    raw = files("retrieval").joinpath("data", "wordpiece_vocab.txt").read_bytes()
    digest = sha256(raw).hexdigest()
    if digest != VOCABULARY_SHA256:
        raise ConfigError(f"the packaged vocabulary is damaged (sha256 {digest}): reinstall mia-skill")
    return {word: number for number, word in enumerate(raw.decode("utf-8").removesuffix("\n").split("\n"))}
