"""`mia ui` on the command line: the address it prints, and what stops it, with the fix."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import httpx
from click.testing import CliRunner
from ui_world import TOKEN, ask, client_of, filled

from mia_skill.cli import main
from mia_skill.core.config import MiaConfig
from mia_skill.ui.serve import build_page
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank


@contextmanager
def running(home: Path, *words: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and the address it printed."""
    command = [
        sys.executable,
        "-c",
        "from mia_skill.cli import main; main()",
        "--home",
        str(home),
        "ui",
        "--no-browser",
        "--port",
        "0",
        *words,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, process.stdout.readline().strip()
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=30)


def test_it_prints_an_address_whose_token_opens_the_page_and_ends_on_a_signal(tmp_path: Path) -> None:
    with running(tmp_path) as (process, address):
        base, _, token = address.partition("/#token=")
        assert base.startswith("http://127.0.0.1:")
        assert len(token) >= 32
        assert httpx.get(base).status_code == 200
        assert httpx.post(f"{base}/api/session", json={}).status_code == 401
        told = httpx.post(f"{base}/api/session", json={}, headers={"authorization": f"Bearer {token}"})
        assert told.json()["bank"] == str(tmp_path / "memory.sqlite3")
    assert process.returncode == 0


def test_a_browser_is_started_without_the_token_in_its_command_line(tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$@"\nfile="${1#file://}"\nstat -c %a "$file"\ncat "$file"\n')
    browser.chmod(0o755)
    home = tmp_path / "home"
    command = [sys.executable, "-c", "from mia_skill.cli import main; main()", "--home", str(home), "ui", "--port", "0"]
    environment = {**os.environ, "BROWSER": f"{browser} %s"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        address, opened, mode, page = (process.stdout.readline().strip() for _ in range(4))
        assert opened.startswith("file://")
        assert address.partition("#token=")[2] not in opened
        assert mode == "600"
        assert f'url={address}"' in page
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
    assert not list(home.glob("page-*"))


def test_a_port_that_is_taken_is_named_with_the_way_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["--home", str(tmp_path), "ui", "--no-browser", "--port", port])
    assert result.exit_code == 1
    assert port in result.output
    assert "--port" in result.output


def test_a_file_that_is_no_bank_is_left_alone_and_named(tmp_path: Path) -> None:
    (tmp_path / "memory.sqlite3").write_text("not a database, but long enough to be looked at" * 40)
    result = CliRunner().invoke(main, ["--home", str(tmp_path), "ui", "--no-browser", "--port", "0"])
    assert result.exit_code == 1
    assert "memory.sqlite3" in result.output


def test_a_folder_that_cannot_hold_a_bank_is_named_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    result = CliRunner().invoke(main, ["--home", str(tmp_path / "file" / "home"), "ui", "--no-browser", "--port", "0"])
    assert result.exit_code == 1
    assert "writable" in result.output


def test_a_bank_that_another_process_locks_can_be_looked_at_and_a_change_says_why_it_failed(tmp_path: Path) -> None:
    path = tmp_path / "memory.sqlite3"
    bank = SqliteBank.open(path, HashEmbedder(), busy_timeout_s=0.05)
    web = filled(bank)["web"]
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    door = build_page(bank, MiaConfig(home=tmp_path), token=TOKEN)

    async def asked() -> None:
        async with client_of(door) as page:
            await ask(page, "unit", id=web.id)
            told = await ask(page, "promote", 503, id=web.id, confirm="promote")
            assert "another process holds the write lock" in told["error"]

    anyio.run(asked)
    other.close()
    bank.close()


def test_a_folder_of_traces_that_is_not_there_is_named(tmp_path: Path) -> None:
    words = ["--home", str(tmp_path), "ui", "--no-browser", "--port", "0", "--traces", str(tmp_path / "nowhere")]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 1
    assert "mia eval run" in result.output


def test_the_help_tells_all_one_needs() -> None:
    text = CliRunner().invoke(main, ["ui", "--help"]).output
    for word in ("--port", "--no-browser", "--read-only", "--traces", "token", "127.0.0.1", "ssh -L", "Ctrl-C"):
        assert word in text
