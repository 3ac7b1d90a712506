"""Rules that hold for the source itself (spec section 10): read from the syntax tree, so that a breach fails here."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mia_skill.core.config import ENV_CONTROL

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("mia_skill", "mcp_server", "trust", "retrieval", "training")
SOURCES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))
BESIDE = sorted(file for folder in ("benchmarks", "tests") for file in (ROOT / folder).rglob("*.py"))
ENTRIES = ("mcp_server/", "mia_skill/cli/")
"""Below these a bare `Exception` may be caught: they are where a failure meets a person or a host."""


def nodes(file: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(file.read_text(encoding="utf-8")))


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_no_module_is_longer_than_400_lines(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_algorithm_in_one_file_can_be_read_in_one_sitting() -> None:
    assert len((ROOT / "training" / "tiny.py").read_text(encoding="utf-8").splitlines()) < 400


@pytest.mark.parametrize("file", [*SOURCES, *BESIDE], ids=name_of)
def test_no_function_is_longer_than_40_lines(file: Path) -> None:
    for node in nodes(file):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 40, f"{node.name} at line {node.lineno}"


@pytest.mark.parametrize("file", SOURCES, ids=name_of)
def test_no_error_is_swallowed_and_none_is_returned_as_a_string(file: Path) -> None:
    for node in nodes(file):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"bare except at line {node.lineno}"
            broad = isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            last = node.body[-1]
            passed_on = isinstance(last, ast.Raise) and last.exc is None
            assert not broad or passed_on or name_of(file).startswith(ENTRIES), f"line {node.lineno}"
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            assert not re.match(r"(?i)\s*(error|failed|exception)\b", node.value.value), f"line {node.lineno}"


def test_nothing_asks_the_reader_to_edit_code_or_leaves_work_undone() -> None:
    marks = re.compile(r"your_path|your_key|TO" r"DO|FIX" r"ME|NotImplemented" r"Error")
    for file in SOURCES:
        assert not marks.search(file.read_text(encoding="utf-8")), name_of(file)


def test_no_package_is_vendored() -> None:
    foreign = {"verl", "vllm", "torch", "transformers", "faiss", "mcp"}
    folders = {path.name for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_dir()}
    assert not foreign & folders


def test_the_server_binds_to_loopback_by_default() -> None:
    from mia_skill.core.config import ServerConfig

    assert ServerConfig().host == "127.0.0.1"


def test_no_variable_of_the_scripts_or_the_tests_keeps_the_product_from_starting() -> None:
    """Every MIA_ variable is a setting unless it is named as none: an unknown one stops every command."""
    scripts = [ROOT / ".ci" / "run", ROOT / "Makefile"]
    tests = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]
    read = {name for file in scripts for name in re.findall(r"\bMIA_[A-Z_]+", file.read_text(encoding="utf-8"))}
    for file in tests:
        read |= set(re.findall(r"environ(?:\.get\(|\[)\"(MIA_[A-Z_]+)\"", file.read_text(encoding="utf-8")))
    assert read
    assert read <= ENV_CONTROL
