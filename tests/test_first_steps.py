"""What someone meets on the first day: a slip, and whether the message says what to do about it."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mia_skill.agents.forms import PlanForm
from mia_skill.cli import main
from mia_skill.core.chat import parse_form
from mia_skill.core.errors import ModelReplyError
from training.stream_client import read_questions

WORKFLOW = "1. find the founder (company -> person)"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIA_MEMORY__EMBEDDER", "hash")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / "home"


def mia(home: Path, *words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["--home", str(home), *words])
    assert result.exit_code == code, result.output
    return result


def add(home: Path) -> str:
    words = ("memory", "add", "--question", "Who founded Velmora?", "--workflow", WORKFLOW, "--outcome", "correct")
    return mia(home, *words).stdout.strip()


def curve(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "training.curve", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("option", ["--set", "--config", "--home"])
def test_a_setting_behind_the_command_is_told_its_place(home: Path, option: str) -> None:
    result = mia(home, "ask", "Who founded Velmora?", option, "memory.namespace=x", code=2)
    assert f"{option} stands before the command: mia {option} ... COMMAND" in result.output


def test_a_set_that_swallowed_the_command_says_so(home: Path) -> None:
    assert "--set takes KEY=VALUE, not 'memory'" in mia(home, "--set", "memory", "list", code=2).output


def test_a_setting_that_cannot_be_used_is_named_without_the_words_of_the_library(home: Path) -> None:
    result = mia(home, "--set", "models.default.base_url=127.0.0.1:8000/v1", "memory", "list", code=1)
    assert "setting 'models.default.base_url': must start with http:// or https://" in result.output


def test_a_home_that_is_a_file_is_told_what_it_must_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "page.txt"
    file.write_text("text")
    monkeypatch.setenv("MIA_HOME", str(file))
    result = CliRunner().invoke(main, ["memory", "list"])
    assert result.exit_code == 1
    assert f"{file} must be a folder that can be written to" in result.output


def test_evidence_that_is_not_there_is_named_once(home: Path, tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.txt")
    result = mia(home, "judge", "--question", "Who?", "--answer", "Tesh", "--evidence", gone, code=1)
    assert f"cannot read {gone}: No such file or directory\n" in result.output


@pytest.mark.parametrize("words", [("world", "--size", "20"), ("bundle",), ("stream", "serve", "--folder")])
def test_a_place_that_cannot_be_written_is_named_in_a_line(home: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("text")
    place = str(tmp_path / "file" / "new")
    told = mia(home, *words, *(() if words[-1] == "--folder" else ("--out",)), place, code=1).output
    assert place in told
    assert len(told.splitlines()) == 1


def test_one_model_for_a_profile_of_three_is_refused(home: Path) -> None:
    told = mia(home, "models", "print", "--profile", "three-nodes", "--model", "x", code=1).output
    assert "--model is for profiles of one model (one-gpu, cpu)" in told


def test_a_memory_shows_what_was_said_about_it(home: Path) -> None:
    unit = add(home)
    mia(home, "memory", "feedback", unit, "bad", "--note", "the founder was another")
    assert "bad: the founder was another" in mia(home, "memory", "show", unit).output


def test_one_thing_is_counted_as_one(home: Path, tmp_path: Path) -> None:
    add(home)
    file = tmp_path / "all.jsonl"
    assert "2 lines" in mia(home, "memory", "export", str(file)).output
    taken = mia(tmp_path / "other", "memory", "import", str(file)).output
    assert "1 unit added, 0 merged, 0 known, 0 plan pairs" in taken
    assert "`mia memory promote ID`" in taken


def test_a_form_that_breaks_off_says_what_to_give_the_model() -> None:
    with pytest.raises(ModelReplyError, match=r"breaks off before its end. Give the model more room .*max_tokens"):
        parse_form('{"steps": ["search for the foun', PlanForm)


def test_a_form_that_is_something_else_says_what_it_is_not() -> None:
    with pytest.raises(ModelReplyError, match=r"not the JSON that was asked for \(PlanForm\)"):
        parse_form("First I would search.", PlanForm)


def test_a_service_that_does_not_start_prints_its_reason_and_nothing_before_it(home: Path) -> None:
    result = mia(home, "serve", "--rest", "retrieve", code=1)
    assert result.output.startswith("CorpusError: no corpus file is given")


def test_a_stream_without_a_server_is_told_in_one_line_how_to_start_it(home: Path, tmp_path: Path) -> None:
    rows = tmp_path / "questions.jsonl"
    rows.write_text(json.dumps({"data_id": "q1", "question": "Who?", "ground_truth": "Tesh"}) + "\n")
    told = mia(home, "stream", "send", str(rows), "--url", "http://127.0.0.1:9", code=1).output
    assert told.startswith("TrainingError: no streaming trainer answers at http://127.0.0.1:9 (All connection")
    assert "`mia stream serve`" in told


def test_curves_of_a_log_need_a_place_and_say_what_they_wrote(tmp_path: Path) -> None:
    log, page = tmp_path / "log.jsonl", tmp_path / "curve.html"
    log.write_text(json.dumps({"kind": "executor", "step": 1, "reward": 0.5}) + "\n")
    assert "--page FILE" in curve(str(log)).stderr
    made = curve(str(log), "--page", str(page))
    assert (made.returncode, made.stderr) == (0, f"written: {page}\n")
    assert "executor: reward" in page.read_text()


@pytest.mark.parametrize(
    ("text", "told"), [(None, "cannot read"), ("no JSON", "is no log of a run"), ("[1]", "needs a `kind`")]
)
def test_curves_of_what_is_no_log_are_refused_in_a_line(tmp_path: Path, text: str | None, told: str) -> None:
    log = tmp_path / "log.jsonl"
    if text is not None:
        log.write_text(text)
    made = curve(str(log), "--page", str(tmp_path / "curve.html"))
    assert made.returncode == 1
    assert told in made.stderr
    assert "Traceback" not in made.stderr


def test_questions_of_a_world_can_be_streamed_as_they_were_written(home: Path, tmp_path: Path) -> None:
    mia(home, "world", "--out", str(tmp_path / "world"), "--size", "20")
    rows = read_questions(tmp_path / "world" / "questions.jsonl")
    assert rows
    assert all(row["data_id"].startswith("q") and row["question"].endswith("?") and row["ground_truth"] for row in rows)


@pytest.mark.parametrize(("service", "role"), [("planner", "planner"), ("executor", "executor"), ("ttl", "planner")])
def test_a_service_that_has_no_model_says_so_when_it_starts(home: Path, service: str, role: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        told = mia(home, "serve", "--rest", service, "--port", port, code=1).output
    assert f"no model is set for the {role}" in told
    assert "models.default" in told


def test_a_stream_of_one_updater_is_not_opened_by_another(home: Path, tmp_path: Path) -> None:
    folder, model = tmp_path / "stream", tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        words = ("stream", "serve", "--folder", str(folder), "--port", str(taken.getsockname()[1]))
        assert "cannot serve at" in mia(home, *words, code=1).output
        (folder / "journal.log").write_text("a sample")
        told = mia(home, *words, "--updater", "tiny", "--model", str(model), code=1).output
    assert f"{folder} holds a stream of the updater scripted: give another --folder, or --updater scripted" in told


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals of this kind here")
def test_a_person_who_starts_the_server_of_a_host_by_hand_is_told_what_it_waits_for(home: Path) -> None:
    ours, theirs = os.openpty()
    words = [sys.executable, "-m", "mia_skill.cli", "--home", str(home), "serve"]
    with subprocess.Popen(words, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        os.close(theirs)
        os.write(ours, b"\x04")
        out, told = server.communicate()
    os.close(ours)
    assert (server.returncode, out) == (0, "")
    assert "for a host that starts it (mia install HOST)" in told


def test_a_demo_whose_reader_leaves_ends_in_one_line(home: Path) -> None:
    words = [sys.executable, "-m", "mia_skill.cli", "demo", "--questions", "4", "--size", "60", "--recur", "2"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        demo.stdout.close()
        told = demo.stderr.read()
    assert demo.returncode == 1
    assert told.splitlines()[1:] == ["InputError: cannot write the output: its reader is gone"]
