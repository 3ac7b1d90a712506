"""The container files: a linter accepts them, what they copy is there, and they agree with the locks they install."""

import re
import subprocess
import sysconfig
import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "docker").glob("*.Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

pytestmark = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def name_of(file: Path) -> str:
    return file.name.partition(".")[0]


def steps(file: Path, verb: str) -> list[str]:
    """What follows a verb, line by line; no step here is longer than its line."""
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line.removeprefix(verb).strip() for line in lines if line.startswith(f"{verb} ")]


def lock(file: Path) -> tuple[str, dict[str, str]]:
    """The head of the file that it installs, and the pins in it."""
    text = (ROOT / "requirements" / f"{name_of(file)}.txt").read_text(encoding="utf-8")
    return text, dict(re.findall(r"^([\w.-]+)==(\S+)$", text, re.MULTILINE))


def test_a_linter_has_nothing_to_say(file: Path) -> None:
    linter = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([linter, file], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_copied_is_in_the_context(file: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    sources = [source for step in steps(file, "COPY") for source in step.split()[:-1]]
    assert f"requirements/{name_of(file)}.txt" in sources
    for source in sources:
        assert (ROOT / source).exists()
        assert not any(fnmatch(source, pattern) or source.startswith(f"{pattern}/") for pattern in ignored)


def test_the_image_has_the_python_and_the_cuda_that_the_lock_was_made_for(file: Path) -> None:
    (base,) = steps(file, "FROM")
    image = re.fullmatch(r"nvidia/cuda:(\d+\.\d+)\.\d+-\S+-ubuntu24\.04", base)
    assert image is not None, "Ubuntu 24.04 is the one whose python3 is 3.12"
    head, pins = lock(file)
    assert "--python-version 3.12" in head
    assert pins["cuda-toolkit"].startswith(f"{image[1]}.")


def test_the_lock_meets_the_extra_of_its_name(file: Path) -> None:
    _, pins = lock(file)
    for wanted in map(Requirement, PROJECT["optional-dependencies"][name_of(file)]):
        assert wanted.specifier.contains(pins[wanted.name]), wanted


def test_what_is_installed_beside_the_lock_has_the_documented_versions(file: Path) -> None:
    told = (ROOT / "requirements" / "README.md").read_text(encoding="utf-8")
    _, pins = lock(file)
    for name, version in re.findall(r"\b([a-z-]+)==([\d.]+)", " ".join(steps(file, "RUN"))):
        assert f"{name}=={version}" in told or pins.get(name) == version


def test_what_is_started_is_a_command_of_what_is_installed(file: Path) -> None:
    (started,) = steps(file, "ENTRYPOINT")
    program = re.findall(r'"([^"]+)"', started)[0]
    _, pins = lock(file)
    assert program in PROJECT["scripts"] or program in pins
