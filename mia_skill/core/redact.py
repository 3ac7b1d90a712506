"""Secrets taken out of what is kept. `secrets.json` is the one definition: the hooks for OpenClaw read a copy of it."""

import re
from functools import cache
from importlib.resources import files
from typing import TypeVar

import orjson

from mia_skill.core.types import Value

__all__ = ["redact", "without_secrets"]

Kept = TypeVar("Kept", bound=Value)


@cache
def rules() -> tuple[tuple[re.Pattern[str], str], ...]:
    """What a secret looks like and what is put in its place. The patterns mean the same in JavaScript, and each looks
    at a bounded number of characters from where it starts, so that hostile text costs no more than other text."""
    listed = orjson.loads(files("mia_skill.core").joinpath("secrets.json").read_bytes())
    return tuple(
        (
            re.compile(one["find"], re.ASCII | (re.IGNORECASE if one.get("any_case") else 0)),
            one["put"].replace("$1", r"\g<1>"),
        )
        for one in listed
    )


def redact(text: str) -> str:
    """`text` with everything that looks like a key, a token, a password or a private key replaced."""
    for pattern, put in rules():
        text = pattern.sub(put, text)
    return text


def without_secrets(value: Kept) -> Kept:
    """A copy of `value` in which every text is redacted, however deep it stands; keys of objects stay."""
    tree = value.model_dump()
    clean = cleaned(tree)
    return value if clean == tree else type(value).model_validate(clean)


def cleaned(value: object) -> object:
    """A tree of plain values without secrets."""
    match value:
        case str() if type(value) is str:
            return redact(value)
        case dict():
            return {key: cleaned(one) for key, one in value.items()}
        case list() | tuple():
            return type(value)(cleaned(one) for one in value)
        case _:
            return value
