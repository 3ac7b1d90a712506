"""The demo's stream: few shapes of question, each of them coming back, the same for a seed."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_disk import file_limit

from mia_skill.agents.reader import one_chain
from mia_skill.cli import main
from mia_skill.demo.host import Solved
from mia_skill.demo.stage import Turns, pick
from retrieval.world import World, build_world


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(seed=7, size=300)


@pytest.mark.parametrize(("count", "recur", "shapes"), [(75, 25, 3), (50, 10, 5), (12, 25, 2)])
def test_a_few_shapes_take_turns_so_that_each_comes_back(world: World, count: int, recur: int, shapes: int) -> None:
    stream = pick(world.questions, count, 7, recur)
    assert len({one.id for one in stream}) == len(stream) == count
    times = Counter(one.shape for one in stream)
    assert len(times) == shapes
    assert max(times.values()) - min(times.values()) <= 1
    assert len({one.shape for one in stream[:shapes]}) == shapes


def test_a_seed_always_gives_the_same_stream(world: World) -> None:
    assert pick(world.questions, 50, 3, 25) == pick(world.questions, 50, 3, 25)
    assert pick(world.questions, 50, 3, 25) != pick(world.questions, 50, 4, 25)


def test_passes_that_run_side_by_side_are_told_one_after_the_other(world: World) -> None:
    told: list[tuple[str, int]] = []
    turns = Turns(("first", "second"), lambda name, number, *_: told.append((name, number)))
    question, done = world.questions[0], Solved()
    turns.saw("second", 1, question, done, right=True)
    turns.saw("first", 1, question, done, right=True)
    turns.saw("second", 2, question, done, right=True)
    assert told == [("first", 1)]
    turns.saw("first", 2, question, done, right=True)
    turns.over("first")
    assert told == [("first", 1), ("first", 2), ("second", 1), ("second", 2)]
    turns.saw("second", 3, question, done, right=True)
    assert told[-1] == ("second", 3)


def test_a_world_too_small_for_the_stream_is_named_with_both_ways_out(tmp_path: Path) -> None:
    told = CliRunner().invoke(main, ["--home", str(tmp_path), "demo", "--size", "60", "--recur", "50"])
    assert told.exit_code == 1
    assert "--size" in told.output
    assert "--recur" in told.output


def test_a_full_disk_ends_the_demo_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with file_limit(50_000):
        told = CliRunner().invoke(main, ["--home", str(tmp_path), "demo", "--questions", "4"])
    assert told.exit_code == 1
    assert "UnwritableError: cannot write" in told.stderr
    assert "set TMPDIR" in told.stderr
    assert not list(tmp_path.iterdir()), "nothing stays behind"


def test_a_temporary_folder_that_is_not_there_ends_the_demo_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    told = CliRunner().invoke(main, ["--home", str(tmp_path), "demo", "--questions", "4"])
    assert told.exit_code == 1
    assert "UnwritableError: cannot write" in told.stderr
    assert "set TMPDIR" in told.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("words", [("demo", "--questions", "2"), ("memory", "list"), ("world", "--out", "w")])
def test_an_output_that_cannot_be_written_is_named_without_a_traceback(tmp_path: Path, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "mia_skill.cli", "--home", str(tmp_path), *words]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, cwd=tmp_path, timeout=120)
    assert done.returncode == 1
    assert b"UnwritableError: cannot write the output: No space left on device" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_world_that_cannot_be_written_is_named_with_its_folder(tmp_path: Path) -> None:
    for out, limit in ((tmp_path / "small", 5_000), (Path("/proc/none"), 10**9)):
        with file_limit(limit):
            told = CliRunner().invoke(main, ["world", "--size", "60", "--out", str(out)])
        assert told.exit_code == 1
        assert f"UnwritableError: cannot write {out}" in told.stderr


def test_a_procedure_is_followed_only_where_one_way_leads_to_the_answer() -> None:
    assert one_chain("Which river flows through the town where Ann Lee was born?")
    assert not one_chain("Which firm was set up first, Vipine Printing House or Prilgova Clockworks?")
    assert not one_chain("Are Ann Lee and Bela Ruvo of the same town?")
