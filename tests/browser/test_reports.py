"""Evaluations and reports in a real Chromium: traces in the page, and figures that equal those of the trace files."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import pytest
from evaluation_world import small_evaluation
from ui_world import HOSTILE

from browser.conftest import MIA, serving
from mia_skill.core.types import Passage, Question, Step, Trajectory
from mia_skill.evaluation.advice import Attempt
from mia_skill.evaluation.plan import Setup, open_setup
from mia_skill.evaluation.report import write_report
from mia_skill.evaluation.summary import summarise
from mia_skill.evaluation.trace import Journal, Row

pytestmark = pytest.mark.browser

METHODS = ("none", "mia")
LABELS = {
    "correct": "Supported",
    "incorrect": "Contradicted",
    "abstain": "does not settle",
    "not_attempted": "No answer",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of two methods, one of whose tasks has no sample, with its report."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    evaluation = small_evaluation(folder, count=14, waves=2)
    evaluation.mind.dying = {evaluation.stream(0)[3].id}
    with ThreadPoolExecutor(1) as thread:  # the browser's driver has an event loop in this one
        thread.submit(anyio.run, evaluation.run, METHODS, (0,)).result()
    setup = Setup(
        dataset="world", tasks=14, tasks_digest="d", methods=METHODS, seeds=(0,), shuffled=True, agent="rules",
        protocol=evaluation.protocol, grader="rules", embedder="hash", limits=evaluation.limits,
    )  # fmt: skip
    open_setup(folder, setup)
    write_report(summarise(folder), folder)
    return folder


@pytest.fixture(scope="module")
def address(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("home"), "--traces", str(run.parent)) as printed:
        yield printed


def counted(run: Path) -> dict[str, Counter[str]]:
    """The trace files counted by hand: the last line on each task, as plain JSON."""
    found = {}
    for method in METHODS:
        lines = [json.loads(line) for line in (run / f"trace.{method}.0.jsonl").read_text().splitlines()]
        rows = {line["task"]: line for line in lines if line["line"] == "episode"}.values()
        sampled = [row for row in rows if row["status"] == "sample"]
        found[method] = Counter(
            right=sum(row["grade"] == "correct" for row in sampled),
            graded=sum(row["grade"] != "ungraded" for row in sampled),
            no_sample=len(rows) - len(sampled),
            searches=sum(row["usage"]["searches"] for row in sampled),
            samples=len(sampled),
        )
    return found


def table(page: Any, selector: str) -> list[dict[str, str]]:
    """A table of a page, a row a dictionary."""
    head = [one.strip() for one in page.locator(f"{selector} thead th").all_text_contents()]
    rows = page.locator(f"{selector} tbody tr").all()
    return [
        dict(zip(head, [one.strip() for one in row.locator("td").all_text_contents()], strict=True)) for row in rows
    ]


def same_figures(report: Any, run: Path) -> None:
    """The report's accuracy and cost equal what was counted in the trace files."""
    truth = counted(run)
    for line in table(report, "#accuracy"):
        own = truth[line["method"]]
        assert (line["right"], line["graded"], line["no sample"]) == (
            str(own["right"]), str(own["graded"]), str(own["no_sample"]),
        )  # fmt: skip
        assert line["right %"] == f"{100 * own['right'] / own['graded']:.1f}"
    for line in table(report, "#cost-per-answer"):
        own = truth[line["method"]]
        assert line["searches"] == f"{own['searches'] / own['samples']:.2f}"
    assert {line["method"] for line in table(report, "#accuracy")} == set(METHODS)
    assert any(own["no_sample"] for own in truth.values())


def test_the_report_opens_from_its_file_alone_and_its_numbers_equal_the_traces(run, open_page):
    page, _ = open_page((run / "report.html").as_uri())
    page.get_by_role("heading", name="Evaluation: world").wait_for()
    same_figures(page, run)
    assert page.get_by_role("img").count() == 6
    assert page.locator("script").count() == 0


def test_the_report_in_the_page_is_made_from_the_traces_and_runs_nothing(run, address, open_page):
    page, _ = open_page(address)
    page.get_by_role("link", name="Evaluations").click()
    page.get_by_role("link", name="report").click()
    frame = page.frame_locator("iframe.report")
    frame.get_by_role("heading", name="Evaluation: world").wait_for()
    same_figures(frame, run)
    with page.expect_popup() as opened:
        page.get_by_role("link", name="Open it alone").click()
    opened.value.get_by_role("heading", name="Evaluation: world").wait_for()
    same_figures(opened.value, run)


def test_episodes_are_listed_filtered_and_read(run, address, open_page):
    page, _ = open_page(address)
    page.get_by_role("link", name="Evaluations").click()
    page.get_by_role("link", name="small").click()
    page.get_by_text("14 episodes of 14").wait_for()
    truth = counted(run)
    page.get_by_label("Trace").select_option("trace.none.0.jsonl")
    page.wait_for_url("**trace=trace.none.0.jsonl**")
    page.get_by_label("Grade").select_option("correct")
    page.get_by_text(f"{truth['none']['right']} episode").first.wait_for()
    page.get_by_label("Grade").select_option("no_sample")
    page.get_by_text("1 episode of 14").wait_for()
    page.locator("section", has_text="Episodes").locator("tbody a").click()
    page.get_by_text("ModelUnreachableError").wait_for()


def test_the_figures_of_the_page_equal_the_traces(run, address, open_page):
    page, _ = open_page(address)
    page.get_by_role("link", name="Evaluations").click()
    page.get_by_role("link", name="small").click()
    page.get_by_role("heading", name="Methods").wait_for()
    truth = counted(run)
    for line in table(page, "section:has(h2:text('Methods'))"):
        own = truth[line["method"]]
        assert line["right"] == f"{100 * own['right'] / own['graded']:.1f}%"
        assert (line["graded"], line["no sample"]) == (str(own["graded"]), str(own["no_sample"]))


def test_a_hostile_episode_is_text(tmp_path, open_page):
    passage = Passage(id=HOSTILE[2], title=HOSTILE[0], text=HOSTILE[1], url=HOSTILE[2])
    step = Step(thought=HOSTILE[3], tool=HOSTILE[0], query=HOSTILE[4], passages=(passage,), observation=HOSTILE[5])
    attempt = Attempt(
        trajectory=Trajectory(steps=(step,), answer=HOSTILE[1]), question=Question(text="x"), plan=HOSTILE[0]
    )
    (tmp_path / "runs" / HOSTILE[0].replace("/", "_")).mkdir(parents=True)
    (folder,) = (tmp_path / "runs").iterdir()
    journal = Journal(folder / "trace.none.0.jsonl")
    named = {"method": "none", "seed": 0, "position": 0, "task": HOSTILE[1], "question": HOSTILE[0], "gold": HOSTILE}
    said = {"graded_by": HOSTILE[3], "evidence": HOSTILE[1], "error": HOSTILE[0]}
    journal.write(Row(**named, **said, status="sample", attempt=attempt))
    journal.close()
    with serving(tmp_path / "home", "--traces", str(tmp_path / "runs")) as printed:
        page, _ = open_page(printed)
        page.get_by_role("link", name="Evaluations").click()
        page.locator(".cards a.title").click()
        page.locator("tbody a").click()
        page.get_by_role("heading", name="Expected").wait_for()
        page.locator("summary").click()
        shown = page.inner_text("main")
        assert all(shown.count(text) >= 2 for text in HOSTILE[:6])
        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script, main iframe").count() == 0


def test_the_trust_report_of_a_judgment_opens_from_its_file_and_shows_hostile_evidence_as_text(tmp_path, open_page):
    page_of_evidence = tmp_path / "evidence.txt"
    page_of_evidence.write_text("The red bridge was built by Adda Sol in 1874. " + " ".join(HOSTILE))
    made = tmp_path / "trust.html"
    asked = ["--question", f"Who built the red bridge? {HOSTILE[0]}", "--answer", f"Adda Sol {HOSTILE[1]}"]
    files = ["--evidence", str(page_of_evidence), "--html", str(made), "--json"]
    command = [*MIA, "--home", str(tmp_path / "home"), "judge", *asked, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 3), done.stderr
    page, _ = open_page(made.as_uri())
    said = page.get_by_role("heading", level=1).inner_text()
    assert LABELS[json.loads(done.stdout)["label"]] in said
    assert HOSTILE[1] in page.inner_text("#report")
    assert page.evaluate("window.hacked") is None
    assert page.locator("#report img, #report script").count() == 0
