"""Records of the published skills `mia` and `mia-trust` (their `memory.jsonl`) as memory units. Spec section 11.

A record claims its own success. It counts only where something was carried out: those skills also stored plans that
nobody ever tried, and such a record is kept as pending, shown to nobody.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import orjson

from mia_skill.agents.workflow import compress, mask, names, workflow_text
from mia_skill.core.errors import InputError
from mia_skill.core.types import MemoryUnit, Origin, Outcome, Provenance, Step, Trajectory, utc_now

__all__ = ["published_units", "unit_from_record"]

ASKED = ("query", "search", "action", "step", "description", "input", "tool_input")
CAME_BACK = ("result", "observation", "output", "findings", "content", "response")
LONGEST = 20_000
"""Characters of a plan or of a text that came back; what is longer is cut."""


def published_units(lines: Iterable[bytes], namespace: str, broken: list[tuple[int, str]]) -> Iterator[MemoryUnit]:
    """The units of all sound lines; number and reason of the others are appended to `broken`."""
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield unit_from_record(record_of(line), namespace)
        except InputError as error:
            broken.append((number, str(error)))


def record_of(line: bytes) -> Mapping[str, Any]:
    """A line as an object.

    Raises:
        InputError: it is none.
    """
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError as cause:
        raise InputError(f"no JSON: {cause}") from None
    if not isinstance(record, dict):
        raise InputError("no JSON object")
    return record


def unit_from_record(record: Mapping[str, Any], namespace: str) -> MemoryUnit:
    """A record as a unit. The same record always gets the same id, so a second import finds it known.

    Raises:
        InputError: it has no question, or neither plan nor execution to learn from.
    """
    question = text_of(record.get("question"))
    if not question:
        raise InputError("no question")
    plan, answer = text_of(record.get("plan")), text_of(record.get("final_answer"))
    steps = steps_of(record.get("execution")) or steps_of(record.get("steps"))
    run = Trajectory(steps=steps, answer=answer)
    workflow = compress(question, run) or masked_plan(question, plan, answer)
    if not workflow:
        raise InputError("neither plan nor execution to learn from")
    efficiency = record.get("efficiency")
    claims = efficiency if isinstance(efficiency, dict) else {}
    carried_out = any(step.observation for step in steps)
    return MemoryUnit(
        id="mem_" + sha256(orjson.dumps([question, plan, str(record.get("timestamp"))])).hexdigest()[:16],
        question=question[:LONGEST],
        workflow=workflow_text(workflow),
        plan=plan,
        outcome=outcome_of(claims.get("success")) if carried_out else None,
        namespace=namespace,
        steps=count_of(claims.get("step_count"), len(steps)),
        provenance=Provenance(origins=(Origin.IMPORTED,), judged_by="host" if carried_out else "none"),
        created_at=moment(record.get("timestamp")),
    )


def text_of(value: object) -> str:
    """A text, or a list of texts as its lines."""
    if isinstance(value, list):
        return "\n".join(filter(None, map(text_of, value)))
    if isinstance(value, dict):
        return next((text_of(value[key]) for key in ASKED if value.get(key)), "")
    return value.strip()[:LONGEST] if isinstance(value, str) else ""


def steps_of(value: object) -> tuple[Step, ...]:
    """What was carried out; a list of plain texts is what was asked for, without results."""
    found = []
    for one in value if isinstance(value, list) else []:
        back = next((text_of(one[key]) for key in CAME_BACK if one.get(key)), "") if isinstance(one, dict) else ""
        if query := text_of(one):
            found.append(Step(query=query, observation=back))
    return tuple(found)


def masked_plan(question: str, plan: str, answer: str) -> tuple[str, ...]:
    """The plan's lines without its names and without the answer."""
    labels = {name: f"[name {number}]" for number, name in enumerate(dict.fromkeys(names(question)), 1)}
    if answer and answer not in labels:
        labels[answer] = "[the answer]"
    lines = (mask(line.lstrip(" -*0123456789.)"), labels) for line in plan.splitlines())
    return tuple(dict.fromkeys(filter(None, lines)))


def outcome_of(success: object) -> Outcome | None:
    """A claim of success or failure; anything else is no claim."""
    if isinstance(success, bool):
        return Outcome.CORRECT if success else Outcome.INCORRECT
    return None


def count_of(value: object, otherwise: int) -> int:
    """A count, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else otherwise


def moment(value: object) -> datetime:
    """When a record was written: ISO text, or milliseconds as JavaScript counts; else now."""
    try:
        if isinstance(value, str):
            read = datetime.fromisoformat(value)
            return read if read.tzinfo else read.replace(tzinfo=UTC)
        if isinstance(value, int | float):
            return datetime.fromtimestamp(value / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return utc_now()
    return utc_now()
