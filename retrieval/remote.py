"""A corpus that another process serves: any `/retrieve` address, ours or Search-R1's."""

from typing import TYPE_CHECKING, Any

import orjson
from pydantic import SecretStr

from mia_skill.core.errors import ConfigError, InputError, SearchError
from mia_skill.core.shown_address import shown_address
from mia_skill.core.types import Passage
from retrieval.passages import shortened
from retrieval.search import checked
from retrieval.store import split_contents

if TYPE_CHECKING:
    import httpx

__all__ = ["RemoteCorpus"]

MOST_BYTES = 16 << 20
"""A larger reply is no list of passages."""


class RemoteCorpus:
    """Asks a `/retrieve` service (a `SearchEngine`)."""

    name = "corpus"

    def __init__(
        self,
        url: str,
        *,
        key: SecretStr | None = None,
        timeout_s: float = 10.0,
        passage_chars: int = 1200,
        transport: "httpx.AsyncBaseTransport | None" = None,
    ) -> None:
        """`url` with or without `/retrieve` at its end.

        Raises:
            ConfigError: it is no http address.
        """
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"search.corpus_url {shown_address(url)!r} must start with http:// or https://")
        base = url.rstrip("/")
        self._url = base if base.endswith("/retrieve") else f"{base}/retrieve"
        self._headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
        self._timeout_s = timeout_s
        self._chars = passage_chars
        self._transport = transport
        self._client: httpx.AsyncClient | None = None

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """The service's `k` best passages; those of a server that gives no scores have score 0.

        Raises:
            InputError: the query is empty or too long, `k` is out of range, or the service refuses them.
            SearchError: the service cannot be reached, is overloaded, or answered something else.
        """
        query = checked(query, k)
        reply = await self._post({"queries": [query], "topk": k, "return_scores": True})
        if reply.status_code == 422:
            raise InputError(f"the corpus service refuses this search: {reply.text[:300]}")
        if reply.status_code != 200:
            raise self._error(f"answered with status {reply.status_code}: {reply.text[:200]}", retry_after(reply))
        return self._passages(reply.content)[:k]

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()

    async def _post(self, form: dict[str, object]) -> "httpx.Response":
        import httpx

        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=self._transport, timeout=self._timeout_s, headers=self._headers, trust_env=False
            )
        try:
            return await self._client.post(self._url, json=form)
        except (httpx.HTTPError, httpx.InvalidURL) as cause:
            what = str(cause) or type(cause).__name__
            raise self._error(f"cannot be reached ({what}): check search.corpus_url") from cause

    def _passages(self, body: bytes) -> tuple[Passage, ...]:
        if len(body) > MOST_BYTES:
            raise self._error(f"answered with {len(body)} bytes, which is no list of passages")
        try:
            answer: Any = orjson.loads(body)
            (hits,) = answer["result"]
            if not hits and answer.get("errors"):
                raise InputError(f"the corpus service refuses this search: {answer['errors'][0]['error']}")
            return tuple(self._passage(hit) for hit in hits)
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as cause:
            raise self._error(f"answered something that is no list of passages: {body[:120]!r}") from cause

    def _passage(self, hit: Any) -> Passage:
        document = hit.get("document", hit)
        title, text = split_contents(document["contents"])
        if not title and "title" in document:
            title, text = document["title"], document.get("text", text)
        passage = Passage(
            id=str(document["id"]), title=title or "", text=text, score=float(hit.get("score", 0.0)), source=self.name
        )
        return shortened(passage, self._chars)

    def _error(self, what: str, retry_after_s: float | None = None) -> SearchError:
        return SearchError(
            f"the corpus service {shown_address(self._url)} {what}", engine=self.name, retry_after_s=retry_after_s
        )


def retry_after(reply: "httpx.Response") -> float | None:
    """Seconds, if the header gives them."""
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isdigit() else None
