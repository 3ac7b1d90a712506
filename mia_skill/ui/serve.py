"""Puts the page together and serves it on loopback until a signal."""

import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import anyio
import anyio.to_thread

from mcp_server.http import allowed_names, listen, serve_on
from mia_skill.core.config import MiaConfig
from mia_skill.core.errors import InputError
from mia_skill.core.json_service import JsonService, Route
from mia_skill.ui.door import Door, ticket
from mia_skill.ui.forms import RunForm
from mia_skill.ui.keeper import Keeper
from mia_skill.ui.traces import Gallery
from retrieval.bank import Bank

__all__ = ["PORT", "build_page", "serve_page"]

PORT = 8757
BODY_BYTES = 64 << 10


def build_page(
    bank: Bank, config: MiaConfig, *, token: str, traces: Sequence[Path] = (), read_only: bool = False
) -> Door:
    """The application.

    Raises:
        InputError: a folder of traces is not there.
    """
    for folder in traces:
        if not folder.is_dir():
            raise InputError(f"--traces {folder}: there is no such folder; name the --out folder of `mia eval run`")
    gallery = Gallery(tuple(traces))
    keeper = Keeper(bank, config, read_only=read_only or config.server.read_only)

    async def report(form: RunForm) -> object:
        await anyio.to_thread.run_sync(gallery.report, form.run)
        return {"path": ticket(token, form.run)}

    routes = [*keeper.routes(), *gallery.routes(), Route("POST", "/api/report", report, RunForm, "a report's address")]
    api = JsonService("MIA page", routes, most_bytes=BODY_BYTES)
    return Door(api, token, allowed_names(config.server), report=gallery.report, run_names=gallery.names)


async def serve_page(
    bank: Bank,
    config: MiaConfig,
    *,
    traces: Sequence[Path] = (),
    read_only: bool = False,
    ready: Callable[[str], None],
) -> None:
    """Serve until a signal; `ready` is told the address with the token once it can be opened.

    Raises:
        ConfigError: the port is taken.
        InputError: a folder of traces is not there.
    """
    token = secrets.token_urlsafe(24)
    door = build_page(bank, config, token=token, traces=traces, read_only=read_only)
    with closing(listen(config.server)) as bound:
        # The part behind # stays in the browser: it is in no request and in no log.
        ready(f"http://127.0.0.1:{bound.getsockname()[1]}/#token={token}")
        await serve_on(door, bound)
