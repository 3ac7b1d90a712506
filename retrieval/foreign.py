"""Procedures out of other memories: an export of mem0, the file of the reference MCP memory server, Markdown notes.

A unit is a procedure. Only what says how something is done becomes one; facts, however useful, are left out by name
instead of being dressed up as workflows. None of these formats says whether a procedure worked, so its units are
pending unless the text says so itself; all are marked `imported` and enter quarantined (pure but for reading files).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson

from mia_skill.core.errors import InputError
from mia_skill.core.types import MemoryUnit, Origin, Outcome, Provenance, utc_now
from retrieval.transfer import BrokenLine

__all__ = ["FOREIGN", "Findings", "markdown_units", "mem0_units", "server_memory_units"]

PROCEDURES = frozenset(
    "guide howto how-to instruction instructions playbook procedure process recipe routine runbook skill task "
    "workflow".split()
)
"""Types of an entity, and values of mem0's `memory_type`, that name a way of doing something."""
MADE_FROM = frozenset("based_on created_from derived_from extends specialises specializes".split())
"""Relations that make the other entity a parent."""
LONGEST = 100_000
"""Characters of one procedure; a longer one is a document, and no agent would be shown it."""
OBJECTIVE = re.compile(r"\**task objective\**\s*:?\**\s*(.+)", re.IGNORECASE)
HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")
ITEM = re.compile(r"^\s*(?:[-*+]|\d{1,3}[.)])\s+(?:\[[ xX]\]\s+)?(.*\S)\s*$")
FENCE = re.compile(r"^\s*(```|~~~)")
MARK = re.compile(r"^\s*outcome\s*:\s*(\w+)\s*$", re.IGNORECASE)
FEWEST_STEPS = 2


@dataclass
class Findings:
    """What did not become a unit."""

    broken: list[BrokenLine] = field(default_factory=list)
    left_out: list[BrokenLine] = field(default_factory=list)
    """Sound, but no procedures."""


def mem0_units(path: Path, namespace: str, findings: Findings) -> Iterator[MemoryUnit]:
    """mem0's `get_all` as JSON, or one memory a line. Its procedural memories become units; its facts do not."""
    for number, entry in _mem0_entries(path.read_bytes(), findings):
        known = entry.get("metadata")
        metadata = known if isinstance(known, Mapping) else {}
        kind = str(entry.get("memory_type") or metadata.get("memory_type") or "")
        text = entry.get("memory") or entry.get("data")
        if not isinstance(text, str) or not text.strip():
            findings.broken.append(BrokenLine(line=number, reason="no text under `memory`"))
        elif kind.casefold() not in PROCEDURES | {"procedural", "procedural_memory"}:
            findings.left_out.append(BrokenLine(line=number, reason=f"a fact, no procedure: {_short(text)}"))
        else:
            told = OBJECTIVE.search(text)
            question = told.group(1) if told else next(line for line in text.splitlines() if line.strip())
            at = _moment(entry.get("created_at"))
            outcome = _outcome(str(metadata.get("outcome", "")))
            given = ("mem0", str(entry.get("id")), question.strip(" *#"), text, namespace)
            yield from _kept(findings, number, *given, outcome=outcome, at=at)


def server_memory_units(path: Path, namespace: str, findings: Findings) -> Iterator[MemoryUnit]:
    """The knowledge graph of `@modelcontextprotocol/server-memory`, one entity or relation a line. Entities of a type
    that names a procedure become units, their observations the steps."""
    entities: list[tuple[int, Mapping[str, Any]]] = []
    parents: dict[str, list[str]] = {}
    for number, line in _json_lines(path.read_bytes(), findings):
        if line.get("type") == "entity" and isinstance(line.get("name"), str):
            entities.append((number, line))
        elif line.get("type") == "relation" and isinstance(line.get("from"), str) and isinstance(line.get("to"), str):
            if str(line.get("relationType")).casefold().replace(" ", "_") in MADE_FROM:
                parents.setdefault(line["from"], []).append(line["to"])
        else:
            findings.broken.append(BrokenLine(line=number, reason="neither an entity with a name nor a relation"))
    procedures = {str(line["name"]) for _, line in entities if _is_procedure(line)}
    for number, line in entities:
        name, steps = str(line["name"]), _texts(line.get("observations"))
        if name not in procedures:
            kind = _short(str(line.get("entityType")))
            findings.left_out.append(BrokenLine(line=number, reason=f"{_short(name)!r} is a {kind}, no procedure"))
            continue
        marks = [_outcome(found.group(1)) for step in steps if (found := MARK.match(step))]
        above = [_id("server-memory", one, namespace) for one in parents.get(name, ()) if one in procedures]
        workflow = _numbered([step for step in steps if not MARK.match(step)])
        given = ("server-memory", name, name, workflow, namespace)
        yield from _kept(findings, number, *given, outcome=next(iter(marks), None), parents=above)


def markdown_units(path: Path, namespace: str, findings: Findings) -> Iterator[MemoryUnit]:
    """Sections of a note, or of all notes below a folder, that are lists of steps; the headings above them are the
    question. A line `outcome: correct` or `outcome: incorrect` in a section says how it ended."""
    files = sorted(path.rglob("*.md")) if path.is_dir() else [path]
    for file in files:
        name = file.relative_to(path).as_posix() if path.is_dir() else file.name
        for number, title, lines in _sections(file.read_bytes().decode("utf-8", "replace"), file.stem):
            steps = [found.group(1) for line in lines if (found := ITEM.match(line))]
            marks = [_outcome(found.group(1)) for line in lines if (found := MARK.match(line))]
            if len(steps) < FEWEST_STEPS:
                if any(line.strip() for line in lines):
                    reason = f"{name}: {_short(title)!r} is no list of steps"
                    findings.left_out.append(BrokenLine(line=number, reason=reason))
                continue
            given = ("markdown", f"{name}\n{title}", title, _numbered(steps), namespace)
            at = datetime.fromtimestamp(file.stat().st_mtime, UTC)
            yield from _kept(findings, number, *given, outcome=next(iter(marks), None), at=at)


FOREIGN: dict[str, Callable[[Path, str, Findings], Iterator[MemoryUnit]]] = {
    "mem0": mem0_units,
    "server-memory": server_memory_units,
    "markdown": markdown_units,
}


def _kept(
    findings: Findings,
    number: int,
    form: str,
    name: str,
    question: str,
    workflow: str,
    namespace: str,
    *,
    outcome: Outcome | None = None,
    parents: Sequence[str] = (),
    at: datetime | None = None,
) -> Iterator[MemoryUnit]:
    """The unit; nothing where it would be empty or too long. The same entry always gets the same id."""
    if not question.strip() or not workflow.strip():
        findings.broken.append(BrokenLine(line=number, reason="a procedure without a name, or without steps"))
        return
    if len(question) + len(workflow) > LONGEST:
        length = len(question) + len(workflow)
        reason = f"{length:,} characters, at most {LONGEST:,} in one procedure: split it"
        findings.broken.append(BrokenLine(line=number, reason=reason))
        return
    provenance = Provenance(
        origins=(Origin.IMPORTED,),
        parents=tuple(parents),
        sources=(f"{form}:{_short(name)}",),
        judged_by="none" if outcome is None else "host",
    )
    when = at or utc_now()
    yield MemoryUnit(
        id=_id(form, name, namespace),
        question=question.strip(),
        workflow=workflow,
        outcome=outcome,
        namespace=namespace,
        steps=workflow.count("\n") + 1,
        provenance=provenance,
        created_at=when,
        updated_at=when,
    )


def _mem0_entries(body: bytes, findings: Findings) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        whole = orjson.loads(body)
    except orjson.JSONDecodeError:
        yield from _json_lines(body, findings)
        return
    if isinstance(whole, Mapping):
        whole = whole.get("results", whole.get("memories", [whole]))
    if not isinstance(whole, list):
        raise InputError("no export of mem0: neither a list of memories nor an object with `results`")
    for number, entry in enumerate(whole, 1):
        if isinstance(entry, Mapping):
            yield number, entry
        else:
            findings.broken.append(BrokenLine(line=number, reason="no JSON object"))


def _json_lines(body: bytes, findings: Findings) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(body.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError as cause:
            findings.broken.append(BrokenLine(line=number, reason=f"no JSON: {cause}"))
            continue
        if isinstance(found, dict):
            yield number, found
        else:
            findings.broken.append(BrokenLine(line=number, reason="no JSON object"))


def _sections(text: str, title: str) -> Iterator[tuple[int, str, list[str]]]:
    """(line, headings down to here, lines) of every section; what is fenced is text, not structure."""
    above: list[tuple[int, str]] = []
    start, lines, fenced = 1, list[str](), False
    for number, line in enumerate(text.splitlines(), 1):
        edge = FENCE.match(line) is not None
        fenced ^= edge
        heading = HEADING.match(line)
        if fenced or edge or heading is None:
            lines.append("" if fenced or edge else line)
            continue
        yield start, " - ".join(name for _, name in above) or title, lines
        depth = len(heading.group(1))
        above = [*((level, name) for level, name in above if level < depth), (depth, heading.group(2))]
        start, lines = number, []
    yield start, " - ".join(name for _, name in above) or title, lines


def _is_procedure(line: Mapping[str, Any]) -> bool:
    return str(line.get("entityType")).strip().casefold() in PROCEDURES


def _texts(value: object) -> list[str]:
    return [one.strip() for one in value if isinstance(one, str) and one.strip()] if isinstance(value, list) else []


def _numbered(steps: Sequence[str]) -> str:
    plain = (re.sub(r"^\d{1,3}[.)]\s+", "", " ".join(step.split())) for step in steps)
    return "\n".join(f"{number}. {step}" for number, step in enumerate(plain, 1))


def _outcome(word: str) -> Outcome | None:
    return {"correct": Outcome.CORRECT, "incorrect": Outcome.INCORRECT}.get(word.strip().casefold())


def _moment(value: object) -> datetime | None:
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return read if read is None or read.tzinfo else read.replace(tzinfo=UTC)


def _id(form: str, name: str, namespace: str) -> str:
    return f"mem_{sha256(orjson.dumps([form, name, namespace])).hexdigest()[:32]}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."
