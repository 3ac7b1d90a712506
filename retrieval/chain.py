"""The append-only log of every change: each entry holds the hash of the one before (pure; storage is in `log`).

An entry that is changed, removed from the middle or moved breaks the chain at its number. Entries cut off at the end
leave a chain that is sound but shorter: only a head hash that was kept elsewhere shows that.
"""

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256

import orjson
from pydantic import Field

from mia_skill.core.types import MemoryUnit, Value

__all__ = ["GENESIS", "Entry", "LogReport", "digest_of", "fingerprint", "linked", "verify"]

GENESIS = "0" * 64
"""What the first entry names as the one before."""
FINGERPRINTED = (
    *("id", "namespace", "modality", "category", "outcome", "question", "caption", "workflow", "plan"),
    *("steps", "status"),
)
"""Fields of a unit whose change outside the bank is noticed; its counts move with every credit."""


class Entry(Value):
    """One change."""

    number: int = Field(ge=1)
    at: datetime
    action: str
    """"store", "merge", "credit", "feedback", "status", "forget", "revoke", "upgrade", ..."""
    subject: str = ""
    """The unit it is about; empty for one about several."""
    detail: str = ""
    digest: str = ""
    """Fingerprint of the unit after the change."""
    previous: str
    hash: str


class LogReport(Value):
    """What `verify-log` found."""

    entries: int
    head: str
    """Hash of the last entry: keep it elsewhere, and a log cut short is noticed too."""
    first_bad: int | None = None
    problem: str = ""
    changed_units: tuple[str, ...] = ()
    """Units that are not what the log says was stored."""

    @property
    def sound(self) -> bool:
        return self.first_bad is None and not self.problem and not self.changed_units


def digest_of(*fields: object) -> str:
    """SHA-256 of values in their order; no two lists of fields run together."""
    return sha256(orjson.dumps(fields)).hexdigest()


def fingerprint(unit: MemoryUnit) -> str:
    """What must not change behind the bank's back."""
    return digest_of(*(getattr(unit, name) for name in FINGERPRINTED))


def linked(
    previous: str, number: int, at: datetime, action: str, *, subject: str = "", detail: str = "", digest: str = ""
) -> Entry:
    """The entry that follows one whose hash is `previous`."""
    hashed = digest_of(previous, number, at.isoformat(), action, subject, detail, digest)
    return Entry(
        number=number,
        at=at,
        action=action,
        subject=subject,
        detail=detail,
        digest=digest,
        previous=previous,
        hash=hashed,
    )


def verify(entries: Iterable[Entry], *, head: str | None = None, after: tuple[int, str] = (0, GENESIS)) -> LogReport:
    """Follow the chain from its start, or behind an entry whose number and hash are known; `head` is a hash kept
    elsewhere, of any entry of the past."""
    count, previous = after
    met = head in (None, previous)
    for entry in entries:
        expected = count + 1
        if entry.number != expected:
            return _broken(count, previous, expected, f"entry {expected} is missing")
        again = linked(
            previous, entry.number, entry.at, entry.action, subject=entry.subject, detail=entry.detail,
            digest=entry.digest,
        )  # fmt: skip
        if entry.previous != previous:
            return _broken(count, previous, expected, f"entry {expected} does not follow the one before it")
        if entry.hash != again.hash:
            return _broken(count, previous, expected, f"entry {expected} was changed")
        previous, count = entry.hash, expected
        met = met or previous == head
    if not met:
        return LogReport(
            entries=count,
            head=previous,
            first_bad=count + 1,
            problem=f"the log was cut short or rewritten: no entry has the hash {head}",
        )
    return LogReport(entries=count, head=previous)


def _broken(entries: int, head: str, number: int, problem: str) -> LogReport:
    return LogReport(entries=entries, head=head, first_bad=number, problem=problem)
