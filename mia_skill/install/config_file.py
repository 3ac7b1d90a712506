"""Change one host configuration: read, edit, keep a backup, replace atomically - or refuse and change nothing."""

import os
import stat
import tempfile
from pathlib import Path
from typing import Literal

import orjson

from mia_skill.core.errors import InputError
from mia_skill.core.types import Value
from mia_skill.install.edit import lookup, nested, removed, with_entry
from mia_skill.install.hosts import Host, Launch

__all__ = ["BACKUP", "SERVER", "Change", "apply", "backup_of", "plan_install", "plan_uninstall", "read"]

SERVER = "mia"
"""The key of our entry; OpenClaw makes the tool prefix `mia__` of it."""
BACKUP = ".mia-backup"


class Change(Value):
    """What is to be done to one file."""

    path: Path
    before: str | None
    """None: the file is not there."""
    after: str | None
    """None: the file goes."""
    backup: bool = False
    """Keep what is there now. Not over the copy from before our first change."""

    @property
    def kind(self) -> Literal["none", "create", "change", "delete"]:
        """In one word."""
        if self.before == self.after:
            return "none"
        if self.before is None:
            return "create"
        return "delete" if self.after is None else "change"


def plan_install(host: Host, path: Path, launch: Launch) -> Change:
    """The change that puts the server into `path`.

    Raises:
        InputError: the file cannot be edited safely; the message holds what to paste.
    """
    before = read(path)
    where = (*host.servers, SERVER)
    try:
        entry = host.entry(launch, lookup(before or "", where))
        after = with_entry(before or "", where, dict(entry))
    except InputError as cause:
        raise refusal(path, cause, host, launch) from None
    first = lookup(before or "", where) is None
    keep = before is not None and (first or read(backup_of(path)) is None)
    return Change(path=path, before=before, after=after, backup=keep)


def plan_uninstall(host: Host, path: Path) -> Change:
    """The change that takes the server out again: a file that holds nothing else and was not there before goes,
    and one that nobody touched since gets its old bytes back.

    Raises:
        InputError: the file cannot be edited safely.
    """
    before = read(path)
    if before is None:
        return Change(path=path, before=None, after=None)
    where = (*host.servers, SERVER)
    try:
        candidates = [removed(before, where[:depth]) for depth in range(len(where), 0, -1)]
    except InputError as cause:
        raise InputError(f"{path} cannot be edited safely ({cause}); take out {'.'.join(where)} by hand") from None
    if candidates[0] == before:
        return Change(path=path, before=before, after=before)
    old = read(backup_of(path))
    if old is None and lookup(candidates[-1], ()) == {} and only_ours(before, where):
        return Change(path=path, before=before, after=None)
    restored = old is not None and old in candidates
    return Change(path=path, before=before, after=old if restored else candidates[0], backup=not restored)


def only_ours(text: str, where: tuple[str, ...]) -> bool:
    """Does the document hold our entry and nothing else, not even a comment?"""
    compact = orjson.dumps(nested(where, lookup(text, where)))
    try:
        return orjson.dumps(orjson.loads(text)) == compact
    except orjson.JSONDecodeError:
        return False


def apply(change: Change) -> None:
    """Write the change. The bytes before it stay beside the file as `*.mia-backup`, with the same permissions.

    Raises:
        InputError: it could not be written, or somebody else wrote meanwhile; the file is as it was.
    """
    if change.kind == "none":
        return
    path = change.path.resolve()
    try:
        if path.exists() and not path.stat().st_mode & stat.S_IWUSR:
            raise InputError(f"{path} is marked read-only; it may be managed by another program. Nothing was changed")
        if read(path) != change.before:
            raise InputError(f"{path} was written by somebody else just now; nothing was changed. Run this again")
        if change.before is not None and change.backup:
            replace(backup_of(path), change.before, path)
        if change.after is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, change.after, path)
        if change.after == read(backup_of(path)):
            backup_of(path).unlink(missing_ok=True)
    except OSError as cause:
        raise InputError(f"cannot write {path}: {cause.strerror}. Nothing was changed") from None


def replace(path: Path, text: str, like: Path) -> None:
    """Put `text` at `path` in one step, with the permissions of `like`; a new file is the user's alone."""
    mode = stat.S_IMODE(like.stat().st_mode) if like.exists() else 0o600
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def backup_of(path: Path) -> Path:
    """Where the backup of `path` stands."""
    path = path.resolve()
    return path.with_name(path.name + BACKUP)


def read(path: Path) -> str | None:
    """The text of `path`, newlines untouched; None when it is not there.

    Raises:
        InputError: it cannot be read as UTF-8 text.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is no UTF-8 text"
        raise InputError(f"cannot read {path}: {reason}") from None


def refusal(path: Path, cause: InputError, host: Host, launch: Launch) -> InputError:
    """Why the file was left alone, and what to paste into it."""
    snippet = with_entry("", (*host.servers, SERVER), dict(host.entry(launch, None)))
    return InputError(f"{path} was left as it is ({cause}). Mend it, or put this into it yourself:\n{snippet}")
