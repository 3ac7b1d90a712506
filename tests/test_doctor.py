"""`mia doctor`: what must be mended comes first, what nobody asked for last, and an endpoint can name its models."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result

from mia_skill.cli import main
from mia_skill.cli.doctor import EXTRAS


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIA_MEMORY__EMBEDDER", "hash")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def doctor(home: Path, *pairs: str, form: tuple[str, ...] = ()) -> Result:
    words = [word for pair in pairs for word in ("--set", pair)]
    return CliRunner().invoke(main, ["--home", str(home), *words, "doctor", *form])


def findings(home: Path, *pairs: str, code: int = 0) -> list[dict[str, Any]]:
    result = doctor(home, *pairs, form=("--json",))
    assert result.exit_code == code, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    return found


class Endpoint(BaseHTTPRequestHandler):
    """Lists two models."""

    def do_GET(self) -> None:
        body = json.dumps({"data": [{"id": "small-one"}, {"id": "large-one"}]}).encode()
        self.send_response(200 if self.path == "/v1/models" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_must_be_mended_comes_first_and_optional_packages_that_nobody_asks_for_last(home: Path) -> None:
    found = findings(home, "search.corpus=" + json.dumps([str(home / "none.jsonl")]), code=3)
    assert (found[0]["part"], found[0]["state"]) == ("corpus", "problem")
    assert found[1]["part"] == "bank"
    parts = [one["part"] for one in found]
    assert parts[-len(EXTRAS) :] == [f"[{extra}]" for extra in EXTRAS]


def test_people_are_told_of_the_packages_that_nobody_asks_for_in_one_last_line(home: Path) -> None:
    lines = doctor(home).stdout.splitlines()
    assert not any(line.split()[1].startswith("[") for line in lines)
    assert all(extra in lines[-1] for extra in EXTRAS)
    assert "pip install 'mia-skill[NAME]'" in lines[-1]


def test_a_package_that_the_settings_ask_for_is_a_problem_when_it_is_missing(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, "images", "no_such_package")
    found = findings(home, f"images.folder={home}", code=3)
    (images,) = [one for one in found if one["part"] == "[images]"]
    assert images["state"] == "problem"
    assert images["fix"] == "pip install 'mia-skill[images]'"
    assert found.index(images) == 0


def test_an_endpoint_without_a_model_is_asked_what_it_serves(home: Path, endpoint: str) -> None:
    found = findings(home, f"models.default.base_url={endpoint}", code=3)
    assert found[0]["part"] == "model"
    assert found[0]["state"] == "problem"
    assert "models.default.model (MIA_MODELS__DEFAULT__MODEL)" in found[0]["fix"]
    assert "small-one or large-one" in found[0]["fix"]
    assert {one["part"]: one["state"] for one in found}["bank"] == "ok"


def test_each_endpoint_without_a_model_is_told_by_its_own_setting(home: Path, endpoint: str) -> None:
    pairs = (f"models.planner.base_url={endpoint}", "models.judge.base_url=http://127.0.0.1:9/v1")
    fixes = [one["fix"] for one in findings(home, *pairs, code=3) if one["part"] == "model"]
    assert any("models.planner.model" in fix and "small-one" in fix for fix in fixes)
    assert any("models.judge.model" in fix and "models.judge.base_url" in fix for fix in fixes)


def test_an_endpoint_that_serves_its_model_is_fine(home: Path, endpoint: str) -> None:
    found = findings(home, f"models.default.base_url={endpoint}", "models.default.model=small-one")
    assert {one["part"]: one["state"] for one in found}["model"] == "ok"


def test_an_endpoint_that_serves_another_model_is_mended_by_naming_one_of_its_own(home: Path, endpoint: str) -> None:
    found = findings(home, f"models.default.base_url={endpoint}", "models.default.model=other", code=3)
    named = "set models.default.model (MIA_MODELS__DEFAULT__MODEL) to what it serves: small-one or large-one"
    assert found[0]["fix"] == f"it does not serve that: {named}"


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("memory.namespce=x", "memory.namespace"),
        ("models.default.model=m", "models.default.base_url"),
        ("memory.k_success=-1", "memory.k_success"),
        ("memory.namespace", "KEY=VALUE"),
    ],
)
def test_settings_that_cannot_be_read_are_a_finding_beside_what_can_be_said_without_them(
    pair: str, told: str, home: Path
) -> None:
    found = findings(home, pair, code=3)
    assert (found[0]["part"], found[0]["state"]) == ("settings", "problem")
    assert told in found[0]["detail"]
    assert {"python", "faiss", "hosts"} <= {one["part"] for one in found}
