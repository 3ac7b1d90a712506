"""What the README quotes can be run: each benchmark's command is there and knows the options it is quoted with."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.quoted import Command, quoted

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = quoted(README)
TARGETS = frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def made(text: str) -> bool:
    """Does it begin with a target of the Makefile?"""
    target = re.match(r"`make ([a-z-]+)", text)
    return target is not None and target[1] in TARGETS


def test_every_part_with_figures_names_the_command_that_prints_them() -> None:
    measured = README.partition("\n## Measured\n")[2].partition("\n## ")[0]
    parts = [part for part in measured.strip().split("\n\n")[1:] if not part.startswith("|")]
    assert parts
    for part in parts:
        assert quoted(part) or made(part), part
    for part in README.split("\n\n"):
        if re.search(r"95 %|95%", part):
            assert quoted(part) or part in parts, part


@pytest.mark.parametrize("command", COMMANDS, ids=lambda one: one.name)
def test_a_quoted_command_is_there_and_knows_its_options(command: Command) -> None:
    program = command.words[: 2 if command.words[0] == "-m" else 1]
    done = subprocess.run(
        [sys.executable, *program, "--help"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    for word in command.quick().words:
        if word.startswith("--"):
            assert word in done.stdout


def test_make_bench_runs_what_is_quoted() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(r"^bench:.*\n\t@\$\(BIN\)/python -m benchmarks\.quoted \$\(ARGS\)$", makefile, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.quoted", "--list"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == [one.name for one in COMMANDS]


def test_a_name_that_is_not_quoted_is_refused_with_those_that_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.quoted", "lift"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "server" in done.stderr


def test_options_of_environments_that_are_not_there_are_left_out(tmp_path: Path) -> None:
    (tmp_path / ".npm-peers").mkdir()
    (command,) = quoted("`python benchmarks/durability.py --peers .venv-peers --npm .npm-peers --kills 5`")
    assert command.without_missing(tmp_path).words == (
        "benchmarks/durability.py",
        "--npm",
        ".npm-peers",
        "--kills",
        "5",
    )
