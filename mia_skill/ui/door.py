"""The way into the page: who may ask what, under which names, and with which headers everything leaves.

The page itself holds no data and is given to everybody on this machine. Whatever tells of the bank needs the token as
a bearer header: no cookie is set, so nothing that another page or another local port does is done with our rights.
"""

import hmac
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.resources import files
from typing import Any

import anyio.to_thread
import orjson

from mia_skill.core.asgi import JSON, Receive, Refusal, Send, check_host, host_names, lifespan, reply
from mia_skill.core.errors import MiaError
from mia_skill.core.json_service import JsonService

__all__ = ["Asset", "Door", "assets", "ticket"]

KINDS = {
    "html": b"text/html; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
    "trusted-types 'none'"
)
REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox; base-uri 'none'; form-action 'none'; "
REPORT_POLICY += "frame-ancestors 'self'"
"""A report is one file with its style in it. It is sandboxed: nothing in it runs or leads anywhere."""
COMMON = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)
REPORT = re.compile(r"/reports/([0-9a-f]{64})")
ASK = "open the address that `mia ui` printed, or paste the token in it"


@dataclass(frozen=True)
class Asset:
    """A file of the page."""

    body: bytes
    kind: bytes


def assets() -> dict[str, Asset]:
    """The files of the page by their path; they come with the package."""
    found = {}
    for file in files("mia_skill.ui").joinpath("page").iterdir():
        kind = KINDS.get(file.name.rpartition(".")[2])
        if kind is not None:
            found[f"/{file.name}"] = Asset(file.read_bytes(), kind)
    found["/"] = found["/index.html"]
    return found


@dataclass
class Door:
    """The application: the page's files, its questions (`api`), and reports in a frame."""

    api: JsonService
    token: str
    hosts: Collection[str]
    """Names under which this service may be addressed, without port."""
    report: Callable[[str], str] | None = None
    """The report of a run, by its name. Raises our errors."""
    run_names: Callable[[], Collection[str]] = tuple
    files: Mapping[str, Asset] = field(default_factory=assets, repr=False)
    _names: frozenset[str] | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._names = host_names(self.hosts)

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """One request, or the lifespan."""
        if scope["type"] == "lifespan":
            await lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        path = scope["path"]
        shown = headed(send, REPORT_POLICY if path.startswith("/reports/") else PAGE_POLICY)
        try:
            check_host(scope, self._names)
            same_origin(scope)
            if path.startswith("/api/"):
                self._known(scope)
                await self.api(scope, receive, shown)
                return
            if scope["method"] != "GET":
                raise Refusal(405, "only GET is answered here")
            asset = await self._report(path) if path.startswith("/reports/") else self.files.get(path)
            if asset is None:
                raise Refusal(404, "there is nothing here: the page is at /")
            await reply(shown, 200, asset.body, asset.kind)
        except Refusal as refusal:
            await reply(shown, refusal.status, orjson.dumps({"error": str(refusal)}), JSON)

    def _known(self, scope: Mapping[str, Any]) -> None:
        kind, _, given = header(scope, b"authorization").partition(" ")
        if kind.casefold() != "bearer" or not hmac.compare_digest(given.encode(), self.token.encode()):
            raise Refusal(401, f"the token is missing or wrong: {ASK}")

    async def _report(self, path: str) -> Asset | None:
        if self.report is None or not REPORT.fullmatch(path):
            return None
        known = await anyio.to_thread.run_sync(self.run_names)
        run = next((name for name in known if hmac.compare_digest(ticket(self.token, name), path)), None)
        if run is None:
            return None
        try:
            text = await anyio.to_thread.run_sync(self.report, run)
        except MiaError as error:
            raise Refusal(400, str(error)) from error
        return Asset(text.encode("utf-8", "replace"), KINDS["html"])


def ticket(token: str, run: str) -> str:
    """The address of a run's report. A frame sends no header: who knows this address may read this one report."""
    mac = hmac.new(token.encode(), run.encode("utf-8", "surrogatepass"), sha256)
    return f"/reports/{mac.hexdigest()}"


def header(scope: Mapping[str, Any], wanted: bytes) -> str:
    """A header's text; empty where it is missing."""
    return str(next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), ""))


def same_origin(scope: Mapping[str, Any]) -> None:
    """A browser says where a request comes from: only our own page may ask, or a program that is no browser.

    Raises:
        Refusal: another page asks.
    """
    origin, site = header(scope, b"origin"), header(scope, b"sec-fetch-site")
    moved = scope["method"] == "GET" and header(scope, b"sec-fetch-mode") == "navigate"
    foreign = site not in ("", "none", "same-origin") and not moved
    if foreign or (origin and origin.casefold() != f"http://{header(scope, b'host')}".casefold()):
        raise Refusal(403, f"another page asked for this: {ASK}")


def headed(send: Send, policy: str) -> Send:
    """`send`, with the headers that everything gets."""
    extra = [*COMMON, (b"content-security-policy", policy.encode())]

    async def with_headers(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return with_headers
