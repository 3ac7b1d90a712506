"""Vectors from any server that speaks `/v1/embeddings` (vLLM, TEI, OpenAI)."""

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, SecretStr, ValidationError

from mia_skill.core.errors import ModelReplyError, ModelStatusError, ModelUnreachableError
from mia_skill.core.shown_address import shown_address
from retrieval.vectors import Kind, Recipe, Rows, unit_rows

if TYPE_CHECKING:
    import httpx

__all__ = ["OpenAIEmbedder"]

BATCH_TEXTS = 64
RETRIED = frozenset({408, 409, 429, 500, 502, 503, 504})


class _Row(BaseModel):
    index: int
    embedding: list[float]


class _Reply(BaseModel):
    data: list[_Row]


class OpenAIEmbedder:
    """A remote embedder. Its identity is the model's name, as nothing else is known of its weights."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key: SecretStr | None = None,
        query_prefix: str = "",
        passage_prefix: str = "",
        max_retries: int = 2,
        timeout_s: float = 60.0,
        transport: "httpx.BaseTransport | None" = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`base_url` goes up to and including `/v1`; the prefixes are what the model card asks for."""
        import httpx

        headers = {"Authorization": f"Bearer {api_key.get_secret_value()}"} if api_key else {}
        self._client = httpx.Client(
            base_url=base_url.rstrip("/") + "/", headers=headers, timeout=timeout_s, transport=transport
        )
        self._recipe = Recipe(
            model=f"openai:{model}", query_prefix=query_prefix, passage_prefix=passage_prefix, pooling="remote"
        )
        self._model = model
        self._max_retries = max_retries
        self._pause = pause
        self._lock = Lock()
        self._dimension: int | None = None

    @property
    def identity(self) -> str:
        return self._recipe.identity

    @property
    def dimension(self) -> int:
        """Asked of the server once.

        Raises:
            ModelError: the server gave no vector.
        """
        if self._dimension is None:
            self.embed(["dimension"])
        assert self._dimension is not None
        return self._dimension

    def embed(self, texts: Sequence[str], kind: Kind = "query") -> Rows:
        """Unit vectors of `texts`.

        Raises:
            ModelUnreachableError: no connection, or no answer in time.
            ModelStatusError: an HTTP error that retrying did not cure.
            ModelReplyError: not one vector of one dimension per text.
        """
        prefix = self._recipe.query_prefix if kind == "query" else self._recipe.passage_prefix
        parts = [
            self._ask([prefix + text for text in texts[start : start + BATCH_TEXTS]])
            for start in range(0, len(texts), BATCH_TEXTS)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self._dimension or 0), dtype=np.float32)

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def _ask(self, texts: list[str]) -> Rows:
        reply = self._post({"model": self._model, "input": texts, "encoding_format": "float"})
        try:
            data = sorted(_Reply.model_validate_json(reply).data, key=lambda row: row.index)
        except ValidationError:
            raise ModelReplyError(f"the embedding server of {self._model!r} sent no vectors", raw=reply[:500]) from None
        dimensions = {len(row.embedding) for row in data}
        if [row.index for row in data] != list(range(len(texts))) or len(dimensions) != 1:
            raise ModelReplyError(
                f"asked {self._model!r} for {len(texts)} vectors, got {len(data)} of dimensions {sorted(dimensions)}",
                raw=reply[:500],
            )
        self._same_dimension(dimensions.pop())
        return unit_rows(np.array([row.embedding for row in data]), source=self._model)

    def _same_dimension(self, dimension: int) -> None:
        with self._lock:
            if self._dimension not in (None, dimension):
                raise ModelReplyError(
                    f"{self._model!r} now gives {dimension} dimensions, not {self._dimension}: another model answers",
                    raw="",
                )
            self._dimension = dimension

    def _post(self, body: dict[str, object]) -> str:
        import httpx

        for attempt in range(self._max_retries + 1):
            last = attempt == self._max_retries
            try:
                reply = self._client.post("embeddings", json=body)
            except httpx.TransportError as cause:
                if last:
                    where = shown_address(str(self._client.base_url))
                    raise ModelUnreachableError(
                        f"no embedding server at {where}: {cause or type(cause).__name__}; check memory.embedder_url"
                    ) from cause
            else:
                if reply.is_success:
                    return reply.text
                if last or reply.status_code not in RETRIED:
                    raise ModelStatusError(
                        f"the embedding server answered {reply.status_code}: {reply.text[:200]}",
                        status=reply.status_code,
                    )
            self._pause(0.5 * 2**attempt)
        raise AssertionError("the loop returns or raises")
