"""Evaluation traces for the page: which runs there are, their episodes, one of them in full, and the report.

A run is named by the page; its folder comes from the command line alone. A trace is read through once and then by the
places of its lines, so that a long one is not held in memory.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from pydantic import AliasPath, BaseModel, Field, ValidationError

from mia_skill.core.errors import InputError
from mia_skill.core.json_service import Route
from mia_skill.core.types import Value
from mia_skill.evaluation.plan import HEAD
from mia_skill.evaluation.report import as_html
from mia_skill.evaluation.summary import summarise
from mia_skill.evaluation.trace import Row
from mia_skill.ui.forms import EpisodeForm, EpisodesForm, Nothing, RunForm
from mia_skill.ui.questions import posts
from mia_skill.ui.views import LINE_CHARS, bounded, cut

__all__ = ["Episode", "Gallery", "Index"]

FOUND = 200
"""Runs that are listed."""
BROKEN = 20
"""Damaged lines that are named."""


class Told(BaseModel):
    """What a list needs of a line; the rest is passed over."""

    line: str
    task: str
    position: int = 0
    question: str = ""
    status: str = ""
    grade: str = "ungraded"
    kind: str = ""
    error: str = ""
    answer: str = Field(default="", validation_alias=AliasPath("attempt", "trajectory", "answer"))
    searches: int = Field(default=0, validation_alias=AliasPath("usage", "searches"))


class Episode(Value):
    """An episode in a list."""

    task: str
    position: int
    question: str
    answer: str
    grade: str
    """The grade, or "no_sample"."""
    kind: str = ""
    error: str = ""
    searches: int = 0


@dataclass(frozen=True)
class Index:
    """Where a trace's episodes are."""

    stamp: tuple[int, int]
    episodes: tuple[Episode, ...]
    places: Mapping[str, tuple[int, int]]
    """Task to the offset and length of its last line."""
    broken: tuple[str, ...]
    """Lines that are none, by number; the others are shown."""


@dataclass
class Gallery:
    """The folders that were named at the start. Runs that come later are found too."""

    folders: Sequence[Path]
    _indexes: dict[Path, Index] = field(default_factory=dict, repr=False)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def routes(self) -> Sequence[Route]:
        """What the page can ask."""
        return posts(
            (
                ("runs", self.listed, Nothing, "the evaluations"),
                ("run", self.run, RunForm, "one evaluation: set-up, figures, traces"),
                ("episodes", self.episodes, EpisodesForm, "a page of episodes"),
                ("episode", self.episode, EpisodeForm, "one episode in full"),
            )
        )

    def listed(self, _: Nothing) -> object:
        """Names of the runs, and how many traces each has."""
        runs = self._runs()
        told = [
            {"run": name, "traces": len(traces_in(folder)), "report": (folder / HEAD).is_file()}
            for name, folder in list(runs.items())[:FOUND]
        ]
        return {"runs": told, "more": max(0, len(runs) - FOUND), "folders": len(self.folders)}

    def run(self, form: RunForm) -> object:
        """A run without its set-up has traces and no figures."""
        folder = self._folder(form.run)
        summary = problem = None
        if (folder / HEAD).is_file():
            try:
                summary = summarise(folder)
            except InputError as error:
                problem = str(error)
        traces = [{"trace": path.name, "bytes": path.stat().st_size} for path in traces_in(folder)[:FOUND]]
        return {
            "run": form.run,
            "traces": traces,
            "problem": problem,
            "summary": None if summary is None else bounded(summary.model_dump(mode="json"), LINE_CHARS),
        }

    def episodes(self, form: EpisodesForm) -> object:
        """Those that match, in the order of the stream."""
        index = self._index(form.run, form.trace)
        wanted = form.text.casefold()
        found = [
            one
            for one in index.episodes
            if form.grade in (None, one.grade)
            and (not wanted or any(wanted in text.casefold() for text in (one.task, one.question, one.answer)))
        ]
        page = found[form.offset : form.offset + form.limit]
        return {"episodes": page, "total": len(found), "all": len(index.episodes), "broken": index.broken}

    def episode(self, form: EpisodeForm) -> object:
        """The last word on a task.

        Raises:
            InputError: the trace has no such episode, or its line is damaged.
        """
        index = self._index(form.run, form.trace)
        place = index.places.get(form.task)
        if place is None:
            raise InputError(f"{form.trace} has no question {form.task!r}: go back to its list")
        with self._trace(form.run, form.trace).open("rb") as file:
            file.seek(place[0])
            line = file.read(place[1])
        try:
            row = Row.model_validate_json(line)
        except ValidationError as cause:
            first = cause.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise InputError(f"the line of {form.task!r} in {form.trace} is damaged: {where}: {first['msg']}") from None
        return {"row": bounded(row.model_dump(mode="json")), "right": row.right}

    def report(self, name: str) -> str:
        """The report of a run, made anew from its traces, as a page.

        Raises:
            InputError: there is no such run, or it cannot be summed up.
        """
        return as_html(summarise(self._folder(name)))

    def names(self) -> Collection[str]:
        """Names of all runs."""
        return self._runs().keys()

    # -- inside -------------------------------------------------------------------------------------------------

    def _runs(self) -> dict[str, Path]:
        runs: dict[str, Path] = {}
        for folder in self.folders:
            for path in runs_in(folder):
                name, count = path.resolve().name, 2
                while name in runs:
                    name, count = f"{path.resolve().name} ({count})", count + 1
                runs[name] = path
        return runs

    def _folder(self, name: str) -> Path:
        folder = self._runs().get(name)
        if folder is None:
            raise InputError(f"there is no evaluation {name!r} here: start with `mia ui --traces FOLDER`")
        return folder

    def _trace(self, run: str, trace: str) -> Path:
        found = next((path for path in traces_in(self._folder(run)) if path.name == trace), None)
        if found is None:
            raise InputError(f"{run} has no trace {trace!r}: go back to its list")
        return found

    def _index(self, run: str, trace: str) -> Index:
        path = self._trace(run, trace)
        told = path.stat()
        stamp = (told.st_size, told.st_mtime_ns)
        with self._lock:
            held = self._indexes.get(path)
            if held is None or held.stamp != stamp:
                held = self._indexes[path] = indexed(path, stamp)
        return held


def runs_in(folder: Path) -> Iterator[Path]:
    """The folder itself if it holds traces, and the folders right below it that do."""
    if traces_in(folder):
        yield folder
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and traces_in(path):
            yield path


def traces_in(folder: Path) -> list[Path]:
    """Traces of an evaluation; of a folder that is none, its JSON lines."""
    named = sorted(folder.glob("trace.*.jsonl"))
    return named or ([] if (folder / HEAD).is_file() else sorted(folder.glob("*.jsonl")))


def indexed(path: Path, stamp: tuple[int, int]) -> Index:
    """Read a trace through. Half a line at its end is one that is being written."""
    last: dict[str, tuple[Episode, tuple[int, int]]] = {}
    broken: list[str] = []
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                break
            try:
                told = Told.model_validate_json(line)
            except ValidationError:
                broken.append(f"line {number} is no line of a trace")
            else:
                if told.line == "episode":
                    last[told.task] = (episode_of(told), (offset, len(line)))
            offset += len(line)
    ordered = sorted(last.values(), key=lambda one: one[0].position)
    return Index(
        stamp=stamp,
        episodes=tuple(one for one, _ in ordered),
        places={one.task: place for one, place in ordered},
        broken=tuple(broken[:BROKEN]),
    )


def episode_of(told: Told) -> Episode:
    """A row as one entry of a list."""
    return Episode(
        task=told.task,
        position=told.position,
        question=cut(told.question, LINE_CHARS),
        answer=cut(told.answer, LINE_CHARS),
        grade="no_sample" if told.status == "no_sample" else cut(told.grade, LINE_CHARS),
        kind=cut(told.kind, LINE_CHARS),
        error=cut(told.error, LINE_CHARS),
        searches=told.searches,
    )
