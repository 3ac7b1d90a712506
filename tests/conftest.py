"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data beside the checkout; tests that need it are skipped, with the reason, where it is not."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("MIA_SHARED_DATA") or root.parent / "shared" / "data")
    if not (folder / "sandbox_wiki" / "corpus.00.jsonl").is_file():
        pytest.skip(f"no development data at {folder}: set MIA_SHARED_DATA to the folder that holds sandbox_wiki")
    return folder
