"""Pages that are made by scripts, drawn by a headless Chromium that can reach nothing but the checking proxy."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass

import anyio
import httpcore
from anyio.abc import Process

from mia_skill.core.errors import ConfigError, VisitError
from retrieval.address import Door, target_of
from retrieval.connect import GuardedNetwork
from retrieval.fetch import Fetched
from retrieval.proxy import CheckingProxy

__all__ = ["Browser"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-domain-reliability",
    "--disable-features=NetworkTimeServiceQuerying,OptimizationHints,MediaRouter,Translate",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--mute-audio",
    # Nothing goes around the proxy: no name is looked up, loopback is no exception, no UDP.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--proxy-bypass-list=<-loopback>",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--js-flags=--max-old-space-size=256",
    "--virtual-time-budget=8000",
    "--dump-dom",
)
KEPT_NAMES = frozenset(
    {"PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "FONTCONFIG_PATH", "XDG_RUNTIME_DIR"}
)
"""Variables that it is given: it draws what strangers wrote, so the keys of this process are not among them."""
SCRIPTED = 6
"""Times the bytes of a page that its scripts, styles and data may have."""


@dataclass(frozen=True)
class Browser:
    """Starts a browser for each page, with a profile of its own, and ends it with all its processes."""

    door: Door
    network: httpcore.AsyncNetworkBackend | None
    """Makes the connections; a seam for tests."""
    user_agent: str
    max_bytes: int
    limit_s: float
    program: str | None = None
    """None: the one that is on the path."""

    async def page(self, url: str) -> Fetched:
        """The page at a checked address, as it is after its scripts ran.

        Raises:
            ConfigError: there is no browser.
            VisitError: it did not draw the page in time.
        """
        program = self.program or next((found for name in NAMES if (found := shutil.which(name))), None)
        if program is None:
            raise ConfigError("visit.browser is on and no Chromium is on the path: install it or set visit.chromium")
        network = GuardedNetwork(self._door_of(url), self.network)
        proxy = CheckingProxy(network, SCRIPTED * self.max_bytes)
        body, failure = b"", None
        with tempfile.TemporaryDirectory(prefix="mia-browser-", ignore_cleanup_errors=True) as profile:
            async with proxy.listening() as port:
                own = [f"--proxy-server=http://127.0.0.1:{port}", f"--user-data-dir={profile}"]
                own += [f"--user-agent={self.user_agent}"]
                # As root, in a container, Chromium starts without its sandbox only.
                own += ["--no-sandbox"] if os.geteuid() == 0 else []
                try:
                    body = await self._drawn([program, *FLAGS, *own, url], url)
                except (ConfigError, VisitError) as error:
                    failure = error  # raised outside: the proxy's tasks would wrap it in a group
        if failure is not None:
            raise failure
        cut = len(body) > self.max_bytes
        return Fetched(url, 200, "text/html", "utf-8", body[: self.max_bytes], cut)

    def _door_of(self, url: str) -> Door:
        """Hosts that are let through are so for whoever asks for them by name: scripts of other pages are not."""
        target = target_of(url)
        return self.door if self.door.allows(target.host, target.port) else Door(self.door.resolve)

    async def _drawn(self, command: list[str], url: str) -> bytes:
        try:
            env = {name: value for name, value in os.environ.items() if name in KEPT_NAMES}
            process = await anyio.open_process(command, stderr=subprocess.DEVNULL, start_new_session=True, env=env)
        except OSError as cause:
            raise ConfigError(f"{command[0]} cannot be started ({cause.strerror}): set visit.chromium") from cause
        body = b""
        try:
            with anyio.fail_after(self.limit_s):
                while len(body) <= self.max_bytes and process.stdout is not None:
                    body += await process.stdout.receive()
        except anyio.EndOfStream:
            pass
        except TimeoutError as cause:
            raise VisitError(f"{url[:200]} was not drawn within {self.limit_s:g} s: use another source") from cause
        finally:
            await ended(process)
        if not body.strip():
            raise VisitError(f"{url[:200]} was not drawn by the browser: use another source")
        return body


async def ended(process: Process) -> None:
    """Kill the browser with its process group, and collect it, also when the caller is being cancelled."""
    with anyio.CancelScope(shield=True):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.aclose()
