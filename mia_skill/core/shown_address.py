"""An address as it may be printed: the one place that takes credentials out of it."""

import re

from mia_skill.core.redact import redact

__all__ = ["shown_address", "shown_value"]

MASK = "***"
END = re.compile(r"[/?#\s]")
"""Where the part with user, password, host and port ends."""
QUERY = re.compile(r"[?#]")
PLACE = re.compile(r"(\[[^\]]*\]|[^:]*)(:\d+)?")
"""A host and perhaps a port."""
PAIR = re.compile(r"([?&;#])([^=&;#\s]{1,200})=([^&;#\s]*)")
SECRET = re.compile(r"key|token|secret|pass|pwd|auth|sig|cred|session|jwt|code", re.IGNORECASE)
"""In the name of a parameter, `X-Amz-Signature` and `access_token` too. One masked too many costs a reader little."""


def shown_address(url: str) -> str:
    """`url` without the user and the password in it, and without the values of parameters that look like secrets. It
    need not be a sound address: those with a mistake in them are printed most often."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "", url
    clean = f"{scheme}{mark}{_without_user(rest)}"
    asked = QUERY.search(clean)
    at = asked.start() if asked else len(clean)
    return redact(clean[:at]) + PAIR.sub(_masked, clean[at:])


def shown_value(value: str) -> str:
    """A setting of any kind as it may be printed."""
    return shown_address(value) if "://" in value else redact(value)


def _without_user(rest: str) -> str:
    found = END.search(rest)
    place = rest[: found.start()] if found else rest
    if "@" in place:
        return f"{MASK}@{place.rpartition('@')[2]}{rest[len(place) :]}"
    if "@" in rest and not PLACE.fullmatch(place):  # a password with a slash or a question mark in it
        return f"{MASK}@{rest.rpartition('@')[2]}"
    return rest


def _masked(pair: re.Match[str]) -> str:
    before, name, value = pair.groups()
    return f"{before}{name}={MASK if value and SECRET.search(name) else redact(value)}"
