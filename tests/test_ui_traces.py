"""Evaluation traces through the page's door: lists, one episode, the report; and folders that are damaged or empty."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from evaluation_world import small_evaluation
from ui_world import HOSTILE, TOKEN, ask, client_of

from mia_skill.core.config import MiaConfig
from mia_skill.core.types import Passage, Question, Step, Trajectory
from mia_skill.evaluation.advice import Attempt
from mia_skill.evaluation.plan import Setup, open_setup
from mia_skill.evaluation.report import as_html
from mia_skill.evaluation.runner import Protocol
from mia_skill.evaluation.summary import summarise
from mia_skill.evaluation.trace import Journal, Lesson, Row
from mia_skill.ui.door import Door
from mia_skill.ui.serve import build_page
from retrieval.embed import HashEmbedder
from retrieval.sqlite_bank import SqliteBank


def row(position: int, task: str = "", **fields: Any) -> Row:
    given = {"method": "none", "seed": 0, "task": task or f"q{position}", "question": f"Who is number {position}?",
             "gold": ("nobody",), "status": "sample", "grade": "correct" if position % 2 else "incorrect"}  # fmt: skip
    return Row.model_validate(given | {"position": position} | fields)


def written(path: Path, *lines: Row | Lesson) -> Path:
    journal = Journal(path)
    for line in lines:
        journal.write(line)
    journal.close()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def door(folder: Path, tmp_path: Path) -> Iterator[Door]:
    folder.mkdir(exist_ok=True)
    bank = SqliteBank.open(tmp_path / "bank.sqlite3", HashEmbedder())
    yield build_page(bank, MiaConfig(home=tmp_path), token=TOKEN, traces=(folder,))
    bank.close()


@pytest.fixture
async def page(door: Door) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(door) as client:
        yield client


async def test_a_whole_evaluation_is_listed_summed_up_and_reported(page, folder):
    evaluation = small_evaluation(folder / "world", count=6)
    await evaluation.run(("none", "mia"), (0,))
    open_setup(evaluation.folder, setup_of(evaluation))
    assert (await ask(page, "runs"))["runs"] == [{"run": "world", "traces": 2, "report": True}]
    told = await ask(page, "run", run="world")
    assert [line["method"] for line in told["summary"]["lines"]] == ["none", "mia"]
    address = (await ask(page, "report", run="world"))["path"]
    report = await page.get(address, headers={"authorization": ""})
    assert report.text == as_html(summarise(evaluation.folder))
    assert "sandbox" in report.headers["content-security-policy"]


def setup_of(evaluation: Any) -> Setup:
    return Setup(
        dataset="world", tasks=6, tasks_digest="d", methods=("none", "mia"), seeds=(0,), shuffled=True,
        protocol=Protocol(), agent="rules", grader="rules", embedder="hash", limits=evaluation.limits,
    )  # fmt: skip


@pytest.mark.parametrize("guess", ["/reports/" + "0" * 64, "/reports/world", "/reports/../x", "/reports/"])
async def test_a_report_needs_the_address_that_the_page_was_given(page, folder, guess):
    written(folder / "world" / "trace.none.0.jsonl", row(0))
    assert (await page.get(guess)).status_code == 404


async def test_episodes_are_paged_filtered_and_searched(page, folder):
    written(folder / "r" / "trace.none.0.jsonl", *(row(n) for n in range(7)), row(7, status="no_sample", error="out"))
    base = {"run": "r", "trace": "trace.none.0.jsonl"}
    first, second = await ask(page, "episodes", **base, limit=5), await ask(page, "episodes", **base, limit=5, offset=5)
    assert [one["position"] for one in first["episodes"] + second["episodes"]] == list(range(8))
    assert (await ask(page, "episodes", **base, grade="correct"))["total"] == 3
    assert (await ask(page, "episodes", **base, grade="no_sample"))["episodes"][0]["error"] == "out"
    assert [one["task"] for one in (await ask(page, "episodes", **base, text="NUMBER 4"))["episodes"]] == ["q4"]


async def test_the_last_word_on_a_task_counts_and_lessons_are_no_episodes(page, folder):
    written(folder / "r" / "trace.none.0.jsonl", row(0, status="no_sample"), Lesson(task="q0", change={}), row(0))
    told = await ask(page, "episodes", run="r", trace="trace.none.0.jsonl")
    assert [one["grade"] for one in told["episodes"]] == ["incorrect"]


async def test_one_episode_is_shown_in_full_with_hostile_texts_as_they_are(page, folder):
    passage = Passage(id="p", title=HOSTILE[0], text=HOSTILE[1], url=HOSTILE[2])
    step = Step(thought=HOSTILE[3], tool="search", query=HOSTILE[4], passages=(passage,), observation=HOSTILE[5])
    attempt = Attempt(
        trajectory=Trajectory(steps=(step,), answer=HOSTILE[1]), question=Question(text="Who?"), plan=HOSTILE[0]
    )
    written(folder / "r" / "trace.none.0.jsonl", row(3, attempt=attempt))
    seen = (await ask(page, "episode", run="r", trace="trace.none.0.jsonl", task="q3"))["row"]
    assert seen["attempt"]["trajectory"]["steps"][0]["passages"][0]["url"] == HOSTILE[2]
    assert seen["attempt"]["trajectory"]["answer"] == HOSTILE[1]


async def test_an_episode_with_a_giant_page_is_cut(page, folder):
    passage = Passage(id="p", text="x" * 3_000_000)
    attempt = Attempt(trajectory=Trajectory(steps=(Step(passages=(passage,)),) * 3), question=Question(text="Who?"))
    written(folder / "r" / "trace.none.0.jsonl", row(3, attempt=attempt))
    answer = await page.post("/api/episode", json={"run": "r", "trace": "trace.none.0.jsonl", "task": "q3"})
    assert len(answer.content) < 100_000
    assert "more characters" in answer.text


async def test_damaged_lines_are_named_and_the_others_shown(page, folder):
    path = written(folder / "r" / "trace.none.0.jsonl", row(0), row(1))
    whole = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(whole[0] + b"{broken\n" + b"\xff\xfe\n" + b"[]\n" + whole[1] + whole[0][:40])
    told = await ask(page, "episodes", run="r", trace="trace.none.0.jsonl")
    assert [one["position"] for one in told["episodes"]] == [0, 1]
    assert [line.split(" is ")[0] for line in told["broken"]] == ["line 2", "line 3", "line 4"]


async def test_a_line_that_lists_but_cannot_be_read_is_an_error_and_no_empty_page(page, folder):
    path = folder / "r" / "trace.none.0.jsonl"
    path.parent.mkdir()
    path.write_bytes(orjson.dumps({"line": "episode", "task": "q", "position": 0, "question": "Who?"}) + b"\n")
    assert (await ask(page, "episodes", run="r", trace=path.name))["total"] == 1
    assert "damaged" in (await ask(page, "episode", 400, run="r", trace=path.name, task="q"))["error"]


async def test_a_run_that_grows_while_the_page_is_open_is_read_again(page, folder):
    path = written(folder / "r" / "trace.none.0.jsonl", row(0))
    assert (await ask(page, "episodes", run="r", trace=path.name))["total"] == 1
    written(path, row(1))
    assert (await ask(page, "episodes", run="r", trace=path.name))["total"] == 2


async def test_a_folder_of_traces_without_a_set_up_has_episodes_and_no_figures(page, folder):
    written(folder / "mine.jsonl", row(0))
    assert (await ask(page, "runs"))["runs"] == [{"run": "runs", "traces": 1, "report": False}]
    told = await ask(page, "run", run="runs")
    assert told["summary"] is None
    assert "run.json" in (await ask(page, "report", 400, run="runs"))["error"]


async def test_a_damaged_set_up_is_told_beside_the_traces(page, folder):
    written(folder / "r" / "trace.none.0.jsonl", row(0))
    (folder / "r" / "run.json").write_text("{")
    told = await ask(page, "run", run="r")
    assert "damaged" in told["problem"]
    assert told["traces"]


@pytest.mark.parametrize(
    ("run", "trace"), [("../..", "x"), ("r", "../../bank.sqlite3"), ("r", "/etc/passwd"), ("", "x")]
)
async def test_no_name_leads_out_of_the_folders_that_were_given(page, folder, run, trace):
    written(folder / "r" / "trace.none.0.jsonl", row(0))
    await ask(page, "episodes", 400, run=run, trace=trace)
    await ask(page, "episode", 400, run=run, trace=trace, task="q0")


async def test_runs_of_one_name_in_two_folders_keep_apart(tmp_path):
    written(tmp_path / "a" / "world" / "trace.none.0.jsonl", row(0))
    written(tmp_path / "b" / "world" / "trace.none.0.jsonl", row(0), row(1))
    bank = SqliteBank.open(tmp_path / "bank.sqlite3", HashEmbedder())
    both = build_page(bank, MiaConfig(home=tmp_path), token=TOKEN, traces=(tmp_path / "a", tmp_path / "b"))
    async with client_of(both) as page:
        assert [one["run"] for one in (await ask(page, "runs"))["runs"]] == ["world", "world (2)"]
        assert (await ask(page, "episodes", run="world (2)", trace="trace.none.0.jsonl"))["total"] == 2
    bank.close()


async def test_without_traces_the_list_is_empty(page):
    assert await ask(page, "runs") == {"runs": [], "more": 0, "folders": 1}
