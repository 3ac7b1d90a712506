"""Replies with the proof that this server gave them: feedback must show it, so nobody rewards what others wrote."""

import hashlib
import hmac
import secrets
from pathlib import Path

from mia_skill.core.types import Text, Value

__all__ = ["Sampled", "Tickets"]


class Sampled(Value):
    """Replies to one question."""

    id: str
    ticket: str
    """Proof that this server gave the replies; feedback must show it."""
    texts: tuple[Text, ...]
    version: int


class Tickets:
    """Keyed by a secret in a file, made at the first start and readable by its owner only."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            partial.touch(mode=0o600)
            partial.write_bytes(secrets.token_bytes(32))
            partial.replace(path)
        self._secret = path.read_bytes()

    def of(self, id_: str) -> str:
        """The ticket of one sample."""
        return hmac.new(self._secret, id_.encode(), hashlib.sha256).hexdigest()

    def fits(self, id_: str, ticket: str) -> bool:
        """Is it that sample's?"""
        return hmac.compare_digest(ticket.encode(), self.of(id_).encode())
