"""`OpenAIChat`: a `ChatModel` behind HTTP, for vLLM and every other server that speaks `/v1/chat/completions`."""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from random import Random

import anyio
import httpx

from mia_skill.core import openai_wire as wire
from mia_skill.core.chat import Message, Reply, ToolSpec
from mia_skill.core.config import EndpointConfig
from mia_skill.core.errors import (
    ConfigError,
    ContextOverflow,
    ModelReplyError,
    ModelStatusError,
    ModelUnreachableError,
)
from mia_skill.core.native_tools import native_turns, tools_field
from mia_skill.core.shown_address import shown_address

__all__ = ["OpenAIChat"]

RETRIED = frozenset({408, 429, 500, 502, 503, 504})
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 8.0
LONGEST_RETRY_AFTER_S = 30.0
MAX_BODY_BYTES = 16 * 1024 * 1024
HINTS = {
    401: "; check api_key",
    403: "; check api_key",
    404: "; check base_url (up to and including /v1) and model",
}
UNKNOWN_SCHEMA = ("response_format", "json_schema", "json schema", "structured", "guided", "grammar")
"""Words of a refusal that mean: this server cannot hold a reply to a schema."""
OTHER_LIMIT = ("max_completion_tokens",)
"""What newer hosted models call `max_tokens`; their refusal names it."""
NO_TOOLS = ("tool", "function")
"""Words of a refusal that mean: this server, or its template, has no tool calls of its own."""
TOO_LONG = ("context length", "context_length", "context size", "context window", "maximum model length", "too long")
"""Words of a refusal that mean: the conversation does not fit."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class _Answer:
    status: int
    headers: httpx.Headers
    body: bytes


class OpenAIChat:
    """One endpoint, one connection pool. The pool opens at the first call; `aclose` ends it."""

    def __init__(
        self,
        config: EndpointConfig,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = anyio.sleep,
        rng: Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`transport`, `sleep`, `rng` and `clock` are seams for tests."""
        self._config = config
        self._transport = transport
        self._sleep = sleep
        self._rng = rng or Random()
        self._clock = clock
        self._key = config.api_key.get_secret_value().strip() if config.api_key else ""
        if not (self._key.isascii() and self._key.isprintable()):
            raise ConfigError("api_key holds characters that no HTTP header can carry")
        try:
            self._at_home = httpx.URL(config.base_url).host in LOOPBACK
        except httpx.InvalidURL as cause:
            raise ConfigError(f"base_url {self._where!r} is no address: {cause}") from None
        self._client: httpx.AsyncClient | None = None
        self._slots = anyio.Semaphore(config.max_connections)
        self._schema_in_words = not config.json_schema
        self._limit = "max_tokens"
        self._offers_tools = config.tool_calls == "auto"

    def __repr__(self) -> str:
        return f"OpenAIChat({self._config.model!r} at {self._where!r})"

    @property
    def name(self) -> str:
        """The model's name."""
        return self._config.model

    async def complete(
        self,
        messages: Sequence[Message],
        *,
        schema: Mapping[str, object] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        stop: Sequence[str] = (),
        n: int = 1,
    ) -> tuple[Reply, ...]:
        """`n` replies. With `schema`, each is asked to be JSON of that schema, which the caller must still check.

        The usage of a call stands on its first reply, so that the sum over replies is what was spent.

        Raises:
            ModelUnreachableError: no connection or no reply in time, also after the retries.
            ModelStatusError: an HTTP error that retrying did not, or could not, cure; holds the server's words.
            ModelReplyError: it is no completion, or a reply in it is empty.
        """
        settings = self._settings(temperature, stop)
        most = self._config.max_tokens if max_tokens is None else max_tokens
        replies: tuple[Reply, ...] = ()
        while len(replies) < n:  # some servers ignore `n` and give one reply
            missing = n - len(replies)
            sampled = {**settings, "n": missing} if missing > 1 else settings
            replies += (await self._sample(messages, sampled, most, schema))[:missing]
        return replies

    async def act(self, messages: Sequence[Message], tools: Sequence[ToolSpec], *, stop: Sequence[str] = ()) -> Reply:
        """One turn of an agent. The tools are offered to the server until it refuses them; messages and reply are in
        our text form all the same.

        Raises:
            ModelError: as `complete`.
        """
        if self._offers_tools and tools:
            settings = self._settings(None, stop) | {"tools": tools_field(tools)}
            try:
                (reply,) = await self._sample(messages, settings, self._config.max_tokens, None)
                return reply
            except ModelStatusError as refusal:
                if isinstance(refusal, ContextOverflow) or not _refuses(refusal, NO_TOOLS, (500,)):
                    raise
                self._offers_tools = False
        (reply,) = await self.complete(messages, stop=stop)
        return reply

    def _settings(self, temperature: float | None, stop: Sequence[str]) -> dict[str, object]:
        """What stands in every request."""
        settings: dict[str, object] = {
            "model": self._config.model,
            "temperature": self._config.temperature if temperature is None else temperature,
        }
        if self._config.frequency_penalty:
            settings["frequency_penalty"] = self._config.frequency_penalty
        if self._config.presence_penalty:
            settings["presence_penalty"] = self._config.presence_penalty
        if stop:
            settings["stop"] = list(stop)
        return settings

    async def models(self) -> tuple[str, ...]:
        """The names of the models this endpoint serves.

        Raises:
            ModelError: as `complete`.
        """
        answer = await self._send("GET", "models", None)
        with self._hiding():
            return wire.read_models(answer.body)

    async def aclose(self) -> None:
        """Close the connections. The next call would open new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _sample(
        self,
        messages: Sequence[Message],
        settings: Mapping[str, object],
        most: int,
        schema: Mapping[str, object] | None,
    ) -> tuple[Reply, ...]:
        """One call, in the dialect this server is known to speak; what a refusal teaches is kept for later calls."""
        while True:
            in_words, limit = self._schema_in_words, self._limit
            asked = {**settings, limit: most}
            turns = messages
            if schema is not None and in_words:
                turns = wire.in_words(messages, schema)
            elif schema is not None:
                asked["response_format"] = wire.response_format(schema)
            try:
                return await self._post(turns, asked)
            except ModelStatusError as refusal:
                if schema is not None and not in_words and _refuses(refusal, UNKNOWN_SCHEMA):
                    self._schema_in_words = True
                elif limit == "max_tokens" and _refuses(refusal, OTHER_LIMIT):
                    self._limit = OTHER_LIMIT[0]
                else:
                    raise

    async def _post(self, messages: Sequence[Message], settings: Mapping[str, object]) -> tuple[Reply, ...]:
        native = native_turns(messages, wire.turn) if "tools" in settings else map(wire.turn, messages)
        turns = list(native)
        began = self._clock()
        answer = await self._send("POST", "chat/completions", wire.encode({**settings, "messages": turns}))
        with self._hiding():
            return wire.read_replies(answer.body, seconds=self._clock() - began)

    async def _send(self, method: str, path: str, body: bytes | None) -> _Answer:
        """The answer to one request, with retries: exponential backoff with full jitter, at least `Retry-After`."""
        failed = 0
        while True:
            least = 0.0
            try:
                answer = await self._attempt(method, path, body)
                if 200 <= answer.status < 300:
                    return answer
                if answer.status not in RETRIED or failed >= self._config.max_retries:
                    raise self._refusal(answer, failed)
                least = _retry_after(answer.headers)
            except ModelUnreachableError as error:
                if failed >= self._config.max_retries:
                    raise ModelUnreachableError(f"{error}{_tries(failed)}") from error.__cause__
            most = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**failed)
            failed += 1
            await self._sleep(max(least, self._rng.uniform(0, most)))

    async def _attempt(self, method: str, path: str, body: bytes | None) -> _Answer:
        client = self._opened()
        url = f"{self._config.base_url}/{path}"
        try:
            async with self._slots:  # waiting for a free connection is not the server's time
                with anyio.fail_after(self._config.timeout_s):  # httpx limits each read, not a server that drips
                    async with client.stream(method, url, content=body) as response:
                        return _Answer(response.status_code, response.headers, await self._body(response))
        except (TimeoutError, httpx.TimeoutException) as cause:
            late = isinstance(cause, httpx.ConnectTimeout)
            after = self._config.connect_timeout_s if late else self._config.timeout_s
            raise ModelUnreachableError(
                f"{self._where} {'could not be reached' if late else 'did not answer'} within {after:g} s"
            ) from cause
        except httpx.DecodingError as cause:
            raise ModelReplyError(f"the reply of {self._where} cannot be decompressed: {cause}", raw="") from cause
        except httpx.TransportError as cause:
            reason = str(cause) or type(cause).__name__
            raise ModelUnreachableError(f"no usable connection to {self._where}: {reason}") from cause

    async def _body(self, response: httpx.Response) -> bytes:
        body = bytearray()
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > MAX_BODY_BYTES:
                limit = MAX_BODY_BYTES // 2**20
                raise ModelReplyError(f"the reply of {self._where} is larger than {limit} MiB", raw="")
        return bytes(body)

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            config = self._config
            headers = {"Content-Type": "application/json", "Accept": "application/json"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            self._client = httpx.AsyncClient(
                headers=headers,
                timeout=httpx.Timeout(config.timeout_s, connect=config.connect_timeout_s),
                limits=httpx.Limits(
                    max_connections=config.max_connections, max_keepalive_connections=config.max_connections
                ),
                transport=self._transport,
                trust_env=not self._at_home,  # a proxy cannot reach our loopback
            )
        return self._client

    def _refusal(self, answer: _Answer, failed: int) -> ModelStatusError:
        said = self._hide(wire.server_message(answer.body)) or "no reason given"
        hint = HINTS.get(answer.status, "")
        kind = ContextOverflow if answer.status in (400, 413, 422) and _says(said, TOO_LONG) else ModelStatusError
        return kind(f"{self._where} answered {answer.status}{_tries(failed)}: {said}{hint}", status=answer.status)

    @property
    def _where(self) -> str:
        return shown_address(self._config.base_url)

    @contextmanager
    def _hiding(self) -> Iterator[None]:
        try:
            yield
        except ModelReplyError as error:
            raise ModelReplyError(self._hide(str(error)), raw=self._hide(error.raw)) from None

    def _hide(self, text: str) -> str:
        """`text` without the key: some servers repeat it when they refuse it."""
        return text.replace(self._key, "***") if self._key else text


def _refuses(refusal: ModelStatusError, words: Sequence[str], more: Sequence[int] = ()) -> bool:
    return refusal.status in (400, 422, 501, *more) and _says(str(refusal), words)


def _says(text: str, words: Sequence[str]) -> bool:
    said = text.lower()
    return any(word in said for word in words)


def _retry_after(headers: httpx.Headers) -> float:
    """Seconds that the server asks for (a number or a date), at most `LONGEST_RETRY_AFTER_S`; 0 without a wish."""
    wish = headers.get("Retry-After", "").strip()
    if wish.isdecimal():
        seconds = float(wish)
    else:
        try:
            until = parsedate_to_datetime(wish)
        except ValueError:
            return 0.0
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER_S)


def _tries(failed: int) -> str:
    return f" after {failed + 1} tries" if failed else ""
