"""Fixtures shared by all tests."""

import gc
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bank_kinds import KINDS, Banks, banks_of

if TYPE_CHECKING:
    from mia_skill.agents.mia import Mia
    from mia_skill.core.chat import ChatModel
    from mia_skill.core.config import Role
    from retrieval.search import SearchEngine


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-skip", action="store_true", help="a test that would be skipped fails instead")


def pytest_collection_finish() -> None:
    """What was imported and collected stays until the end: a garbage collection that walks it all costs every test."""
    gc.collect()
    gc.freeze()


ABSENT = "no development data"
"""How the only skip begins that a run which may skip nothing still allows: the data are not the project's to bring."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """With --no-skip (CI, and targets that exist to run these tests) a skipped test is a failed one."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("no_skip"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if ABSENT not in reason:
            report.outcome, report.longrepr = "failed", f"{item.nodeid} may not be skipped here: {reason}"
    return report


@pytest.fixture(scope="session")
def node() -> str:
    """A node of 20 or newer: MIA_NODE, or the one on the path."""
    found = os.environ.get("MIA_NODE") or shutil.which("node")
    if found is None:
        pytest.skip("no node on this machine: set MIA_NODE to one of 20 or newer")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < 20:
        pytest.skip(f"node {version.strip()} is older than 20: set MIA_NODE to a newer one")
    return found


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data beside the checkout; tests that need it are skipped, with the reason, where it is not."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("MIA_SHARED_DATA") or root.parent / "shared" / "data")
    if not (folder / "sandbox_wiki" / "corpus.00.jsonl").is_file():
        pytest.skip(f"{ABSENT} at {folder}: set MIA_SHARED_DATA to the folder that holds sandbox_wiki")
    return folder


@pytest.fixture(scope="session", params=KINDS)
def banks(request: pytest.FixtureRequest) -> Iterator[Banks]:
    """Opens banks; a test that asks for it runs against every kind."""
    opener = banks_of(request.param)
    yield opener
    opener.close()


@pytest.fixture
def make_mia(tmp_path: Path) -> Iterator[Callable[..., "Mia"]]:
    """Makes `Mia` objects over one real bank with instant vectors; models and search engine are handed in."""
    from mia_skill.agents.manager import Manager
    from mia_skill.agents.mia import Mia, Sources
    from mia_skill.core.config import MiaConfig
    from retrieval.embed import HashEmbedder
    from retrieval.sqlite_bank import SqliteBank

    config = MiaConfig(home=tmp_path)
    bank = SqliteBank.open(config.bank_path, HashEmbedder())

    def made(*, models: "dict[Role, ChatModel] | None" = None, corpus: "SearchEngine | None" = None) -> Mia:
        return Mia(
            config=config, bank=bank, manager=Manager(bank), sources=Sources(corpus=corpus), models=dict(models or {})
        )

    yield made
    bank.close()


@pytest.fixture
def trainer(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Makes streaming trainers over one folder; a second one is a restart."""
    from training.policy_store import ScriptedLearner
    from training.stream import StreamTrainer

    opened: list[StreamTrainer] = []

    def made(learner: Any = None, **parts: Any) -> StreamTrainer:
        given = {"groups_per_update": 1, "width": 2} | parts
        opened.append(StreamTrainer(tmp_path / "stream", learner or ScriptedLearner(), **given))
        return opened[-1]

    yield made
    for one in opened:
        one.close()
