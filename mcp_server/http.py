"""Streamable HTTP on loopback; beyond it only with bearer tokens. Host and Origin are always checked."""

import asyncio
import errno
import signal
import socket
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import closing, contextmanager
from ipaddress import ip_address
from typing import Any, Literal

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server.backend import Backend
from mcp_server.doorkeeper import Bearer, RateLimit
from mcp_server.tokens import verifier_of
from mia_skill.core.asgi import reply
from mia_skill.core.config import ServerConfig
from mia_skill.core.errors import ConfigError

__all__ = ["allowed_names", "bearer", "build_app", "listen", "refuse_open_door", "run_app", "run_http", "serve_on"]

Parser = Literal["auto", "h11"]
PATH = "/mcp"
GRACE_S = 5
"""How long open streams may hold up the end."""
STOPPED = b'{"detail": "the server was stopped: send this again when it is back", "error": "the server was stopped"}'
KEEP_ALIVE_S = 75
"""Of an idle connection. Longer than clients keep theirs (httpx: 5 s), or a request meets one that is being closed."""
SCHEMES = ("http", "https")
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


async def run_http(server: MCPServer[Backend], settings: ServerConfig) -> None:
    """Serve until a signal. The address goes to stderr.

    Raises:
        ConfigError: beyond loopback without tokens, or the address cannot be bound.
    """
    await run_app(build_app(server, settings), settings, "MCP", PATH, parser="h11")


async def run_app(
    app: ASGIApp, settings: ServerConfig, what: str, path: str, parser: Parser = "auto", then: str = ""
) -> None:
    """Serve an application until a signal; `what` is served at `path`. The address goes to stderr, and `then`, which
    says what to do next, with `{url}` for the address.

    `auto` takes the faster httptools where it is installed. It keeps blanks behind a header's value, which MCP
    compares with the body's: there only h11 reads headers as RFC 9110 5.5 says.

    Raises:
        ConfigError: the address cannot be bound.
    """
    with closing(listen(settings)) as bound:
        host, port = bound.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        url = f"http://{shown}:{port}"
        sys.stderr.write(f"MIA serves {what.removeprefix('MIA ')} at {url}{path}\n")
        if then:
            sys.stderr.write(f"{then.format(url=url)}\n")
        sys.stderr.flush()
        await serve_on(app, bound, parser)


async def serve_on(app: ASGIApp, bound: socket.socket, parser: Parser = "auto") -> None:
    """Serve an application on a bound socket until a signal."""
    door = Ending(app)
    config = uvicorn.Config(
        door, http=parser, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S,
        timeout_keep_alive=KEEP_ALIVE_S,
    )  # fmt: skip
    door.server = running = QuietServer(config)
    async with anyio.create_task_group() as group:
        group.start_soon(running.end_on_signal)
        await running.serve(sockets=[bound])
        group.cancel_scope.cancel()


class QuietServer(uvicorn.Server):
    """A server for which SIGINT and SIGTERM are a normal end, and not an error to raise again."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to `end_on_signal`."""
        yield

    async def end_on_signal(self) -> None:
        """Finish what runs on the first signal, drop it on the second."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as received:
            async for _ in received:
                self.force_exit = self.should_exit
                self.should_exit = True


class Ending:
    """An application whose requests, where they are dropped at the end, are answered that they were: to send again."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.server: uvicorn.Server | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        begun = False

        async def sending(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, sending)
        except asyncio.CancelledError:
            stopping = self.server is not None and self.server.should_exit
            if begun or not stopping or scope["type"] != "http":
                raise
            await reply(send, 503, STOPPED, retry_after_s=1)


def build_app(server: MCPServer[Backend], settings: ServerConfig) -> ASGIApp:
    """The ASGI application.

    Raises:
        ConfigError: beyond loopback without tokens.
    """
    refuse_open_door(settings)
    names = allowed_names(settings)
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=[*names, *(f"{name}:*" for name in names)],
        allowed_origins=[f"{scheme}://{name}{port}" for name in names for scheme in SCHEMES for port in ("", ":*")],
    )
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        host=settings.host,
        transport_security=security,
        max_request_body_size=settings.max_body_bytes,
    )
    if settings.oauth:
        # The SDK checks tokens itself: build_server has given it the same verifier.
        return RateLimit(app, settings.rate_per_minute)
    return bearer(app, settings)


def bearer(app: ASGIApp, settings: ServerConfig) -> ASGIApp:
    """`app` behind tokens and a rate, if there are any tokens.

    Raises:
        ConfigError: beyond loopback without tokens.
    """
    refuse_open_door(settings)
    verifier = verifier_of(settings)
    return app if verifier is None else RateLimit(Bearer(app, verifier), settings.rate_per_minute)


def refuse_open_door(settings: ServerConfig) -> None:
    """
    Raises:
        ConfigError: beyond loopback without tokens.
    """
    guarded = settings.token is not None or settings.clients or settings.oauth is not None
    if not guarded and not is_loopback(settings.host):
        raise ConfigError(
            f"server.host {settings.host!r} is reachable from outside: set server.token (MIA_SERVER__TOKEN), "
            "server.clients or server.oauth as well"
        )


def is_loopback(host: str) -> bool:
    """Does `host` name this machine only? A name other than localhost does not count: it may resolve to anything."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def allowed_names(settings: ServerConfig) -> Sequence[str]:
    """Host names under which clients may address this server."""
    own = [f"[{settings.host}]" if ":" in settings.host else settings.host]
    if not is_loopback(settings.host):
        own += [socket.gethostname(), socket.getfqdn()]
    return tuple(dict.fromkeys([*LOOPBACK_NAMES, *own, *settings.allowed_hosts]))


def listen(settings: ServerConfig) -> socket.socket:
    """The bound socket.

    Raises:
        ConfigError: the address is taken, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        bound = socket.create_server((settings.host, settings.port), family=family)
    except OSError as cause:
        taken = "; give another --port (0 picks a free one)" if cause.errno == errno.EADDRINUSE else ""
        raise ConfigError(f"cannot serve at {settings.host}:{settings.port}: {cause.strerror}{taken}") from None
    # asyncio leaves it off for sockets made by others, and then every answer waits 40 ms for an acknowledgement.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound
