"""What counts as evidence: texts that a tool or a person brought, each with a stable id. Errors, empty results, the
agent's own words and recalled memories are not evidence (facts/trust 4.1)."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from mia_skill.core.types import Origin, Passage, Step
from mia_skill.core.verdict import Case

__all__ = ["Gathered", "Item", "collect", "empty_result", "visible"]

NOTHING = re.compile(
    r"\s*[\[(\"'{]*\s*(?:could not find|couldn.t find|can.?not find|no (?:more )?(?:results?|matches|documents|"
    r"pages|hits|"
    r"information|data|content)\b|nothing (?:was )?found|not found|0 results|invalid action|last searched page|"
    r"there (?:are|is) no|error\b|\w*error:|\w*exception\b|traceback|http (?:error )?[45]\d\d|[45]\d\d (?:not found|"
    r"forbidden|internal|bad|service|unauthorized|gateway|too many)|(?:request |connection )?timed? ?out|access "
    r"denied|"
    r"forbidden\b|permission denied|rate limit|too many requests|captcha|please enable (?:javascript|cookies)|"
    r"failed to|unable to (?:fetch|load|open|retrieve|find|access)|connection (?:error|refused|reset)|null\s*$|"
    r"none\s*$|"
    r"n/a\s*$|\[\s*\]|\{\s*\}|未找到|没有找到|无结果|keine ergebnisse|aucun résultat|sin resultados|не найдено)",
    re.IGNORECASE,
)
LONGEST_NOTICE = 400
"""A longer text that only begins like an error notice is a page about something."""
MOST_READ = 1_000_000
"""Characters of all evidence together; about two seconds of reading."""
TAG = re.compile(r"<(?:script|style)\b.*?</(?:script|style)\s*>|<!--.*?-->|</?[a-zA-Z][^<>]{0,500}>", re.DOTALL | re.I)
OWN = frozenset({Origin.OWN_RUN, Origin.OTHER_AGENT, Origin.IMPORTED})
"""Origins that are no outside source: an agent cannot be its own witness."""


@dataclass(frozen=True)
class Item:
    """One piece of evidence."""

    id: str
    text: str
    """As given: quotes are cut from it by place."""
    title: str = ""
    url: str = ""
    step: int = -1
    """Number of the step that brought it; -1 when it was handed in beside the run."""
    published: str = ""
    """When, in the words of the engine."""

    @property
    def domain(self) -> str:
        """The host of its address, without `www.`; empty when it has none."""
        try:
            return (urlsplit(self.url).hostname or "").removeprefix("www.")
        except ValueError:
            return ""


@dataclass(frozen=True)
class Gathered:
    """The evidence of a case, and what was left out."""

    items: tuple[Item, ...]
    errors: int = 0
    """Steps that failed or brought nothing."""
    own_words: tuple[str, ...] = ()
    """Ids of texts that are the agent's own memory: shown, never support."""
    clashing: tuple[str, ...] = ()
    """Ids that were given to two different texts."""
    left_out: int = 0
    """Texts not read, or not to their end: together they were longer than `MOST_READ`."""


def collect(case: Case) -> Gathered:
    """The evidence of `case`, each text once, in order of appearance."""
    items: dict[str, Item] = {}
    own: list[str] = []
    clashing: list[str] = []
    errors = 0
    for number, step in enumerate(case.steps):
        brought = list(_brought(number, step))
        errors += not brought
        for item, origin in brought:
            _keep(items, own, clashing, item, origin)
    for passage in case.evidence:
        if not empty_result(passage.text):
            _keep(items, own, clashing, _item(passage, -1), _origin(passage))
    read = _bounded(items.values())
    left_out = sum(len(one.text) for one in items.values()) - sum(len(one.text) for one in read)
    cut = sum(one not in read for one in items.values()) if left_out else 0
    return Gathered(read, errors, tuple(dict.fromkeys(own)), tuple(dict.fromkeys(clashing)), cut)


def _bounded(items: Iterable[Item]) -> tuple[Item, ...]:
    """The first `MOST_READ` characters: a judgment must end, whatever a host sends. Places in a cut text stay true."""
    left = MOST_READ
    read = []
    for item in items:
        if left <= 0:
            break
        read.append(item if len(item.text) <= left else replace(item, text=item.text[:left]))
        left -= len(item.text)
    return tuple(read)


def empty_result(text: str) -> bool:
    """Is this the tool saying that it has nothing, rather than a text about something?"""
    stripped = text.strip()
    if not stripped or not re.search(r"\w", stripped):
        return True
    return len(stripped) <= LONGEST_NOTICE and NOTHING.match(stripped) is not None


def visible(text: str) -> str:
    """`text` with mark-up blanked out, place by place: every offset stays what it was."""
    if "<" not in text:
        return text
    return TAG.sub(lambda match: " " * len(match.group()), text)


def _brought(number: int, step: Step) -> Iterator[tuple[Item, Origin | None]]:
    if step.error is not None:
        return
    for passage in step.passages:
        if not empty_result(passage.text):
            yield _item(passage, number), _origin(passage)
    if not step.passages and not empty_result(step.observation):
        yield Item(id=f"step-{number + 1}", text=step.observation, step=number), None


def _item(passage: Passage, step: int) -> Item:
    return Item(passage.id or "unnamed", passage.text, passage.title, passage.url or "", step, passage.published)


def _origin(passage: Passage) -> Origin | None:
    return Origin.OWN_RUN if passage.source == "memory" else passage.origin


def _keep(items: dict[str, Item], own: list[str], clashing: list[str], item: Item, origin: Origin | None) -> None:
    if origin in OWN:
        own.append(item.id)
        return
    known = items.get(item.id)
    if known is None:
        items[item.id] = item
    elif known.text != item.text:
        clashing.append(item.id)
        number = 2
        while f"{item.id}#{number}" in items and items[f"{item.id}#{number}"].text != item.text:
            number += 1
        items[f"{item.id}#{number}"] = replace(item, id=f"{item.id}#{number}")
