"""Copy the skill folders to where a host looks for skills, and take them away again; a user's own files stay."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Literal

import orjson

from mia_skill.core.errors import InputError
from mia_skill.core.types import Value
from mia_skill.install.assets import asset

__all__ = ["MARKER", "SkillChange", "copy_skills", "plan_skills", "remove_skills"]

MARKER = ".mia-skill.json"
"""Lists the files we copied, so that no other is ever touched."""


class SkillChange(Value):
    """What happens to one skill folder."""

    source: Path
    target: Path
    kind: Literal["create", "update", "none", "foreign"]
    """"foreign": a skill of the same name that is not ours."""
    kept: tuple[str, ...] = ()
    """Files of ours that the user has changed: they stay as they are."""


def plan_skills(folder: Path) -> tuple[SkillChange, ...]:
    """What copying to `folder` would do.

    Raises:
        InputError: a folder cannot be read.
    """
    return tuple(plan_one(source, folder / source.name) for source in sources())


def sources() -> tuple[Path, ...]:
    return tuple(sorted(path.parent for path in asset("skills").glob("*/SKILL.md")))


def plan_one(source: Path, target: Path) -> SkillChange:
    """What copying one skill would do."""
    if not target.exists():
        return SkillChange(source=source, target=target, kind="create")
    recorded = copied(target)
    if recorded is None:
        return SkillChange(source=source, target=target, kind="foreign")
    ours, there = digests(source), digests(target)
    changed = tuple(sorted(name for name, was in recorded.items() if name in there and there[name] != was))
    stale = {name for name, now in ours.items() if there.get(name) != now and name not in changed}
    gone = recorded.keys() - ours.keys()
    kind: Literal["update", "none"] = "update" if stale or gone else "none"
    return SkillChange(source=source, target=target, kind=kind, kept=changed)


def copy_skills(changes: tuple[SkillChange, ...]) -> None:
    """Do what was planned.

    Raises:
        InputError: a file cannot be written.
    """
    for change in changes:
        if change.kind in ("create", "update"):
            with told(change.target):
                copy_one(change)


def copy_one(change: SkillChange) -> None:
    """Copy one skill; what we copied before and no longer ship goes, unless the user changed it."""
    ours, before = digests(change.source), copied(change.target) or {}
    for name in before.keys() - ours.keys() - set(change.kept):
        (change.target / name).unlink(missing_ok=True)
    for name in ours.keys() - set(change.kept):
        target = change.target / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(change.source / name, target)
    record = ours | {name: before[name] for name in change.kept if name in before}
    (change.target / MARKER).write_bytes(orjson.dumps(record, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def remove_skills(folder: Path, *, dry_run: bool = False) -> tuple[Path, ...]:
    """Take our files away; answers with the folders that were, or would be, cleaned.

    Raises:
        InputError: a file cannot be removed.
    """
    cleaned = []
    for target in (folder / source.name for source in sources()):
        recorded = copied(target)
        if recorded is None:
            continue
        cleaned.append(target)
        if dry_run:
            continue
        there = digests(target)
        with told(target):
            for name, was in recorded.items():
                if there.get(name) == was:
                    (target / name).unlink()
            (target / MARKER).unlink()
            drop_empty(target)
    return tuple(cleaned)


def drop_empty(folder: Path) -> None:
    """Remove empty folders from the deepest up."""
    below = sorted((path for path in folder.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
    for path in (*below, folder):
        if not any(path.iterdir()):
            path.rmdir()


def copied(target: Path) -> dict[str, str] | None:
    """Name and digest of the files we copied; None where the folder is not ours.

    Raises:
        InputError: the record is damaged.
    """
    try:
        record = orjson.loads((target / MARKER).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, orjson.JSONDecodeError):
        raise InputError(f"{target / MARKER} is damaged: remove {target} and run this again") from None
    safe = isinstance(record, dict) and all(
        isinstance(was, str) and (target / name).resolve().is_relative_to(target.resolve())
        for name, was in record.items()
    )
    if not safe:
        raise InputError(f"{target / MARKER} is damaged: remove {target} and run this again")
    return dict(record)


def digests(folder: Path) -> dict[str, str]:
    """Digest of each file, by its path inside `folder`."""
    return {name: sha256((folder / name).read_bytes()).hexdigest() for name in files(folder)}


def files(folder: Path) -> Iterator[str]:
    """Files that count as part of a skill."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in name.parts):
            yield name.as_posix()


@contextmanager
def told(folder: Path) -> Iterator[None]:
    """Turns a failing file operation below `folder` into an error for people."""
    try:
        yield
    except OSError as cause:
        raise InputError(f"cannot write {folder}: {cause.strerror}") from None
