"""ClawHub: both skills would be published as they are, by its own client, without a login and without the network."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.hosts
CLAWHUB = "clawhub/bin/clawdhub.js"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def registry() -> Iterator[str]:
    """A registry on loopback that knows no skill yet."""

    class Empty(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = b"Skill not found"
            self.send_response(404)
            self.send_header("content-type", "text/plain")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Empty)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("skill", ["mia", "mia-trust"])
def test_a_dry_run_would_publish(host: Any, registry: str, skill: str) -> None:
    folder = ROOT / "skills" / skill
    given = ("--registry", registry, "--site", registry, "skill", "publish", str(folder), "--version", "0.1.0")
    done = host.run(CLAWHUB, *given, "--dry-run", "--json")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    told = json.loads(done.stdout)
    assert told["status"] == "would-publish", told
    assert told["slug"] == skill


def test_a_dry_run_refuses_a_folder_that_is_a_plugin(host: Any, registry: str, tmp_path: Path) -> None:
    (tmp_path / "x" / ".claude-plugin").mkdir(parents=True)
    (tmp_path / "x" / ".claude-plugin" / "plugin.json").write_text('{"name": "x"}')
    (tmp_path / "x" / "SKILL.md").write_text("---\nname: x\ndescription: y\n---\n")
    given = ("--registry", registry, "--site", registry, "skill", "publish", str(tmp_path / "x"), "--dry-run", "--json")
    assert host.run(CLAWHUB, *given).returncode != 0
