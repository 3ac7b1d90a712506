"""Prompts are files: one source for serving, evaluation and training, with a digest for every trace."""

import re
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from secrets import token_hex
from string import Template

from mia_skill.core.errors import InputError

__all__ = ["Prompt", "fence", "load_prompt", "prompt_digests", "prompt_names"]

FENCE_START = re.compile(r"<(?=<[^\n>]{0,80}[0-9a-f]{12}>>)")
"""Looked ahead, not consumed: in `<<<` both pairs are broken up."""


@dataclass(frozen=True)
class Prompt:
    """One prompt file. `$name` marks a field; rendering is strict, a missing field is a KeyError."""

    name: str
    text: str

    @property
    def digest(self) -> str:
        """Goes into every trace, so a result can be tied to the exact wording."""
        return sha256(self.text.encode()).hexdigest()[:12]

    def render(self, **fields: str) -> str:
        """The prompt with its fields filled in. Values are inserted as they are: `$` in them is not expanded."""
        return Template(self.text).substitute(fields)


@cache
def load_prompt(name: str) -> Prompt:
    """The prompt of that name.

    Raises:
        InputError: there is no such file; the message lists the names.
    """
    resource = files("mia_skill.core").joinpath("prompts", f"{name}.md")
    if not resource.is_file():
        raise InputError(f"no prompt {name!r}; there are: {', '.join(prompt_names())}")
    return Prompt(name, resource.read_text(encoding="utf-8"))


def prompt_names() -> tuple[str, ...]:
    """All prompts, sorted."""
    folder = files("mia_skill.core").joinpath("prompts")
    return tuple(sorted(entry.name.removesuffix(".md") for entry in folder.iterdir() if entry.name.endswith(".md")))


def prompt_digests() -> dict[str, str]:
    """Name to digest, for reports."""
    return {name: load_prompt(name).digest for name in prompt_names()}


def fence(label: str, text: str, *, mark: str | None = None) -> str:
    """`text` between two lines that it cannot forge, so a model can tell quoted data from its orders.

    The mark is random unless given (tests; prompts that must render alike on every round). Fence-like
    lines inside the text are broken up first.
    """
    mark = mark or token_hex(6)
    quoted = FENCE_START.sub("< ", text)
    return f"<<{label} {mark}>>\n{quoted}\n<</{label} {mark}>>"
