"""Receipts: the only way by which a label enters the memory bank (facts/trust 5, write gate).

A receipt says that this installation judged exactly this run, when, and how it came out. It is an HMAC-SHA256 over the
run's digest, made with a key that never leaves the data folder. 64 characters, so that a host's model can hand it back.
"""

import hmac
import json
import os
import secrets
import struct
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from mia_skill.core.errors import ConfigError, MiaError, ReceiptError
from mia_skill.core.types import Outcome, Value
from mia_skill.core.verdict import Case, Verdict
from trust.items import collect

__all__ = ["BACKENDS", "Notary", "Receipt", "run_digest"]

LAYOUT = struct.Struct(">BIBBB8s16s")
"""Version, seconds of issue, outcome, backend, trust in percent, nonce, run digest."""
VERSION, SEAL_BYTES, KEY_BYTES = 1, 16, 32
OUTCOMES = (None, Outcome.CORRECT, Outcome.INCORRECT)
BACKENDS = ("none", "evidence", "endpoint", "host", "gold", "user")
HOURS = 24.0
SKEW_S = 300
"""A receipt of the near future is a clock that was set; of a later one it is a forgery."""
KEY_FILE, SPENT_DIR = "receipt.key", "receipts"


class Receipt(Value):
    """What an honest receipt says."""

    outcome: Outcome | None
    """None: judged, and neither right nor wrong may be kept."""
    backend: str
    trust: float
    issued: int
    """Seconds since 1970."""
    nonce: str


@dataclass(frozen=True)
class Notary:
    """Issues receipts and honours each of them once."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(KEY_BYTES), repr=False)
    spent: Path | None = None
    """Folder of the nonces that were honoured; None keeps them in memory."""
    hours: float = HOURS
    clock: Callable[[], float] = time.time
    _seen: set[str] = field(default_factory=set, repr=False)

    @classmethod
    def open(cls, home: Path, *, hours: float = HOURS) -> "Notary":
        """The notary of a data folder; its key is made at the first need, readable by its owner alone.

        Raises:
            ConfigError: the key cannot be made or read, or is none.
        """
        return cls(key=_key(home / KEY_FILE), spent=home / SPENT_DIR, hours=hours)

    def issue(self, case: Case, verdict: Verdict) -> str:
        """A receipt for a judgment."""
        backend = verdict.backend if verdict.backend in BACKENDS else "none"
        return self._sealed(run_digest(case), verdict.remembered, backend, verdict.memory_advice.trust)

    def vouch(self, case: Case, outcome: Outcome, by: str) -> str:
        """A receipt for an outcome that is known from outside: `by` "gold" or "user". For code that holds the key.

        Raises:
            ReceiptError: `by` is nobody who can know.
        """
        if by not in ("gold", "user"):
            raise ReceiptError(f'only "gold" and "user" know an outcome without a judgment, not {by!r}')
        return self._sealed(run_digest(case), outcome, by, 1.0)

    def read(self, token: str, case: Case) -> Receipt:
        """What `token` says about `case`, not yet honoured.

        Raises:
            ReceiptError: forged, altered, expired, or of another run; nothing is to be written.
        """
        body, seal = _opened(token)
        if not hmac.compare_digest(seal, self._seal(body)):
            raise ReceiptError("this receipt was not issued here, or was altered: judge the run again")
        version, issued, outcome, backend, trust, nonce, digest = LAYOUT.unpack(body)
        if version != VERSION or outcome >= len(OUTCOMES) or backend >= len(BACKENDS):
            raise ReceiptError("this receipt is of another version: judge the run again")
        if not hmac.compare_digest(digest, run_digest(case)):
            raise ReceiptError("this receipt is of another run: question, answer and steps must be those judged")
        if not -SKEW_S <= self.clock() - issued <= self.hours * 3600:
            raise ReceiptError("this receipt has expired: judge the run again")
        return Receipt(
            outcome=OUTCOMES[outcome], backend=BACKENDS[backend], trust=trust / 100, issued=issued, nonce=nonce.hex()
        )

    @contextmanager
    def honoured(self, token: str, case: Case) -> Iterator[Receipt]:
        """What `token` says, once: from here on it is spent. Work that fails inside gives it back.

        Raises:
            ReceiptError: as `read`, or it was honoured before.
            ConfigError: the data folder cannot be written.
        """
        receipt = self.read(token, case)
        self._spend(receipt.nonce)
        try:
            yield receipt
        except MiaError:
            self._return(receipt.nonce)
            raise

    def _sealed(self, digest: bytes, outcome: Outcome | None, backend: str, trust: float) -> str:
        percent = round(100 * min(1.0, max(0.0, trust)))
        nonce = secrets.token_bytes(8)
        parts = (VERSION, int(self.clock()), OUTCOMES.index(outcome), BACKENDS.index(backend), percent, nonce, digest)
        body = LAYOUT.pack(*parts)
        return urlsafe_b64encode(body + self._seal(body)).decode()

    def _seal(self, body: bytes) -> bytes:
        return hmac.new(self.key, b"mia-receipt\0" + body, sha256).digest()[:SEAL_BYTES]

    def _spend(self, nonce: str) -> None:
        again = ReceiptError("this receipt was used already: a run is kept once")
        if self.spent is None:
            if nonce in self._seen:
                raise again
            self._seen.add(nonce)
            return
        try:
            self.spent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._sweep()
            (self.spent / nonce).touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            raise again from None
        except OSError as cause:
            raise ConfigError(f"cannot write {self.spent}: {cause.strerror}") from None

    def _return(self, nonce: str) -> None:
        self._seen.discard(nonce)
        if self.spent is not None:
            (self.spent / nonce).unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Forget nonces that have expired by twice their time."""
        if self.spent is None:
            return
        oldest = self.clock() - 2 * self.hours * 3600 - SKEW_S
        for one in self.spent.iterdir():
            try:
                if one.stat().st_mtime < oldest:
                    one.unlink(missing_ok=True)
            except FileNotFoundError:
                continue


def run_digest(case: Case) -> bytes:
    """16 bytes that stand for question, answer, what was done and what was read. White space at the ends is free."""
    read = [[one.id, sha256(one.text.encode()).hexdigest()] for one in collect(case).items]
    done = [[step.tool, step.query.strip()] for step in case.steps]
    told = [case.question.strip(), case.answer.strip(), case.caption or "", done, read]
    return sha256(json.dumps(told, ensure_ascii=True).encode()).digest()[:16]


def _opened(token: str) -> tuple[bytes, bytes]:
    try:
        whole = urlsafe_b64decode(token.strip().encode("ascii"))
    except (UnicodeEncodeError, Base64Error):
        whole = b""
    if len(whole) != LAYOUT.size + SEAL_BYTES:
        raise ReceiptError("this is no receipt: send the one that judge returned, unchanged, or none")
    return whole[: LAYOUT.size], whole[LAYOUT.size :]


def _key(path: Path) -> bytes:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        if not path.exists():
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(KEY_BYTES))
            try:
                os.link(draft, path)  # never replaces the key of a process that came first
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        key = path.read_bytes()
    except OSError as cause:
        raise ConfigError(f"cannot make or read the receipt key {path}: {cause.strerror}") from None
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} is no receipt key: delete it, and a new one is made")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return key
