"""The demo's host agent: deterministic, without a model. It knows only what the tools return.

Without a remembered workflow it searches the question and follows the names it reads about. With one it follows the
workflow's steps. Nothing else differs between the two passes of the demo.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from mia_skill.agents.workflow import names
from mia_skill.core.types import Passage
from mia_skill.demo.reader import Reading, asked_kind, best_reading, by_wording, comparison, cues, leads

__all__ = ["Explorer", "Note", "Work", "follow"]

STEP = re.compile(
    r'search (?P<purpose>.*?)(?:; look for wording like "(?P<wording>.*)")? \((?P<input>.*) -> (?P<output>.*)\)$'
)
LABEL = re.compile(r"\[(?:name|found) \d+\]")

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
    answer: str = ""
    why: str = ""

    async def look(self, query: str, thought: str = "") -> tuple[Passage, ...]:
        """Search once, if the limit allows."""
        if len(self.notes) >= self.limit or any(note.query == query for note in self.notes):
            return ()
        passages = await self.search(query)
        self.notes.append(Note(query, tuple(passage.id for passage in passages), thought))
        return passages

    @property
    def kind(self) -> str:
        """What kind of answer the question asks for."""
        return asked_kind(self.question)


@dataclass(frozen=True)
class Explorer:
    """The way without a workflow: search the question, then the names found, until a sentence seems to answer."""

    work: Work

    async def run(self) -> None:
        """Fill in the answer, if one is found."""
        options = comparison(self.work.question)
        if options is not None:
            await self.compare(*options)
        else:
            await self.chase()

    async def chase(self) -> None:
        """Breadth first over names, best lead first."""
        work = self.work
        wanted = cues(work.question)
        asked = names(work.question)
        first = await work.look(work.question, "the whole question")
        frontier = asked[:1] or [""]
        seen = set(frontier)
        passages = first
        best: Reading | None = None
        while frontier and len(work.notes) < work.limit:
            subject = frontier.pop(0)
            if subject:
                passages = (
                    await work.look(f"{subject} {' '.join(sorted(self.plain()))}", f"follow {subject}") or passages
                )
            reading = best_reading(passages, subject, wanted, work.kind, asked)
            if reading is not None and (best is None or reading.score > best.score):
                best = reading
            fresh = [name for name in leads(passages, subject, wanted) if name not in seen]
            seen.update(fresh)
            frontier += fresh[:3]
        if best is not None:
            work.answer, work.why = best.value, best.sentence

    async def compare(self, one: str, other: str, smaller: bool) -> None:
        """Look both up and compare their numbers."""
        work = self.work
        wanted = cues(work.question)
        values: list[tuple[float, str]] = []
        for name in (one, other):
            passages = await work.look(f"{name} {' '.join(sorted(self.plain()))}", f"look up {name}")
            reading = best_reading(passages, name, wanted, "number", ())
            if reading is not None:
                values.append((float(reading.value.replace(",", "").strip(".")), name))
        if len(values) == 2:
            work.answer = (min if smaller else max)(values)[1]
            work.why = f"{values[0][1]}: {values[0][0]:g}, {values[1][1]}: {values[1][0]:g}"

    def plain(self) -> set[str]:
        """The question's own words that carry meaning."""
        found = names(self.work.question)
        words = re.findall(
            r"[a-z]{3,}", re.sub("|".join(map(re.escape, found)) or "^$", " ", self.work.question).casefold()
        )
        return {word for word in words if cues(word)}


async def follow(work: Work, steps: Sequence[str]) -> bool:
    """Carry out a remembered workflow. True when it led to an answer; what was searched stays in the notes."""
    known = {f"[name {number}]": name for number, name in enumerate(dict.fromkeys(names(work.question)), 1)}
    for position, step in enumerate(steps):
        parts = STEP.match(step)
        last = position == len(steps) - 1
        if parts is None or any(label not in known for label in LABEL.findall(parts["purpose"])):
            return False
        query = LABEL.sub(lambda found: known[found.group()], parts["purpose"]).replace("[...]", " ")
        inputs = [known[label] for label in LABEL.findall(parts["input"]) if label in known]
        passages = await work.look(" ".join(query.split()), f"workflow step {position + 1}")
        target = f"[{parts['output'].strip('[]')}]"
        reading = read_step(
            passages, parts["wording"] or "", known, target, inputs, work.kind if last else "name", step
        )
        if reading is None:
            return False
        known[target] = reading.value
        if last:
            work.answer, work.why = reading.value, reading.sentence
    return bool(work.answer)


def read_step(
    passages: Sequence[Passage],
    wording: str,
    known: dict[str, str],
    target: str,
    inputs: Sequence[str],
    kind: str,
    step: str,
) -> Reading | None:
    """What a step looked for: by its remembered wording, else by words that mean the same."""
    exact = by_wording(passages, wording, known, target)
    if exact is not None:
        return exact
    subject = inputs[0] if inputs else ""
    return best_reading(passages, subject, cues(f"{wording} {step}"), kind, inputs)
