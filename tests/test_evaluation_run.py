"""Runs: answer first, learn after; taken up after a kill; nothing lost and nothing silently wrong."""

from pathlib import Path

import pytest
from evaluation_world import Mortal, small_evaluation, small_tasks

from mia_skill.core.errors import InputError
from mia_skill.evaluation.judging import Graders, validate
from mia_skill.evaluation.methods import METHODS, source_of
from mia_skill.evaluation.plan import trace_path
from mia_skill.evaluation.runner import EndpointGone
from mia_skill.evaluation.trace import Lesson, read_lines, rows_of


@pytest.mark.parametrize("method", METHODS)
async def test_every_method_runs_the_stream_and_states_its_source(method: str, tmp_path: Path) -> None:
    evaluation = small_evaluation(tmp_path)
    await evaluation.run_one(method, 0)
    rows = rows_of(trace_path(tmp_path, method, 0))
    assert [row.position for row in rows] == list(range(12))
    assert all(row.status == "sample" and row.grade != "ungraded" for row in rows)
    assert all(source_of(method))
    lessons = [line for line in read_lines(trace_path(tmp_path, method, 0)) if isinstance(line, Lesson)]
    assert len(lessons) == 12
    assert not any(lesson.error for lesson in lessons)


@pytest.mark.parametrize("method", ["expel", "amem", "memento", "mia"])
async def test_a_run_taken_up_after_a_kill_ends_as_if_it_had_not_been_killed(method: str, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    await small_evaluation(whole).run_one(method, 0)
    lines = trace_path(whole, method, 0).read_bytes().splitlines(keepends=True)
    broken.mkdir()
    trace_path(broken, method, 0).write_bytes(b"".join(lines[:9]) + lines[9][:40])
    again = small_evaluation(broken)
    await again.run_one(method, 0)
    ends = [rows_of(trace_path(folder, method, 0)) for folder in (whole, broken)]
    assert [(row.task, row.answer, row.shown) for row in ends[1]][:5] == [
        (row.task, row.answer, row.shown) for row in ends[0]
    ][:5]
    assert [(row.task, row.answer, len(row.shown)) for row in ends[1]] == [
        (row.task, row.answer, len(row.shown)) for row in ends[0]
    ]
    assert isinstance(again.mind, Mortal)
    assert len(again.mind.asked) < 12


async def test_a_dead_endpoint_makes_rows_without_a_sample_that_are_asked_again(tmp_path: Path) -> None:
    _, tasks = small_tasks()
    dying = tasks.tasks[4].id
    await small_evaluation(tmp_path, dying=[dying], waves=12).run_one("none", 0)
    path = trace_path(tmp_path, "none", 0)
    (lost,) = [row for row in rows_of(path) if row.status == "no_sample"]
    assert (lost.task, lost.right) == (dying, None)
    assert "ModelUnreachableError" in lost.error
    again = small_evaluation(tmp_path, waves=12)
    await again.run_one("none", 0)
    assert isinstance(again.mind, Mortal)
    assert again.mind.asked == [dying]
    assert all(row.status == "sample" for row in rows_of(path))


async def test_a_run_stops_when_nothing_reaches_the_endpoint_and_keeps_its_rows(tmp_path: Path) -> None:
    _, tasks = small_tasks()
    with pytest.raises(EndpointGone, match="run the same command again"):
        await small_evaluation(tmp_path, dying=[task.id for task in tasks.tasks]).run_one("none", 0)
    assert len(rows_of(trace_path(tmp_path, "none", 0))) == 1


async def test_a_damaged_line_is_named_and_not_skipped(tmp_path: Path) -> None:
    path = trace_path(tmp_path, "none", 0)
    path.write_text('{"line": "episode"}\n')
    with pytest.raises(InputError, match="line 1"):
        await small_evaluation(tmp_path).run_one("none", 0)


async def test_a_gold_answer_that_no_grader_accepts_stops_the_run(tmp_path: Path) -> None:
    _, tasks = small_tasks()
    await validate(tasks.tasks, Graders())
    with pytest.raises(InputError, match="not accepted"):
        await validate([tasks.tasks[0].model_copy(update={"gold": ("...",)})], Graders())
