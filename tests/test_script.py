"""Modules run as programs: a missing package and an error of ours are one line, not a traceback."""

import subprocess
import sys

import pytest

from mia_skill.core.errors import InputError, MissingExtraError
from mia_skill.core.script import missing, script

PROBE = """
import runpy, sys
sys.modules[sys.argv[2]] = None
del sys.argv[2:]
runpy.run_module(sys.argv.pop(1), run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize(
    ("module", "package", "told"),
    [
        ("training.tiny", "torch", "this needs the package torch: pip install 'mia-skill[rl]'"),
        ("training.tiny", "transformers", "pip install 'mia-skill[rl]'"),
        ("training.nano", "torch", "this needs the package torch: pip install 'mia-skill[rl]'"),
        ("benchmarks.bank", "psutil", "this needs the package psutil: pip install psutil"),
        ("benchmarks.server", "psutil", "this needs the package psutil: pip install psutil"),
        ("benchmarks.bank_postgres", "psycopg", "pip install 'mia-skill[postgres]'"),
    ],
)
def test_a_program_without_its_package_ends_with_one_line_that_says_what_to_install(
    module: str, package: str, told: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, module, package], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert told in line


def test_the_same_modules_raise_the_typed_error_where_they_are_imported() -> None:
    error = missing(ModuleNotFoundError("No module named 'torch'", name="torch.nn"), "training.tiny", "torch")
    assert isinstance(error, MissingExtraError)
    assert str(error) == "this needs the package torch: pip install torch"


def test_an_error_of_ours_ends_a_program_with_its_message_and_another_one_is_shown_whole() -> None:
    def refused() -> None:
        raise InputError("the folder holds a run")

    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(SystemExit) as ended:
        script(refused)
    assert ended.value.code == "the folder holds a run"
    with pytest.raises(SystemExit) as ended:
        script(lambda: 3)
    assert ended.value.code == 3
    with pytest.raises(ZeroDivisionError):
        script(broken)
