"""A table of JSON routes as one plain ASGI application: bounded bodies, typed forms, errors as statuses, OpenAPI.

Both rooms that serve JSON (the services of spec section 11 and the streaming trainer) are such tables. What a handler
raises is told by its type: the caller's mistake is a 400, a model that failed a 502, a full queue a 429.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from mia_skill.core.asgi import JSON, Receive, Refusal, Send, check_host, host_names, lifespan, read_body, reply
from mia_skill.core.errors import (
    BankError,
    ConfigError,
    InputError,
    JudgeError,
    MiaError,
    ModelError,
    PlanError,
    SearchError,
    ToolOutage,
    TrainingError,
    UnknownIdError,
    UnwritableError,
)
from mia_skill.core.openapi import Described, document, page

__all__ = ["JsonService", "Route"]

Handler = Callable[[Any], Awaitable[object]]

DOCS, HTML = "/docs", b"text/html; charset=utf-8"
MOST_BYTES = 16 << 20
"""Of a request: a batch of whole conversations is long."""
MOST_AT_ONCE = 64
"""Requests under way; the next one is told to come back. Whoever only asks how things stand is always answered."""
STATUSES: tuple[tuple[type[MiaError], int], ...] = (
    (InputError, 400),
    (UnknownIdError, 404),
    (ModelError, 502),
    (PlanError, 502),
    (JudgeError, 502),
    (SearchError, 502),
    (ToolOutage, 502),
    (ConfigError, 503),
    (BankError, 503),
    (UnwritableError, 503),
    (TrainingError, 503),
)


@dataclass(frozen=True)
class Route:
    """One address: what it takes, and who answers. A GET takes nothing."""

    method: str
    path: str
    handle: Handler
    form: Any = None
    """A pydantic type, or a list of one."""
    about: str = ""
    answer: Any = None
    """A pydantic type of what is answered, for the description; None: any JSON."""


@dataclass
class JsonService:
    """The application. `running`, if given, is entered for as long as it serves."""

    title: str
    routes: Sequence[Route]
    hosts: Collection[str] | None = None
    """Names under which clients may address it, without port; None: any."""
    running: Callable[[], AbstractAsyncContextManager[None]] | None = None
    most_bytes: int = MOST_BYTES
    most_at_once: int = MOST_AT_ONCE
    _table: dict[tuple[str, str], Route] = field(init=False, repr=False)
    _forms: dict[str, TypeAdapter[Any]] = field(init=False, repr=False)
    _names: frozenset[str] | None = field(init=False, repr=False)
    _busy: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._names = host_names(self.hosts)
        self._table = {(route.method, route.path): route for route in self.routes}
        self._forms = {route.path: TypeAdapter(route.form) for route in self.routes if route.form is not None}

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] == "lifespan":
            await lifespan(receive, send, self.running)
            return
        if scope["type"] != "http":
            return
        later, kind = None, JSON
        try:
            status, body = 200, await self._answer(scope, receive)
            kind = HTML if scope["path"] == DOCS else JSON
        except Refusal as refusal:
            status, body = refusal.status, orjson.dumps({"detail": str(refusal), "error": str(refusal)})
            later = refusal.retry_after_s
        await reply(send, status, body, kind, retry_after_s=later)

    async def _answer(self, scope: Mapping[str, Any], receive: Receive) -> bytes:
        check_host(scope, self._names)
        method, path = scope["method"], scope["path"]
        if (method, path) == ("GET", "/openapi.json"):
            return orjson.dumps(self.openapi())
        if (method, path) == ("GET", DOCS):
            return page(self.openapi()).encode()
        route = self._table.get((method, path))
        if route is None:
            known = ", ".join(f"{one.method} {one.path}" for one in self.routes)
            raise Refusal(405 if any(one.path == path for one in self.routes) else 404, f"there is: {known}")
        if self._busy >= self.most_at_once and route.form is not None:
            raise Refusal(429, f"{self._busy} requests are under way: come back later", 1)
        self._busy += 1
        try:
            given = (
                self._read(route, await read_body(receive, self.most_bytes, items="items"))
                if route.form is not None
                else None
            )
            return orjson.dumps(await route.handle(given), default=_plain)
        except MiaError as error:
            status = next((code for kind, code in STATUSES if isinstance(error, kind)), 500)
            raise Refusal(status, f"{type(error).__name__}: {error}") from error
        finally:
            self._busy -= 1

    def _read(self, route: Route, body: bytes) -> object:
        try:
            return self._forms[route.path].validate_json(body or b"{}")
        except ValidationError as cause:
            first = cause.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the body"
            raise Refusal(400, f"{route.path}: {where}: {first['msg']}") from cause

    def openapi(self) -> dict[str, object]:
        """The routes as an OpenAPI 3.1 document. `GET /docs` shows it to people."""
        told: list[Described] = [
            (
                route.method,
                route.path,
                route.about,
                TypeAdapter(route.form) if route.form is not None else None,
                TypeAdapter(route.answer) if route.answer is not None else None,
            )
            for route in self.routes
        ]
        return document(self.title, told)


def _plain(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"{type(value).__name__} is no JSON")
    return dump(mode="json")
