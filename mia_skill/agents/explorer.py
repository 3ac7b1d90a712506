"""An agent without a model: deterministic. It knows only what the tools return.

Without a remembered workflow it searches the question and follows the names it reads about. With one it follows the
workflow's steps. Nothing else differs between a run with and one without memory.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush

from mia_skill.agents.reader import (
    Link,
    Reading,
    asked_kind,
    best_reading,
    by_wording,
    comparison,
    cues,
    links,
    question_items,
    same_name,
)
from mia_skill.agents.workflow import names, stands_in
from mia_skill.core.types import Passage

__all__ = ["Explorer", "Note", "Work", "follow"]

STEP = re.compile(
    r'search (?P<purpose>.*?)(?:; look for wording like "(?P<wording>.*)")? \((?P<input>.*) -> (?P<output>.*)\)$'
)
LABEL = re.compile(r"\[(?:name|found) \d+\]")

ENOUGH = 0.5
"""Share of the question's words that the way to an answer must cover."""

Search = Callable[[str], Awaitable[tuple[Passage, ...]]]


@dataclass(frozen=True)
class Note:
    """One search, as it is reported to the tools."""

    query: str
    passage_ids: tuple[str, ...]
    thought: str = ""


@dataclass
class Work:
    """What was done for one question."""

    question: str
    search: Search
    limit: int = 10
    notes: list[Note] = field(default_factory=list)
    read: dict[str, tuple[Passage, ...]] = field(default_factory=dict, repr=False)
    answer: str = ""
    why: str = ""

    async def look(self, query: str, thought: str = "") -> tuple[Passage, ...]:
        """Search once, if the limit allows; what was searched before is read again for nothing."""
        if query in self.read:
            return self.read[query]
        if len(self.notes) >= self.limit:
            return ()
        passages = self.read[query] = await self.search(query)
        self.notes.append(Note(query, tuple(passage.id for passage in passages), thought))
        return passages

    @property
    def kind(self) -> str:
        """What kind of answer the question asks for."""
        return asked_kind(self.question)


@dataclass(order=True)
class Lead:
    """A name to follow; the one whose path covers most of the question comes first."""

    rank: float
    name: str = field(compare=False)
    covered: frozenset[str] = field(compare=False, default=frozenset())
    depth: int = field(compare=False, default=0)
    sentence: str = field(compare=False, default="")
    """Where its name was read."""


@dataclass(frozen=True)
class Explorer:
    """The way without a workflow: from the question's name to the names read about it, and so on, preferring paths
    whose sentences cover more of the question's words."""

    work: Work

    async def run(self) -> None:
        """Fill in the answer, if one is found."""
        work = self.work
        asked = list(dict.fromkeys(names(work.question)))
        options = comparison(work.question)
        if options is not None:
            await self.compare(*options)
        elif work.kind == "yesno" and len(asked) >= 2:
            await self.same(asked[0], asked[1])
        else:
            found = await self.chase(asked[0] if asked else "", work.kind, work.limit)
            if found is not None:
                work.answer, work.why = found.value, found.sentence

    async def chase(self, start: str, kind: str, limit: int) -> Link | None:
        """Best first over names, until one path covers the whole question or the limit is reached. A path that covers
        too little of it is no answer."""
        items = question_items(self.work.question)
        frontier = [Lead(0.0, start)]
        followed: dict[str, int] = {start: 0}
        best: tuple[float, frozenset[str], Link] | None = None
        first = len(self.work.notes)
        while frontier and len(self.work.notes) - first < limit:
            lead = heappop(frontier)
            missing = [word for word in items if word not in lead.covered]
            query = f"{lead.name} {' '.join(missing or items)}".strip()
            passages = await self.work.look(query, f"follow {lead.name}: {lead.sentence}")
            for link in links(passages, lead.name, items, "name" if kind == "name" else "any"):
                gained = lead.covered | link.covered
                score = len(gained) + 0.5 * link.own_page + 0.2 * link.literal - 0.1 * lead.depth
                if fits(link.value, kind) and gained > lead.covered and (best is None or score > best[0]):
                    best = (score, gained, link)
                if not link.value[0].isdigit() and len(gained) > followed.get(link.value, -1):
                    followed[link.value] = len(gained)
                    heappush(frontier, Lead(-score, link.value, gained, lead.depth + 1, link.sentence))
            if best is not None and len(best[1]) == len(items):
                break
        return best[2] if best is not None and len(best[1]) >= ENOUGH * len(items) else None

    async def compare(self, one: str, other: str, smaller: bool) -> None:
        """Look both up and compare their numbers."""
        work = self.work
        values: list[tuple[float, str]] = []
        for name in (one, other):
            found = await self.chase(name, "number", work.limit // 2)
            if found is not None:
                values.append((float(found.value.replace(",", "").strip(".")), name))
        if len(values) == 2:
            work.answer = (min if smaller else max)(values)[1]
            work.why = f"{values[0][1]}: {values[0][0]:g}, {values[1][1]}: {values[1][0]:g}"

    async def same(self, one: str, other: str) -> None:
        """Look both up and see whether they lead to the same name."""
        found = [await self.chase(name, "name", self.work.limit // 2) for name in (one, other)]
        if found[0] is not None and found[1] is not None:
            self.work.answer = "yes" if found[0].value == found[1].value else "no"
            self.work.why = f"{one}: {found[0].value}, {other}: {found[1].value}"


def fits(value: str, kind: str) -> bool:
    """Is this value of the kind that is asked for?"""
    return value[0].isdigit() == (kind in ("year", "number"))


async def follow(work: Work, workflows: Sequence[Sequence[str]]) -> bool:
    """Carry out the first of the remembered workflows; others of the same form lend their wordings. True when it led
    to an answer; what was searched stays in the notes either way."""
    known = {f"[name {number}]": name for number, name in enumerate(dict.fromkeys(names(work.question)), 1)}
    parsed = [[STEP.match(step) for step in steps] for steps in workflows]
    alike = [steps for steps in parsed if shape(steps) == shape(parsed[0])]
    if not alike or shape(alike[0]) is None:
        return False
    reading: Reading | None = None
    for position, parts in enumerate(zip(*alike, strict=True)):
        own = [part for part in parts if part is not None]
        labels = LABEL.findall(own[0]["purpose"])
        if any(label not in known for label in labels):
            return False
        query = LABEL.sub(lambda found: known[found.group()], own[0]["purpose"]).replace("[...]", " ")
        passages = await work.look(" ".join(query.split()), f"workflow step {position + 1}")
        target = f"[{own[0]['output'].strip('[]')}]"
        wordings = list(dict.fromkeys(part["wording"] for part in own if part["wording"]))
        reading = read_step(
            passages, wordings, known, target, known[labels[0]] if labels else "", work.kind, work.question
        )
        if reading is None:
            return False
        known[target] = reading.value
    if reading is None:
        return False
    work.answer, work.why = reading.value, reading.sentence
    return True


def shape(steps: Sequence[re.Match[str] | None]) -> tuple[tuple[str, str], ...] | None:
    """What goes into each step and what comes out; None when a step is none of ours."""
    if not steps or any(step is None for step in steps):
        return None
    return tuple((step["input"], step["output"]) for step in steps if step is not None)


def read_step(
    passages: Sequence[Passage],
    wordings: Sequence[str],
    known: dict[str, str],
    target: str,
    subject: str,
    kind: str,
    question: str,
) -> Reading | None:
    """What a step looked for: by a remembered wording, else by words that mean the same on the subject's own page."""
    for wording in wordings:
        exact = by_wording(passages, wording, known, target)
        if exact is not None and (not subject or about(exact, passages, subject)):
            return exact
    wanted = cues(" ".join(wordings)) & cues(question)
    asked = kind if target == "[the answer]" else "name"
    return best_reading(passages, subject, wanted, asked, [name for name in known.values() if name != subject])


def about(reading: Reading, passages: Sequence[Passage], subject: str) -> bool:
    """Does the sentence name the subject, or stand on its page?"""
    return stands_in(reading.sentence, subject) or any(
        same_name(passage.title, subject) and reading.sentence in passage.text for passage in passages
    )
