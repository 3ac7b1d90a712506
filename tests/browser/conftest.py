"""A real Chromium, the real command `mia ui` in a process of its own, and a guard over every page that is opened."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ui_world import filled

from browser.prepare import FLAGS, found
from mia_skill.app import open_bank
from mia_skill.core.config import MiaConfig

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from mia_skill.core.types import MemoryUnit

WAIT_MS = 15_000
MIA = (sys.executable, "-c", "from mia_skill.cli import main; main()")
"""The command, whatever is on the path."""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    """For one module: while its driver is open, its event loop is this thread's, and no async test could run."""
    playwright = pytest.importorskip("playwright.sync_api", reason="run `make test-browser`")
    program = found()
    if program is None:
        pytest.skip("no Chromium on the path: run `make test-browser`")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=list(FLAGS))
        yield opened
        opened.close()


@contextmanager
def serving(home: Path, *words: str) -> Iterator[str]:
    """`mia ui` in a process of its own; gives the address that it printed."""
    command = [*MIA, "--home", str(home), "ui", "--no-browser", "--port", "0", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def units(home: Path) -> "dict[str, MemoryUnit]":
    bank = open_bank(MiaConfig(home=home))
    made = filled(bank)
    bank.close()
    return made


@pytest.fixture(scope="module")
def address(home: Path, units: object) -> Iterator[str]:
    with serving(home) as printed:
        yield printed


class Guard:
    """What must never happen on a page: an error, a dialog, a request to elsewhere, a broken policy."""

    def __init__(self, page: "Page") -> None:
        self.seen: list[str] = []
        self.allowed: tuple[str, ...] = ()
        page.on("pageerror", lambda error: self.seen.append(f"error: {error}"))
        page.on("console", lambda said: said.type in ("error", "warning") and self.seen.append(f"console: {said.text}"))
        page.on("dialog", lambda dialog: (self.seen.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", self._request)

    def _request(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "http://localhost:", "file://", "about:")):
            self.seen.append(f"request: {request.url}")

    def check(self) -> None:
        """Raises: AssertionError: something did."""
        assert [one for one in self.seen if not any(word in one for word in self.allowed)] == []


@pytest.fixture
def open_page(browser: "Browser") -> "Iterator[Callable[..., tuple[Page, Guard]]]":
    """Opens addresses, each in a profile of its own; what the guards saw fails the test at its end."""
    opened: list[tuple[Any, Guard]] = []

    def made(address: str, **options: Any) -> "tuple[Page, Guard]":
        context = browser.new_context(viewport={"width": 1280, "height": 820}, **options)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        guard = Guard(page)
        opened.append((context, guard))
        page.goto(address)
        return page, guard

    yield made
    for context, _ in opened:
        context.close()
    for _, guard in opened:
        guard.check()


@pytest.fixture
def page(address: str, open_page: "Callable[..., tuple[Page, Guard]]") -> "Page":
    opened, _ = open_page(address)
    opened.get_by_role("heading", name="Overview").wait_for()
    return opened
