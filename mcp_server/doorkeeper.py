"""Before a request reaches the server: its token is known, and its sender does not come too often."""

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from mcp.server.auth.middleware.auth_context import AuthContextMiddleware
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import TokenVerifier
from starlette.authentication import AuthCredentials
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Bearer", "Buckets", "RateLimit"]

MOST_SENDERS = 10_000
FAILURES_PER_MINUTE = 30
"""Refused tokens from one address; further unknown ones are not even looked at."""


class Bearer:
    """Lets through only who has a token that is known, and says who it is."""

    def __init__(self, app: ASGIApp, verifier: TokenVerifier) -> None:
        self.app = AuthContextMiddleware(app)
        self.verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass the request on."""
        if scope["type"] == "http":
            kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
            access = await self.verifier.verify_token(token) if kind.lower() == "bearer" and token else None
            if access is None:
                await PlainTextResponse("Unauthorized", 401, headers={"WWW-Authenticate": "Bearer"})(
                    scope, receive, send
                )
                return
            scope["user"], scope["auth"] = AuthenticatedUser(access), AuthCredentials(access.scopes)
        await self.app(scope, receive, send)


@dataclass
class Buckets:
    """A token bucket per sender: `per_minute` requests, refilled evenly; the longest silent senders are forgotten."""

    per_minute: int
    clock: Callable[[], float] = time.monotonic
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict, repr=False)
    """Sender to what was left, and when that was."""

    def wait_s(self, sender: str) -> float:
        """How long until `sender` may come again; 0 when now."""
        return max(0.0, (1 - self._now(sender)) * 60 / self.per_minute)

    def take(self, sender: str) -> None:
        """Count one request."""
        self._left[sender] = (self._now(sender) - 1, self.clock())
        self._left.move_to_end(sender)
        while len(self._left) > MOST_SENDERS:
            self._left.popitem(last=False)

    def _now(self, sender: str) -> float:
        left, at = self._left.get(sender, (float(self.per_minute), self.clock()))
        return min(float(self.per_minute), left + (self.clock() - at) * self.per_minute / 60)


class RateLimit:
    """Answers 429 to a token that is used too often, and to an address that tries too many wrong ones."""

    def __init__(self, app: ASGIApp, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self.requests = Buckets(per_minute, clock)
        self.failures = Buckets(min(per_minute, FAILURES_PER_MINUTE), clock)
        self._known: OrderedDict[str, None] = OrderedDict()
        """Senders whose token was right."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 429, or pass the request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        address = str((scope.get("client") or ("?", 0))[0])
        given = Headers(scope=scope).get("authorization", "")
        sender = hashlib.sha256(given.encode("utf-8", "replace")).hexdigest() if given else address
        known = sender in self._known
        wait = self.requests.wait_s(sender) if known else self.failures.wait_s(address)
        if wait > 0:
            refusal = PlainTextResponse("Too many requests", 429, headers={"Retry-After": str(math.ceil(wait))})
            await refusal(scope, receive, send)
            return
        if known:
            self.requests.take(sender)

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(sender, address, given, message["status"])
            await send(message)

        await self.app(scope, receive, noting)

    def _note(self, sender: str, address: str, given: str, status: int) -> None:
        if status == 401:
            self.failures.take(address)
            self._known.pop(sender, None)
        elif given:
            self._known[sender] = None
            self._known.move_to_end(sender)
            while len(self._known) > MOST_SENDERS:
                self._known.popitem(last=False)
