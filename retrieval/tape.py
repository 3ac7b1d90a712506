"""Record and replay: what the outside world answered, line by line, so that a run can be repeated without it."""

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from mia_skill.core import errors
from mia_skill.core.errors import ConfigError, MiaError, ReplayMiss, SearchError
from mia_skill.core.types import Passage
from retrieval.search import SearchEngine, checked

__all__ = ["Player", "Recorder", "Tape", "TapedSearch", "open_tape"]

Answer = TypeVar("Answer")
Kind = Literal["search", "visit", "image_search"]
Key = Mapping[str, str | int]
HEAD = {"mia_tape": 1}
REBUILT = ("AddressRefused", "InputError", "MissingExtraError", "RobotsRefused", "UsedUpError", "VisitError")
"""Errors that are made again from their message alone."""


class Tape(Protocol):
    """Stands between the callers and the outside world."""

    async def run(
        self, kind: Kind, key: Key, ask: Callable[[], Awaitable[Answer]], form: TypeAdapter[Answer]
    ) -> Answer:
        """The answer to `key`: of `ask`, or of the recording.

        Raises:
            MiaError: what `ask` raised, then or now.
            ReplayMiss: the recording holds no answer to this.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    kind: Kind
    key: dict[str, str | int]
    answer: Any = None
    error: dict[str, Any] | None = None


class Recorder:
    """Passes everything through and writes it to a new file, failures too: they are part of the run."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when the file is there already, or cannot be written."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb")
        except FileExistsError:
            raise ConfigError(f"search.record {path} is there already: remove it, or name another file") from None
        except OSError as cause:
            raise ConfigError(f"search.record {path} cannot be written: {cause.strerror}") from None
        self._write(HEAD)

    async def run(
        self, kind: Kind, key: Key, ask: Callable[[], Awaitable[Answer]], form: TypeAdapter[Answer]
    ) -> Answer:
        try:
            answer = await ask()
        except MiaError as error:
            self._write({"kind": kind, "key": dict(key), "error": _described(error)})
            raise
        self._write({"kind": kind, "key": dict(key), "answer": form.dump_python(answer, mode="json")})
        return answer

    def close(self) -> None:
        self._file.close()

    def _write(self, line: Mapping[str, object]) -> None:
        self._file.write(orjson.dumps(line) + b"\n")
        self._file.flush()


class Player:
    """Answers from a recording. Equal questions get the recorded answers in their order, then the last one again."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigError when the file cannot be read or is no recording."""
        self._name = path.name
        self._lines: dict[bytes, deque[_Line]] = defaultdict(deque)
        try:
            head, *lines = path.read_bytes().splitlines() or [b""]
        except OSError as cause:
            raise ConfigError(f"search.replay {path} cannot be read: {cause.strerror}") from None
        for number, text in enumerate([head, *lines], 1):
            try:
                tree = orjson.loads(text)
                if number == 1:
                    if tree != HEAD:
                        raise ValueError("not a recording of this version")
                    continue
                line = _Line.model_validate(tree)
            except (ValueError, ValidationError) as cause:
                why = str(cause).splitlines()[0]
                raise ConfigError(f"search.replay {path}, line {number} is no recording: {why}") from None
            self._lines[_place(line.kind, line.key)].append(line)

    async def run(
        self, kind: Kind, key: Key, ask: Callable[[], Awaitable[Answer]], form: TypeAdapter[Answer]
    ) -> Answer:
        lines = self._lines.get(_place(kind, key))
        if not lines:
            asked = ", ".join(f"{name}={value!r}"[:300] for name, value in key.items())
            raise ReplayMiss(f"the recording {self._name} holds no {kind} with {asked}: record the run anew")
        line = lines.popleft() if len(lines) > 1 else lines[0]
        if line.error is not None:
            raise _rebuilt(line.error)
        return form.validate_python(line.answer)

    def close(self) -> None:
        """Nothing is open."""


def open_tape(record: Path | None, replay: Path | None) -> Tape | None:
    """The tape that the settings ask for.

    Raises:
        ConfigError: both are asked for, or the file cannot be used.
    """
    if record is not None and replay is not None:
        raise ConfigError("search.record and search.replay exclude each other: set one of them")
    if replay is not None:
        return Player(replay)
    return Recorder(record) if record is not None else None


FOUND: TypeAdapter[tuple[Passage, ...]] = TypeAdapter(tuple[Passage, ...])


class TapedSearch:
    """A `SearchEngine` whose searches are recorded, or come from a recording (then `engine` is never asked)."""

    def __init__(self, engine: SearchEngine | None, tape: Tape, name: str) -> None:
        self._engine = engine
        self._tape = tape
        self._name = name

    @property
    def name(self) -> str:
        return self._name

    async def search(self, query: str, k: int = 5) -> tuple[Passage, ...]:
        """As the engine's.

        Raises:
            InputError, SearchError: as the engine, then or now.
            ReplayMiss: the recording holds no such search.
        """
        query = checked(query, k)

        async def ask() -> tuple[Passage, ...]:
            if self._engine is None:
                raise ReplayMiss("no engine is configured while replaying")
            return await self._engine.search(query, k)

        return await self._tape.run("search", {"query": query, "k": k}, ask, FOUND)

    async def aclose(self) -> None:
        """Close the engine and the tape."""
        close = getattr(self._engine, "aclose", None)
        if close is not None:
            await close()
        self._tape.close()


def _place(kind: str, key: Mapping[str, str | int]) -> bytes:
    return orjson.dumps([kind, dict(key)], option=orjson.OPT_SORT_KEYS)


def _described(error: MiaError) -> dict[str, object]:
    kept = {name: getattr(error, name) for name in ("engine", "kind", "retry_after_s", "limit") if hasattr(error, name)}
    return {"type": type(error).__name__, "message": str(error), **kept}


def _rebuilt(said: Mapping[str, Any]) -> MiaError:
    name, message = str(said.get("type")), str(said.get("message"))
    if name == "BudgetExceeded":
        return errors.BudgetExceeded(message, limit=str(said.get("limit")))
    if name in REBUILT:
        made: MiaError = getattr(errors, name)(message)
        return made
    if "engine" in said:
        return SearchError(
            message,
            engine=str(said["engine"]),
            kind=said.get("kind", "upstream_error"),
            retry_after_s=said.get("retry_after_s"),
        )
    return MiaError(message)
