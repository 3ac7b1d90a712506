"""The report's figures are those of the traces; intervals and tests are right on known cases."""

from pathlib import Path

import pytest
from evaluation_world import small_evaluation

from mia_skill.core.config import BudgetConfig
from mia_skill.core.errors import InputError
from mia_skill.core.proportion import wilson
from mia_skill.evaluation.plan import Setup, open_setup, trace_path
from mia_skill.evaluation.report import as_html, as_markdown
from mia_skill.evaluation.runner import Protocol
from mia_skill.evaluation.stats import bootstrap_difference, mcnemar
from mia_skill.evaluation.summary import Summary, summarise
from mia_skill.evaluation.trace import rows_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run lies that all tests read and none changes."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
async def summary(folder: Path) -> Summary:
    evaluation = small_evaluation(folder)
    setup = Setup(
        dataset="world",
        tasks=12,
        tasks_digest=evaluation.tasks.digest,
        methods=("none", "mia"),
        seeds=(0, 1),
        protocol=Protocol(),
        agent="rule-based",
        grader="exact match",
        embedder="hash",
        limits=BudgetConfig(),
    )
    open_setup(folder, setup)
    await evaluation.run(setup.methods, setup.seeds)
    return summarise(folder)


async def test_the_figures_are_those_of_the_traces(summary: Summary, folder: Path) -> None:
    for line in summary.lines:
        rows = [row for seed in (0, 1) for row in rows_of(trace_path(folder, line.method, seed))]
        right = sum(row.grade == "correct" for row in rows)
        assert (line.asked, line.graded, line.right) == (24, 24, right)
        assert line.accuracy == pytest.approx(right / 24)
        assert line.searches == pytest.approx(sum(row.usage.searches for row in rows) / 24)
    page = as_html(summary)
    for line in summary.lines:
        assert line.accuracy is not None
        assert f"<td>{line.method}</td><td>{100 * line.accuracy:.1f}</td>" in page
        assert f"| {line.method} | {100 * line.accuracy:.1f} |" in as_markdown(summary)


async def test_the_page_loads_nothing_and_draws_its_plots(summary: Summary) -> None:
    page = as_html(summary)
    assert page.count("<svg") == 6
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "<script" not in page


async def test_another_run_does_not_go_into_the_same_folder(summary: Summary, folder: Path) -> None:
    with pytest.raises(InputError, match="a run with other tasks digest: give its options again, or another --out"):
        open_setup(folder, summary.setup.model_copy(update={"tasks_digest": "other"}))


def test_intervals_and_tests_are_right_on_known_cases() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(50, 100) == pytest.approx((0.4038, 0.5962), abs=1e-4)
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(1, 9) == pytest.approx(22 / 1024)
    same = {str(number): [(True, True)] for number in range(20)}
    assert bootstrap_difference(same) == (0.0, 0.0, 0.0)
    better = {str(number): [(number < 15, number < 5)] for number in range(20)}
    difference, low, high = bootstrap_difference(better)
    assert difference == 0.5
    assert 0.2 < low < 0.5 < high < 0.8
