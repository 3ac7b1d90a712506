"""The bank as JSON lines: a header, then units and pairs. The form an export has and an import reads."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import orjson
from pydantic import ValidationError

from mia_skill.core.errors import InputError
from mia_skill.core.types import MemoryUnit, Origin, PlanPair, Value
from retrieval.carried import Carried, carried, vectors_line
from retrieval.chain import Entry
from retrieval.gate import Trial
from retrieval.vectors import Vectors

__all__ = [
    "Arrival",
    "BrokenLine",
    "ImportReport",
    "adopted",
    "header",
    "log_entries",
    "log_line",
    "pair_line",
    "parse_line",
]
__all__ += ["read_lines", "trial_line", "unit_line"]

Kept = TypeVar("Kept", MemoryUnit, PlanPair, Trial, Entry)
FORMATS = (1, 2)
"""The second has vectors beside its units, which a reader of the first would take for a mistake."""
LARGEST = 1_000_000
"""Characters of one line; ours are a hundredth of that."""


class BrokenLine(Value):
    """A line that was left out."""

    line: int
    """Counted from 1."""
    reason: str


class ImportReport(Value):
    """What an import did, or with `dry_run` would have done."""

    added: int = 0
    merged: int = 0
    """Units that were near-identical to one in the bank and gave it their counts."""
    known: int = 0
    """Units and pairs whose id is in the bank already: left as they are."""
    pairs: int = 0
    broken: tuple[BrokenLine, ...] = ()
    left_out: tuple[BrokenLine, ...] = ()
    """Of another program's memory: what is sound, but no procedure."""
    embedded_again: int = 0
    """Units and pairs that came with vectors which were not used: nobody asked for that, or they are another
    embedder's, damaged, or not their text's."""
    dry_run: bool = False


class Arrival(NamedTuple):
    """What one line holds."""

    value: MemoryUnit | PlanPair | Trial
    vectors: Carried | None = None
    """Of the embedder that was asked for."""
    had_vectors: bool = False


def header(units: int, pairs: int, embedder: str | None = None) -> dict[str, object]:
    """The first line; with the identity of the embedder whose vectors follow."""
    told = {"kind": "bank", "format": FORMATS[0], "units": units, "pairs": pairs}
    return told if embedder is None else {**told, "format": FORMATS[1], "embedder": embedder}


def unit_line(unit: MemoryUnit, vectors: Vectors | None = None) -> dict[str, object]:
    """A unit as a line."""
    return {"kind": "unit", **unit.model_dump(mode="json"), **_beside(vectors)}


def pair_line(pair: PlanPair, vectors: Vectors | None = None) -> dict[str, object]:
    """A pair as a line."""
    return {"kind": "pair", **pair.model_dump(mode="json"), **_beside(vectors)}


def _beside(vectors: Vectors | None) -> dict[str, object]:
    return {} if vectors is None else {"vectors": vectors_line(vectors)}


def trial_line(trial: Trial) -> dict[str, object]:
    """An outcome of the gate as a line."""
    return {"kind": "trial", **trial.model_dump(mode="json")}


def log_line(entry: Entry) -> dict[str, object]:
    """An entry of the log as a line."""
    return {"kind": "log", **entry.model_dump(mode="json")}


def log_entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The log in an export.

    Raises:
        InputError: an entry cannot be read.
    """
    for line in lines:
        if b'"kind":"log"' in line[:40].replace(b" ", b""):
            found = orjson.loads(line)
            yield _validated(Entry, {name: value for name, value in found.items() if name != "kind"})


def parse_line(line: str | bytes | dict[str, object]) -> MemoryUnit | PlanPair | Trial | None:
    """What a line holds; None for a header, an entry of the log or an empty line.

    Raises:
        InputError: it holds nothing of ours; the message says why.
    """
    found = _object(line)
    return None if found is None else _value(found)


def _value(found: dict[str, object]) -> MemoryUnit | PlanPair | Trial | None:
    kind = found.get("kind")
    fields = {name: value for name, value in found.items() if name not in ("kind", "vectors")}
    match kind:
        case "bank":
            if (form := found.get("format")) not in FORMATS:
                raise InputError(f"format {form!r} is unknown, this mia-skill reads {FORMATS[-1]}: upgrade it")
            return None
        case "unit":
            return _unit(fields)
        case "pair":
            return _validated(PlanPair, fields)
        case "trial":
            return _validated(Trial, fields)
        case "log":
            # For people and `verify-log --export`: a bank writes its own log.
            _validated(Entry, fields)
            return None
        case _:
            raise InputError(f"kind {kind!r} is none of 'unit', 'pair' and 'trial'")


def _object(line: str | bytes | dict[str, object]) -> dict[str, object] | None:
    """A line's object; None for an empty line.

    Raises:
        InputError: it is none, or far too long.
    """
    if isinstance(line, (str, bytes)):
        if not line.strip():
            return None
        if len(line) > 4 * LARGEST:
            raise InputError(f"{len(line):,} bytes in one line: no workflow is that long")
        try:
            line = orjson.loads(line)
        except orjson.JSONDecodeError as cause:
            raise InputError(f"no JSON: {cause}") from None
    if not isinstance(line, dict):
        raise InputError("no JSON object")
    size = sum(len(value) for value in line.values() if isinstance(value, str))
    if size > LARGEST:
        raise InputError(f"{size:,} characters, at most {LARGEST:,} in one line: no workflow is that long")
    return line


def read_lines(
    lines: Iterable[str | bytes | dict[str, object]], broken: list[BrokenLine], embedder: str | None
) -> Iterator[Arrival]:
    """What all sound lines hold, with those vectors that are `embedder`'s (None: with none); the other lines are
    appended to `broken`."""
    theirs: object = None
    for number, line in enumerate(lines, 1):
        try:
            found = _object(line)
            value = None if found is None else _value(found)
        except InputError as error:
            broken.append(BrokenLine(line=number, reason=str(error)))
            continue
        if found is not None and found.get("kind") == "bank":
            theirs = found.get("embedder")
        if found is not None and value is not None:
            given = found.get("vectors")
            yield Arrival(
                value, carried(given) if embedder is not None and theirs == embedder else None, given is not None
            )


def adopted(unit: MemoryUnit) -> MemoryUnit:
    """A unit from elsewhere: its provenance says so from now on."""
    origins = tuple(dict.fromkeys((*unit.provenance.origins, Origin.IMPORTED)))
    return unit.model_copy(update={"provenance": unit.provenance.model_copy(update={"origins": origins})})


def _unit(fields: dict[str, object]) -> MemoryUnit:
    unit = _validated(MemoryUnit, fields)
    if unit.wins > unit.uses:
        raise InputError(f"{unit.wins} wins in {unit.uses} uses")
    return unit


def _validated(kind: type[Kept], fields: dict[str, object]) -> Kept:
    try:
        return kind.model_validate(fields)
    except ValidationError as cause:
        first = cause.errors(include_url=False, include_context=False)[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
