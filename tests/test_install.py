"""`mia install` on a temporary home: every host fresh, with other entries, repeated, taken out, broken, read-only."""

import json
import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mia_skill.cli import main
from mia_skill.core.errors import InputError
from mia_skill.install.config_file import BACKUP, Change, apply
from mia_skill.install.edit import lookup
from mia_skill.install.hosts import HOSTS, Place

OTHERS = {
    "openclaw": (
        "// mine\n{\n  gateway: { auth: { token: 'keep-me' } },\n  mcp: { servers: { x: { command: 'y' } } },\n}\n"
    ),
    "claude-code": '{\n  "numStartups": 3,\n  "mcpServers": {},\n  "projects": {"/p": {"mcpServers": {}}}\n}',
    "claude-desktop": '{"globalShortcut": "", "mcpServers": {"files": {"command": "npx", "args": ["-y"]}}}',
    "cursor": '{\n\t"mcpServers": {\n\t\t"x": {"url": "http://localhost:1/mcp"}\n\t}\n}\n',
    "vscode": (
        '{\n  // my servers\n  "servers": {\n    "x": {"type": "stdio", "command": "y"}, // old\n  },\n'
        '  "inputs": [],\n}\n'
    ),
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("OPENCLAW_STATE_DIR", "OPENCLAW_CONFIG_PATH", "CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path


def mia(*words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == code, result.output
    return result


def config_of(host: str, home: Path, text: str | None = None) -> Path:
    path = HOSTS[host].config(Place(home=home, platform="linux", environment={}))
    if text is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return path


def entry(host: str, path: Path) -> dict[str, object]:
    found = lookup(path.read_text(encoding="utf-8"), (*HOSTS[host].servers, "mia"))
    assert isinstance(found, dict)
    return dict(found)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


every_host = pytest.mark.parametrize("host", list(HOSTS))


@every_host
def test_a_fresh_home_gets_an_entry_that_names_the_interpreter_and_the_home_of_the_bank(host: str, home: Path) -> None:
    mia("install", host)
    path = config_of(host, home)
    made = entry(host, path)
    assert made["command"] == sys.executable
    assert made["args"] == ["-P", "-m", "mcp_server"]
    assert made["env"] == {**HOSTS[host].env, "MIA_HOME": str(home / ".local/share/mia")}
    assert json.loads(path.read_text(encoding="utf-8"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not path.with_name(path.name + BACKUP).exists()


@every_host
def test_other_entries_comments_and_permissions_stay_and_a_backup_is_kept(host: str, home: Path) -> None:
    path = config_of(host, home, OTHERS[host])
    path.chmod(0o640)
    mia("install", host)
    text = path.read_text(encoding="utf-8")
    for word in ("keep-me", "mine", "my servers", "old", "numStartups", "npx", "localhost", "inputs"):
        assert (word in text) == (word in OTHERS[host])
    assert entry(host, path)["command"] == sys.executable
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    backup = path.with_name(path.name + BACKUP)
    assert backup.read_text(encoding="utf-8") == OTHERS[host]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o640


@every_host
def test_installing_again_changes_nothing(host: str, home: Path) -> None:
    config_of(host, home, OTHERS[host])
    mia("install", host)
    before = snapshot(home)
    assert "has it already" in mia("install", host).output
    assert snapshot(home) == before


@every_host
@pytest.mark.parametrize("fresh", [True, False])
def test_taking_it_out_leaves_the_home_as_it_was(host: str, fresh: bool, home: Path) -> None:
    path = config_of(host, home, None if fresh else OTHERS[host])
    before = snapshot(home)
    mia("install", host)
    mia("install", host, "--uninstall")
    assert snapshot(home) == before
    assert path.exists() is not fresh
    assert "has no mia" in mia("install", host, "--uninstall").output


@every_host
def test_what_the_user_changed_since_is_kept_when_it_is_taken_out(host: str, home: Path) -> None:
    path = config_of(host, home, OTHERS[host])
    mia("install", host)
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("{", '{"since": 1,', 1), encoding="utf-8")
    mia("install", host, "--uninstall")
    after = path.read_text(encoding="utf-8")
    assert lookup(after, ("since",)) == 1
    assert lookup(after, (*HOSTS[host].servers, "mia")) is None
    assert lookup(after, (*HOSTS[host].servers, "x")) == lookup(OTHERS[host], (*HOSTS[host].servers, "x"))


@every_host
def test_a_dry_run_shows_the_entry_and_changes_nothing(host: str, home: Path) -> None:
    config_of(host, home, OTHERS[host])
    before = snapshot(home)
    output = mia("install", host, "--dry-run").output
    assert sys.executable in output
    assert "keep-me" not in output
    assert snapshot(home) == before
    mia("install", host)
    installed = snapshot(home)
    assert "would be taken out" in mia("install", host, "--uninstall", "--dry-run").output
    assert snapshot(home) == installed


@every_host
@pytest.mark.parametrize(
    "text", ['{"mcpServers": {', '{"servers": 1, "mcpServers": 1, "mcp": 1}', "[]", '{"a": 1, "a": 2}']
)
def test_a_broken_file_is_left_alone_and_the_snippet_is_given(host: str, text: str, home: Path) -> None:
    path = config_of(host, home, text)
    before = snapshot(home)
    output = mia("install", host, code=1).output
    assert snapshot(home) == before
    assert path.name in output
    assert "mcp_server" in output
    assert "Traceback" not in output


@every_host
def test_a_read_only_file_is_left_alone(host: str, home: Path) -> None:
    path = config_of(host, home, OTHERS[host])
    path.chmod(0o444)
    before = snapshot(home)
    assert "read-only" in mia("install", host, code=1).output
    assert snapshot(home) == before


def test_a_place_that_cannot_be_written_is_said_and_nothing_stays_behind(home: Path) -> None:
    (home / ".cursor").write_text("a file where a folder is due", encoding="utf-8")
    before = snapshot(home)
    assert "cannot" in mia("install", "cursor", code=1).output
    assert snapshot(home) == before


def test_a_file_that_is_no_text_is_refused(home: Path) -> None:
    path = config_of("cursor", home, "{}")
    path.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in mia("install", "cursor", code=1).output


def test_a_file_written_by_somebody_else_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.write_text('{"theirs": 1}', encoding="utf-8")
    with pytest.raises(InputError, match="somebody else"):
        apply(Change(path=path, before="{}", after='{"ours": 1}'))
    assert path.read_text(encoding="utf-8") == '{"theirs": 1}'


def test_a_linked_configuration_stays_a_link(home: Path) -> None:
    real = home / "dotfiles" / "cursor.json"
    real.parent.mkdir()
    real.write_text("{}", encoding="utf-8")
    (home / ".cursor").mkdir()
    (home / ".cursor" / "mcp.json").symlink_to(real)
    mia("install", "cursor")
    assert (home / ".cursor" / "mcp.json").is_symlink()
    assert "mcp_server" in real.read_text(encoding="utf-8")


def test_a_newer_installation_updates_the_entry_and_keeps_what_the_user_added_to_it(home: Path) -> None:
    kept = {"MIA_SEARCH__WEB": "ddgs", "MIA_SERVER__PROMPTS": "true"}
    old = {"command": "/old/python", "args": ["-m", "x"], "requestTimeoutMs": 90000, "env": kept}
    path = config_of("openclaw", home, json.dumps({"mcp": {"servers": {"mia": old}}}))
    mia("install", "openclaw")
    made = entry("openclaw", path)
    assert made["command"] == sys.executable
    assert made["requestTimeoutMs"] == 90000
    assert made["env"] == {**HOSTS["openclaw"].env, **kept, "MIA_HOME": str(home / ".local/share/mia")}


def test_another_file_can_be_named_and_then_no_skills_are_copied(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "project" / ".mcp.json"
    mia("install", "claude-code", "--config-path", str(path))
    assert entry("claude-code", path)["type"] == "stdio"
    assert not (home / ".claude").exists()


def test_variables_are_written_only_on_request_and_never_shown(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIA_SEARCH__WEB_KEY", "sk-secret")
    assert "--env MIA_SEARCH__WEB_KEY" in mia("install", "cursor").output
    assert "sk-secret" not in config_of("cursor", home).read_text(encoding="utf-8")
    output = mia("install", "cursor", "--env", "MIA_SEARCH__WEB_KEY", "--env", "MIA_SEARCH__K=3", "--dry-run").output
    assert "sk-secret" not in output
    mia("install", "cursor", "--env", "MIA_SEARCH__WEB_KEY", "--env", "MIA_SEARCH__K=3")
    env = entry("cursor", config_of("cursor", home))["env"]
    assert isinstance(env, dict)
    assert (env["MIA_SEARCH__WEB_KEY"], env["MIA_SEARCH__K"]) == ("sk-secret", "3")


def test_a_variable_that_is_no_setting_or_is_not_set_is_refused(home: Path) -> None:
    assert "no setting" in mia("install", "cursor", "--env", "MIA_SEARCH__WEBB=1", code=1).output
    assert "not set here" in mia("install", "cursor", "--env", "MIA_SEARCH__WEB", code=1).output
    assert not (home / ".cursor").exists()


def test_hosts_that_moved_their_folder_are_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENCLAW_STATE_DIR", str(home / "state"))
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", str(home / "claude"))
    mia("install", "openclaw")
    mia("install", "claude-code")
    assert (home / "state" / "openclaw.json").is_file()
    assert (home / "state" / "skills" / "mia" / "SKILL.md").is_file()
    assert (home / "claude" / ".claude.json").is_file()
    assert (home / "claude" / "skills" / "mia" / "SKILL.md").is_file()


@pytest.mark.parametrize(
    ("platform", "host", "expected"),
    [
        ("darwin", "claude-desktop", "Library/Application Support/Claude/claude_desktop_config.json"),
        ("win32", "claude-desktop", "AppData/Roaming/Claude/claude_desktop_config.json"),
        ("linux", "vscode", ".config/Code/User/mcp.json"),
        ("darwin", "vscode", "Library/Application Support/Code/User/mcp.json"),
        ("win32", "cursor", ".cursor/mcp.json"),
    ],
)
def test_each_system_has_its_own_place(platform: str, host: str, expected: str, tmp_path: Path) -> None:
    place = Place(home=tmp_path, platform=platform, environment={})
    assert HOSTS[host].config(place) == tmp_path / expected


# --- skills


def test_skills_are_copied_for_hosts_that_read_them_and_not_on_request(home: Path) -> None:
    mia("install", "openclaw", "--no-skills")
    assert not (home / ".openclaw" / "skills").exists()
    mia("install", "openclaw")
    assert {path.name for path in (home / ".openclaw" / "skills").iterdir()} == {"mia", "mia-trust"}


def test_a_foreign_skill_of_the_same_name_is_left_alone(home: Path) -> None:
    theirs = home / ".openclaw" / "skills" / "mia" / "SKILL.md"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("the published one", encoding="utf-8")
    output = mia("install", "openclaw").output
    assert "left alone" in output
    assert "--format mia-skill" in output
    mia("install", "openclaw", "--uninstall")
    assert theirs.read_text(encoding="utf-8") == "the published one"
    assert not (home / ".openclaw" / "skills" / "mia-trust").exists()


def test_a_skill_file_that_the_user_changed_or_added_is_kept(home: Path) -> None:
    folder = home / ".openclaw" / "skills" / "mia"
    mia("install", "openclaw")
    (folder / "SKILL.md").write_text("my own words", encoding="utf-8")
    (folder / "notes.md").write_text("mine", encoding="utf-8")
    assert "your changes to SKILL.md were kept" in mia("install", "openclaw").output
    mia("install", "openclaw", "--uninstall")
    assert {path.name for path in folder.iterdir()} == {"SKILL.md", "notes.md"}


def test_an_older_skill_is_brought_up_to_date_and_what_is_no_longer_shipped_goes(home: Path) -> None:
    folder = home / ".openclaw" / "skills" / "mia"
    mia("install", "openclaw")
    shipped = (folder / "SKILL.md").read_bytes()
    record = json.loads((folder / ".mia-skill.json").read_text(encoding="utf-8"))
    from hashlib import sha256

    for name in ("SKILL.md", "gone.md"):
        (folder / name).write_text("older", encoding="utf-8")
        record[name] = sha256(b"older").hexdigest()
    (folder / ".mia-skill.json").write_text(json.dumps(record), encoding="utf-8")
    assert "updated" in mia("install", "openclaw").output
    assert (folder / "SKILL.md").read_bytes() == shipped
    assert not (folder / "gone.md").exists()


@pytest.mark.parametrize("record", ["{", '{"../../precious.md": "x"}', "[]"])
def test_a_damaged_record_of_copied_files_touches_nothing(record: str, home: Path) -> None:
    precious = home / ".openclaw" / "precious.md"
    mia("install", "openclaw")
    precious.write_text("x", encoding="utf-8")
    (home / ".openclaw" / "skills" / "mia" / ".mia-skill.json").write_text(record, encoding="utf-8")
    assert "damaged" in mia("install", "openclaw", code=1).output
    assert "damaged" in mia("install", "openclaw", "--uninstall", code=1).output
    assert precious.exists()


def test_a_corpus_that_the_server_would_not_find_from_another_folder_is_refused(home: Path, tmp_path: Path) -> None:
    said = mia("install", "cursor", "--env", 'MIA_SEARCH__CORPUS=["world/corpus.jsonl"]', code=1).output
    assert str(Path("world/corpus.jsonl").absolute()) in said
    assert not (home / ".cursor").exists()
    mia("install", "cursor", "--env", f'MIA_SEARCH__CORPUS=["{tmp_path / "corpus.jsonl"}"]')
    assert entry("cursor", config_of("cursor", home))["env"]


def test_a_value_that_the_server_would_refuse_is_refused_before_it_is_written(home: Path) -> None:
    assert "search.k" in mia("install", "cursor", "--env", "MIA_SEARCH__K=many", code=1).output
    assert not (home / ".cursor").exists()
