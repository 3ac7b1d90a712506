"""The `mia` command, as a person or a script uses it."""

import errno
import json
import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mia_skill.app import build
from mia_skill.cli import main
from mia_skill.cli.doctor import EXTRAS
from mia_skill.core.config import load_config
from mia_skill.core.errors import MissingExtraError
from mia_skill.core.types import Question


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIA_MEMORY__EMBEDDER", "hash")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mia(home: Path, *words: str, code: int = 0) -> Result:
    result = CliRunner().invoke(main, ["--home", str(home), *words])
    assert result.exit_code == code, result.output
    return result


def add(home: Path, question: str = "Who founded Velmora Works?", outcome: str = "correct") -> str:
    words = ["memory", "add", "--question", question, "--workflow", "1. search", "--outcome", outcome, "--json"]
    return str(json.loads(mia(home, *words).stdout)["id"])


def test_every_command_explains_itself(home: Path) -> None:
    for words in ((), ("memory",), ("serve",), ("ask",), ("judge",), ("doctor",), ("demo",), ("world",)):
        assert "Usage:" in mia(home, *words, "--help").output


def test_what_is_added_is_found_shown_rated_and_forgotten(home: Path) -> None:
    unit = add(home)
    assert unit in mia(home, "memory", "search", "Who founded Velmora Works?").output
    assert "judged by user" in mia(home, "memory", "show", unit).output
    assert "incorrect" in mia(home, "memory", "feedback", unit, "bad").output
    assert "forgot 1" in mia(home, "memory", "forget", unit, "--yes").output
    assert "0 of 0" in mia(home, "memory", "list").output


def test_forgetting_asks_about_units_that_are_there_and_shows_them(home: Path) -> None:
    unit = add(home)
    unknown = CliRunner().invoke(main, ["--home", str(home), "memory", "forget", unit, "mem_nobody"], input="y\n")
    assert unknown.exit_code == 1
    assert "Delete" not in unknown.output
    asked = CliRunner().invoke(main, ["--home", str(home), "memory", "forget", unit, unit], input="n\n")
    assert "Who founded Velmora Works?" in asked.output
    assert "Delete 1 unit for good" in asked.output
    assert "1 of 1" in mia(home, "memory", "list").output


def test_json_output_is_one_document(home: Path) -> None:
    add(home)
    page = json.loads(mia(home, "memory", "list", "--json").stdout)
    assert page["total"] == 1
    assert json.loads(mia(home, "memory", "audit", "--json").stdout)


def test_an_export_is_imported_elsewhere_and_a_dry_run_changes_nothing(home: Path, tmp_path: Path) -> None:
    add(home)
    file = tmp_path / "units.jsonl"
    mia(home, "memory", "export", str(file))
    other = tmp_path / "other"
    mia(other, "memory", "import", str(file), "--dry-run")
    assert "0 of 0" in mia(other, "memory", "list").output
    mia(other, "memory", "import", str(file))
    assert "1 of 1" in mia(other, "memory", "list").output


def test_an_export_with_vectors_names_their_embedder_and_an_import_says_when_it_made_them_anew(
    home: Path, tmp_path: Path
) -> None:
    add(home)
    file = tmp_path / "units.jsonl"
    mia(home, "memory", "export", str(file), "--vectors")
    header = json.loads(file.read_text().splitlines()[0])
    assert header["embedder_name"] == "hash"
    assert len(header["embedder"]) == 32
    assert "embedded again" not in mia(tmp_path / "same", "memory", "import", str(file), "--vectors").output
    assert "1 embedded again" in mia(tmp_path / "anew", "memory", "import", str(file)).output


def test_an_unknown_id_exits_1_and_says_so_without_a_traceback(home: Path) -> None:
    result = mia(home, "memory", "show", "mem_none", code=1)
    assert "UnknownIdError" in result.output
    assert "Traceback" not in result.output


def test_an_unknown_setting_names_the_nearest(home: Path) -> None:
    result = mia(home, "--set", "memory.namespce=x", "memory", "list", code=1)
    assert "memory.namespace" in result.output


def test_a_set_without_a_value_is_refused(home: Path) -> None:
    assert "KEY=VALUE" in mia(home, "--set", "memory.namespace", "memory", "list", code=1).output


def test_judging_tells_by_its_exit_code_whether_the_answer_is_supported(home: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.txt"
    page.write_text("Velmora Works was founded by Aldric Tesh in 1874.", encoding="utf-8")
    asked = ["judge", "--question", "Who founded Velmora Works?", "--evidence", str(page), "--json", "--answer"]
    supported = json.loads(mia(home, *asked, "Aldric Tesh").stdout)
    assert supported["label"] == "correct"
    result = CliRunner().invoke(main, ["--home", str(home), *asked, "Bela Ruvo"])
    assert result.exit_code == 3
    assert json.loads(result.stdout)["label"] != "correct"


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.txt"
    path.write_text("Velmora Works was founded by Aldric Tesh in 1874.", encoding="utf-8")
    return path


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_report_says_where_it_was_written_and_json_stays_one_document(
    form: tuple[str, ...], home: Path, page: Path
) -> None:
    html = home / "report.html"
    asked = ["judge", "--question", "Who founded Velmora Works?", "--evidence", str(page), "--answer", "Aldric Tesh"]
    result = mia(home, *asked, "--html", str(html), *form)
    assert html.is_file()
    assert f"the report is in {html}" in (result.stderr if form else result.stdout)
    if form:
        assert json.loads(result.stdout)["label"] == "correct"


def test_a_place_that_stands_in_the_page_is_left_open_as_an_answer_to_who(home: Path) -> None:
    page = home / "tower.txt"
    page.write_text("The Eiffel Tower stands in Paris, France. It was designed by Stephen Sauvestre.", encoding="utf-8")
    asked = ["judge", "--question", "Who designed the Eiffel Tower?", "--evidence", str(page), "--answer"]
    shown = mia(home, *asked, "Paris", code=3).stdout
    assert shown.startswith("abstain")
    assert "the evidence shows the answer only as a place" in shown
    assert mia(home, *asked, "Stephen Sauvestre").stdout.startswith("correct")


def test_given_evidence_is_judged_without_the_packages_of_the_web_that_the_settings_name(
    home: Path, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("ddgs", "trafilatura", "pypdf", "protego"):
        monkeypatch.setitem(sys.modules, package, None)
    example = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8").partition("[search]")[2]
    settings = home / "mia.toml"
    settings.write_text(f"[search]{example.partition('```')[0]}", encoding="utf-8")
    asked = ["judge", "--question", "Who founded Velmora Works?", "--evidence", str(page), "--answer", "Aldric Tesh"]
    assert "correct" in mia(home, "--config", str(settings), *asked).stdout


async def test_a_package_that_a_web_engine_lacks_is_told_to_whoever_searches_the_web(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ddgs", None)
    config = load_config(environment={}, flags={"home": str(home), "search.web": "ddgs", "memory.embedder": "hash"})
    async with build(config) as mia_:
        assert not (await mia_.recall(Question(text="Who founded Velmora Works?"))).hits
        with pytest.raises(MissingExtraError, match=r"mia-skill\[web\]"):
            await mia_.search(["Velmora"])


def test_a_day_that_is_no_date_is_refused_before_anything_is_judged(tmp_path: Path) -> None:
    asked = ["judge", "--question", "q", "--answer", "a", "--as-of", "notadate"]
    result = CliRunner().invoke(main, ["--home", str(tmp_path), *asked])
    assert result.exit_code == 2
    assert "'notadate' does not match" in result.output


def test_evidence_that_cannot_be_read_is_an_error_with_its_name(home: Path, tmp_path: Path) -> None:
    binary = tmp_path / "x.bin"
    binary.write_bytes(b"\xff\xfe\x00")
    asked = ["judge", "--question", "q", "--answer", "a", "--evidence", str(binary)]
    assert "x.bin" in mia(home, *asked, code=1).output


def test_asking_without_a_model_says_what_to_set(home: Path) -> None:
    assert "models.default.base_url" in mia(home, "ask", "Who founded Velmora Works?", code=1).output


def test_the_doctor_is_content_with_a_fresh_home_and_names_what_is_off(home: Path) -> None:
    findings = json.loads(mia(home, "doctor", "--json").stdout)["findings"]
    states = {one["part"]: one["state"] for one in findings}
    assert states["bank"] == "ok"
    assert states["model"] == "off"


def test_the_doctor_looks_for_every_extra_that_the_project_has() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["optional-dependencies"].keys() - {"faiss-gpu"} == EXTRAS.keys()


def test_the_doctor_gives_a_version_for_every_extra_that_is_there(home: Path) -> None:
    found = json.loads(mia(home, "doctor", "--json").stdout)["findings"]
    there = [one["detail"] for one in found if one["part"].startswith("[") and one["state"] == "ok"]
    assert not [detail for detail in there if detail.endswith("missing")]


def test_a_folder_of_traces_is_answered_with_their_names(home: Path) -> None:
    (home / "trace.none.0.jsonl").touch()
    assert "trace.none.0.jsonl" in mia(home, "trace", "show", str(home), code=1).output


@pytest.mark.parametrize(
    ("setting", "told"),
    [("search.web=googel", "no such engine: googel"), ("search.corpus=NOTES", "first line")],
)
def test_the_doctor_names_a_search_that_cannot_work(home: Path, tmp_path: Path, setting: str, told: str) -> None:
    (tmp_path / "notes.txt").write_text("no passages here")
    setting = setting.replace("NOTES", json.dumps([str(tmp_path / "notes.txt")]))
    assert told in mia(home, "--set", setting, "doctor", code=3).output


def test_the_doctor_exits_3_and_gives_the_fix_when_an_endpoint_is_dead(home: Path) -> None:
    words = ["--set", "models.default.base_url=http://127.0.0.1:9/v1", "--set", "models.default.model=m"]
    result = mia(home, *words, "doctor", "--json", code=3)
    (model,) = [one for one in json.loads(result.stdout)["findings"] if one["part"] == "model"]
    assert model["state"] == "problem"
    assert model["fix"]


def test_a_world_is_written_and_the_same_seed_writes_the_same_files(home: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        mia(home, "world", "--out", str(tmp_path / name), "--size", "60", "--seed", "3")
    for file in ("corpus.jsonl", "questions.jsonl"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ("memory", "search", " "),
        ("memory", "add", "--question", "", "--workflow", "1. search", "--outcome", "correct"),
        ("memory", "add", "--question", "Who?", "--workflow", "", "--outcome", "correct"),
        ("judge", "--question", "", "--answer", "Velmora"),
        ("judge-plan", "--query", "", "--plan", "1. search"),
        ("judge-plan", "--query", "Who?", "--plan", ""),
        ("ask", ""),
    ],
)
def test_an_empty_text_is_wrong_usage_and_named(home: Path, words: tuple[str, ...]) -> None:
    assert "it is empty" in mia(home, *words, code=2).output


def test_what_is_written_for_searching_says_how_to_use_it_without_a_model(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "world"
    shown = mia(home, "world", "--out", str(folder), "--size", "20").output
    assert f"""mia install HOST --env 'MIA_SEARCH__CORPUS=["{folder / "corpus.jsonl"}"]'""" in shown


def test_evidence_from_a_corpus_that_is_not_set_says_which_setting_to_give(home: Path) -> None:
    result = mia(home, "judge", "--question", "Who?", "--answer", "Velmora", "--evidence", "corpus:1", code=1)
    assert "set search.corpus" in result.output


def test_a_list_given_as_one_word_is_answered_with_its_form(home: Path) -> None:
    result = mia(home, "--set", "search.corpus=wiki.jsonl", "memory", "list", code=1)
    assert "setting 'search.corpus': give a list as JSON" in result.output


def test_bytes_that_are_no_text_are_wrong_usage_and_a_file_may_be_named_so(home: Path) -> None:
    for words in (("memory", "show"), ("memory", "list", "--text"), ("memory", "revoke", "--yes", "--source")):
        assert "no UTF-8 text" in mia(home, *words, "caf\udce9", code=2).stderr
    file = home / "caf\udce9.txt"
    file.write_text("Velmora Works was founded by Ada Brook.")
    mia(home, "judge", "--question", "Who founded Velmora Works?", "--answer", "x", "--evidence", str(file), code=3)


@pytest.mark.parametrize("days", ["1e26", "inf", "99999999"])
def test_nothing_is_older_than_time_itself(home: Path, days: str) -> None:
    add(home)
    assert "0 forgotten, 1 kept" in mia(home, "memory", "prune", "--older-than-days", days, "--yes").output


@pytest.mark.parametrize(
    "words",
    [
        ("memory", "prune", "--older-than-days", "nan", "--yes"),
        ("stream", "serve", "--lr", "nan"),
        ("train", "ttl", "--lie", "nan"),
        ("eval", "run", "--dataset", "sandbox", "--out", "o", "--price", "nan", "1", "1"),
    ],
)
def test_what_is_no_number_is_wrong_usage(home: Path, words: tuple[str, ...]) -> None:
    assert "'nan' is no number" in mia(home, *words, code=2).stderr


def test_an_export_that_breaks_off_leaves_the_one_that_was_there(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(home)
    file = tmp_path / "units.jsonl"
    mia(home, "memory", "export", str(file))
    whole = file.read_bytes()
    file.chmod(0o640)

    def cut_off(*_given: object, **_more: object) -> Iterator[dict[str, object]]:
        yield {"kind": "bank"}
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr("retrieval.sqlite_bank.SqliteBank.export", cut_off)
        told = mia(home, "memory", "export", str(file), code=1).stderr
    assert f"UnwritableError: cannot write {file}: No space left on device: make room on its disk" in told
    assert file.read_bytes() == whole
    assert not list(tmp_path.glob(".units*"))
    mia(home, "memory", "export", str(file))
    assert file.stat().st_mode & 0o777 == 0o640
    mia(home, "memory", "export", "/dev/null")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_an_import_that_is_interrupted_ends_at_once_and_the_bank_is_sound(
    home: Path, tmp_path: Path, more: tuple[str, ...]
) -> None:
    """Endless: it would not end by itself."""
    os.mkfifo(tmp_path / "endless")
    command = [sys.executable, "-m", "mia_skill.cli", "--home", str(home), "memory", "import", *more]
    child = subprocess.Popen([*command, str(tmp_path / "endless")], stderr=subprocess.PIPE)
    unit = b'{"kind": "unit", "question": "Who founded works %d?", "workflow": "1. search", "outcome": "correct"}\n'
    with suppress(BrokenPipeError), (tmp_path / "endless").open("wb", buffering=0) as lines:
        for number in range(100_000):
            lines.write(unit % number)
            if number == 600:
                child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=60)
    assert (child.returncode, told.strip()) == (1, b"Aborted!")
    assert "sound" in mia(home, "memory", "verify-log").output


def test_signs_that_a_terminal_obeys_are_written_out_whoever_left_them(home: Path, tmp_path: Path) -> None:
    hidden = "Who\x1b[2J\x1b]52;c;x\x07 founded\r\n2 of 2 \u202ewas?"
    unit = add(home, hidden)
    for words in (("memory", "list"), ("memory", "show", unit), ("memory", "search", hidden)):
        told = mia(home, *words).output
        assert "Who\\u001b[2J" in told
        assert not set("\x1b\x07\r\u202e") & set(told)
    assert len(mia(home, "memory", "list").output.splitlines()) == 2, "a question is one line"
    file = tmp_path / "page.txt"
    file.write_text("Ada Brook\x1b[8m founded Velmora Works.", encoding="utf-8")
    given = ("--question", "Who founded Velmora Works?", "--answer", "Ada Brook", "--evidence", str(file))
    assert "\x1b[8m" not in CliRunner().invoke(main, ["judge", *given], color=True).output
    assert json.loads(mia(home, "memory", "show", unit, "--json").stdout)["question"] == hidden.strip()


def test_a_file_that_is_no_trace_is_named(home: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("[1, 2]")
    assert "holds no whole line of a trace" in mia(home, "trace", "show", str(tmp_path / "notes.json"), code=1).stderr


def test_doctor_names_a_corpus_service_that_is_no_address_and_an_image_folder_that_is_not_there(home: Path) -> None:
    told = mia(home, "--set", "search.corpus_url=localhost:8001", "--set", "images.folder=nowhere", "doctor", code=3)
    assert "'localhost:8001' is no address" in told.output
    assert "nowhere is no folder" in told.output


def test_ctrl_c_while_the_command_is_loaded_ends_it_in_a_word() -> None:
    code = (
        "import sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, *_more):\n"
        "        if name == 'mia_skill.cli.doctor': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "from mia_skill.cli import main\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.strip()) == (1, "Aborted!")
