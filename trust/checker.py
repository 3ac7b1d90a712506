"""A small learned checker: how likely it is that a piece of evidence supports a claim. Optional.

A cross-encoder (22M parameters) that `python -m training.checker` trains from packaged MiniLM weights and writes as a
folder of `model.onnx`, `tokenizer.json` and `checker.json`. It sees claim and evidence together, so that it can notice
who did what to whom. docs/lab_notes.md says where it helps, and where it does not.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import orjson

from mia_skill.core.errors import ConfigError
from mia_skill.core.onnx import onnx_runtime

__all__ = ["Checker"]

BATCH = 16


class Checker:
    """Loads once, scores many. Thread-safe: onnxruntime's sessions are."""

    def __init__(self, folder: Path) -> None:
        """Load the checker in `folder`.

        Raises:
            ConfigError: a file is missing, or the model is not the one that `checker.json` describes.
        """
        try:
            about = orjson.loads((folder / "checker.json").read_bytes())
            weights = (folder / "model.onnx").read_bytes()
            form = (folder / "tokenizer.json").read_text(encoding="utf-8")
        except (OSError, orjson.JSONDecodeError) as error:
            raise ConfigError(
                f"no checker in {folder} ({type(error).__name__}); make one: python -m training.checker --out {folder}"
            ) from error
        self.digest = sha256(weights).hexdigest()
        if about.get("sha256") != self.digest:
            raise ConfigError(f"{folder / 'model.onnx'} is not the model that checker.json describes; train it again")
        from tokenizers import Tokenizer

        self._tokens = Tokenizer.from_str(form)
        self._tokens.enable_truncation(int(about["length"]), strategy="only_second")
        self._tokens.enable_padding()
        self._session = onnx_runtime().InferenceSession(weights, providers=["CPUExecutionProvider"])

    def support(self, pairs: Sequence[tuple[str, str]]) -> tuple[float, ...]:
        """For each (claim, evidence) the probability of support, 0 to 1; evidence beyond the model's length is cut."""
        import numpy as np

        found: list[float] = []
        for start in range(0, len(pairs), BATCH):
            encoded = self._tokens.encode_batch([(claim, text) for claim, text in pairs[start : start + BATCH]])
            feed = {
                "input_ids": np.array([one.ids for one in encoded], dtype=np.int64),
                "attention_mask": np.array([one.attention_mask for one in encoded], dtype=np.int64),
                "token_type_ids": np.array([one.type_ids for one in encoded], dtype=np.int64),
            }
            logits = self._session.run(None, feed)[0].reshape(-1)
            found += [float(one) for one in 1 / (1 + np.exp(-logits.astype(np.float64)))]
        return tuple(found)
