"""Streamable HTTP on loopback; beyond it only with a bearer token. Host and Origin are always checked."""

import hmac
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from ipaddress import ip_address

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_server.backend import Backend
from mia_skill.core.config import ServerConfig
from mia_skill.core.errors import ConfigError

__all__ = ["allowed_names", "bearer", "build_app", "refuse_open_door", "run_app", "run_http"]

PATH = "/mcp"
LARGEST_BODY = 4 * 1024 * 1024
GRACE_S = 5
"""How long open streams may hold up the end."""
SCHEMES = ("http", "https")
LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")


async def run_http(server: MCPServer[Backend], settings: ServerConfig) -> None:
    """Serve until a signal. The address goes to stderr.

    Raises:
        ConfigError: beyond loopback without a token, or the address cannot be bound.
    """
    await run_app(build_app(server, settings), settings, "MCP", PATH)


async def run_app(app: ASGIApp, settings: ServerConfig, what: str, path: str) -> None:
    """Serve an application until a signal; `what` is served at `path`. The address goes to stderr.

    Raises:
        ConfigError: the address cannot be bound.
    """
    with closing(listen(settings)) as bound:
        host, port = bound.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        sys.stderr.write(f"MIA serves {what} at http://{shown}:{port}{path}\n")
        sys.stderr.flush()
        running = QuietServer(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S))
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


def build_app(server: MCPServer[Backend], settings: ServerConfig) -> ASGIApp:
    """The ASGI application.

    Raises:
        ConfigError: beyond loopback without a token.
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
        max_request_body_size=LARGEST_BODY,
    )
    return bearer(app, settings)


def bearer(app: ASGIApp, settings: ServerConfig) -> ASGIApp:
    """`app` behind the token, if one is set.

    Raises:
        ConfigError: beyond loopback without a token.
    """
    refuse_open_door(settings)
    return app if settings.token is None else Bearer(app, settings.token.get_secret_value())


def refuse_open_door(settings: ServerConfig) -> None:
    """
    Raises:
        ConfigError: beyond loopback without a token.
    """
    if settings.token is None and not is_loopback(settings.host):
        raise ConfigError(
            f"server.host {settings.host!r} is reachable from outside: set server.token (MIA_SERVER__TOKEN) as well"
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
        return socket.create_server((settings.host, settings.port), family=family)
    except OSError as cause:
        raise ConfigError(f"cannot serve at {settings.host}:{settings.port}: {cause.strerror}") from None


class Bearer:
    """Lets through only who knows the token; compared in constant time."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._expected = f"Bearer {token}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass the request on."""
        if scope["type"] == "http":
            given = Headers(scope=scope).get("authorization", "")
            if not hmac.compare_digest(given.encode(), self._expected):
                refusal = PlainTextResponse("Unauthorized", 401, headers={"WWW-Authenticate": "Bearer"})
                await refusal(scope, receive, send)
                return
        await self.app(scope, receive, send)
