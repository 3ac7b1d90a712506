"""`mia doctor` looks at each host from the inside: what it passes, what it drops, and whether the server starts so."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mia_skill.cli import main
from mia_skill.install.finding import Finding
from mia_skill.install.hosts import HOSTS, Place
from mia_skill.install.inside import check_host, check_hosts, given_environment

ROOT = Path(__file__).resolve().parents[1]


def place(home: Path, **environment: str) -> Place:
    return Place(home=home, platform="linux", environment={"HOME": str(home), "PATH": "/usr/bin:/bin", **environment})


def openclaw(home: Path, **entry: object) -> Finding:
    path = home / ".openclaw" / "openclaw.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"mcp": {"servers": {"mia": entry}}}), encoding="utf-8")
    found = check_host(HOSTS["openclaw"], place(home))
    assert found is not None
    return found


def script(home: Path, body: str) -> list[str]:
    """A stand-in for the server, so that no test pays for a real start."""
    file = home / "server.py"
    file.write_text(body, encoding="utf-8")
    return ["-I", str(file)]


LISTS = 'import json, sys\nassert sys.argv[-1] == "--print-tools"\nprint(json.dumps([{"name": "plan"}]))\n'


def test_no_entry_is_no_problem(tmp_path: Path) -> None:
    (found,) = check_hosts(place(tmp_path))
    assert found.state == "off"
    assert "mia install" in found.detail


def test_an_entry_that_starts_is_fine(tmp_path: Path) -> None:
    found = openclaw(tmp_path, command=sys.executable, args=script(tmp_path, LISTS), env={"MIA_HOME": "/h"})
    assert found.state == "ok", found.detail
    assert "MIA_HOME" in found.detail


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"command": "x", "enabled": False}, "switched off"),
        ({"args": []}, "no command"),
        ({"command": "no-such-program-of-mia"}, "absolute path"),
        ({"command": "/no/such/python"}, "cannot be started"),
        ({"command": "/usr/bin/env", "env": {"PYTHONPATH": "/x"}}, "drops PYTHONPATH"),
        ({"command": "/usr/bin/env", "env": {"MIA_SEARCH__WEB_KEY": "${SERPER_KEY}"}}, "needs SERPER_KEY"),
    ],
)
def test_what_is_wrong_with_an_entry_is_said_with_the_fix(entry: dict[str, object], words: str, tmp_path: Path) -> None:
    found = openclaw(tmp_path, **entry)
    assert found.state == "problem"
    assert words in found.detail
    assert "mia install openclaw" in found.fix


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("raise SystemExit('mia-mcp: unknown setting')", "unknown setting"),
        ("import no_such_module_of_mia", "no_such_module_of_mia"),
        ("print('hello')", "not our server"),
        ("print('[]')", "no tool"),
    ],
)
def test_a_server_that_does_not_start_is_quoted(body: str, words: str, tmp_path: Path) -> None:
    found = openclaw(tmp_path, command=sys.executable, args=script(tmp_path, body))
    assert found.state == "problem"
    assert words in found.detail


def test_the_server_is_given_only_what_hosts_pass_and_what_the_entry_says(tmp_path: Path) -> None:
    entry = {"command": "x", "env": {"MIA_HOME": "${HOME}/m", "LD_PRELOAD": "x", "MIA_SEARCH__K": "3"}}
    at = place(tmp_path, OPENAI_API_KEY="k", MIA_SEARCH__WEB="ddgs", PATH="/venv/bin:/usr/bin", TERM="xterm")
    assert given_environment(entry, at) == {
        "HOME": str(tmp_path),
        "PATH": "/usr/bin:/bin:/venv/bin",
        "TERM": "xterm",
        "MIA_HOME": f"{tmp_path}/m",
        "MIA_SEARCH__K": "3",
    }


def test_a_broken_host_file_and_an_outdated_skill_are_problems(tmp_path: Path) -> None:
    path = tmp_path / ".cursor" / "mcp.json"
    path.parent.mkdir()
    path.write_text("{", encoding="utf-8")
    found = check_host(HOSTS["cursor"], place(tmp_path))
    assert found is not None
    assert found.state == "problem"
    skill = tmp_path / ".openclaw" / "skills" / "mia"
    skill.mkdir(parents=True)
    (skill / ".mia-skill.json").write_text('{"gone.md": "0"}', encoding="utf-8")
    stale = openclaw(tmp_path, command=sys.executable, args=script(tmp_path, LISTS))
    assert "another version" in stale.detail


def test_a_server_behind_an_address_is_not_started(tmp_path: Path) -> None:
    assert "HTTP" in openclaw(tmp_path, url="http://localhost:8756/mcp", transport="streamable-http").detail


def test_the_doctor_tells_old_names_and_unfilled_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MIA_MEMORY__EMBEDDER", "hash")
    monkeypatch.setenv("MIA_MEMORY_FILE", "/old/memory.jsonl")
    monkeypatch.setenv("MIA_SEARCH__WEB_KEY", "${user_config.x}")
    result = CliRunner().invoke(main, ["--home", str(tmp_path), "doctor", "--json"])
    findings = {one["part"]: one for one in json.loads(result.stdout)["findings"]}
    assert "--format mia-skill" in findings["old name"]["detail"]
    assert findings["variables"]["state"] == "problem"
    assert result.exit_code == 3
