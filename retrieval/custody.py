"""Who may direct: quarantine at the door, promotion by independent success, revocation down the lineage, the trail.

All of it happens inside a write transaction of the bank, and each change of a unit's status is in the log.
"""

from collections.abc import Iterator, Sequence

from mia_skill.core.errors import InputError, UnknownIdError
from mia_skill.core.types import MemoryUnit, Origin, Outcome, Status, Value, utc_now
from retrieval.chain import digest_of
from retrieval.gate import Trial, harmful, helped_again
from retrieval.lineage import TRUSTED, below, least, record_lineage, source_marks, taints
from retrieval.log import append, append_unit
from retrieval.rows import UNIT_COLUMNS, next_change, unit_of
from retrieval.tables import Tables
from retrieval.trials import tally_of

__all__ = [
    "INDEPENDENT",
    "NEEDED",
    "Revocation",
    "Trace",
    "back",
    "entry_status",
    "find",
    "promote",
    "reconsider",
    "revoke",
    "set_status",
    "take_into_custody",
    "task_of",
    "trace",
]

NEEDED = 2
"""Wins, less losses, over different tasks, that promote a quarantined unit."""
INDEPENDENT = frozenset({"user", "gold", "panel", "endpoint", "evidence"})
"""Whose verdict counts for a promotion. A host's own claim does not: what steers the host would promote itself."""
TRACED = 1000
"""Ancestors a trace lists at most."""


class Revocation(Value):
    """What a revocation took out."""

    unit_ids: tuple[str, ...]
    direct: int
    """How many came from the source itself; the others were made in their sight."""
    dry_run: bool = False


class Ancestor(Value):
    """One unit of a trace."""

    id: str
    depth: int
    question: str | None = None
    """None: it was forgotten, or never stored here."""
    outcome: Outcome | None = None
    status: Status | None = None
    origins: tuple[Origin, ...] = ()
    sources: tuple[str, ...] = ()
    trail: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()


class Trace(Value):
    """A unit, what it was made of, and what was done with it."""

    trust: Origin
    """The least trusted origin of the whole lineage."""
    units: tuple[Ancestor, ...]
    """The unit itself, then its ancestors, nearest first."""
    uses: int
    wins: int
    history: tuple[str, ...] = ()
    """Its entries of the log, oldest first."""


def find(rows: Tables, unit_id: str) -> MemoryUnit:
    """Raises: UnknownIdError: there is no such unit."""
    row = rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u WHERE id = ?", (unit_id,)).fetchone()
    if row is None:
        raise UnknownIdError(f"there is no memory unit {unit_id!r}: `mia memory list` shows those that are")
    return unit_of(row)


def task_of(namespace: str, question: str, task_id: str | None = None) -> str:
    """The name of a task in the bank."""
    return digest_of("task", namespace, " ".join(question.split()).casefold(), task_id)[:32]


def entry_status(rows: Tables, unit: MemoryUnit) -> Status:
    """What a unit may do when it comes in. What it says of itself is not asked."""
    marks = [mark for source in unit.provenance.sources for mark in source_marks(source)]
    if any(rows.execute("SELECT 1 FROM revoked WHERE mark = ?", (mark,)).fetchone() for mark in marks):
        return Status.REVOKED
    if least(unit.provenance.origins) not in TRUSTED or taints(rows, unit.id, unit.provenance.parents):
        return Status.QUARANTINED
    return Status.ACTIVE


def set_status(rows: Tables, unit: MemoryUnit, status: Status, change: int, why: str) -> MemoryUnit:
    """Change what a unit may do."""
    rows.execute(
        "UPDATE units SET status = ?, change = ?, updated_at = ? WHERE id = ?",
        (status.value, change, utc_now().isoformat(), unit.id),
    )
    changed = find(rows, unit.id)
    append_unit(rows, "status", changed, f"{unit.status} -> {status}: {why}")
    return changed


def back(rows: Tables, trial: Trial, change: int) -> tuple[str, ...]:
    """Let an outcome speak for the quarantined units that were shown; returns the ids that it promoted.

    It does not speak for a unit on its own question, nor where a trusted success was shown beside it (then that one
    directed), nor when the host alone says that it was right.
    """
    if trial.judged_by not in INDEPENDENT:
        return ()
    shown = tuple(_units(rows, trial.draw.shown))
    if any(unit.status is Status.ACTIVE and unit.outcome is Outcome.CORRECT for unit in shown):
        return ()
    promoted: list[str] = []
    for unit in shown:
        if unit.status is Status.QUARANTINED and trial.draw.task != task_of(unit.namespace, unit.question):
            given = (unit.id, trial.draw.task, int(trial.won))
            rows.execute("INSERT INTO backing VALUES (?, ?, ?) ON CONFLICT DO NOTHING", given)
            (standing,) = rows.execute("SELECT sum(2 * won - 1) FROM backing WHERE unit = ?", (unit.id,)).fetchone()
            if standing >= NEEDED:
                promoted += promote(rows, unit, change, f"{standing} wins more than losses on other tasks")
    return tuple(promoted)


def promote(rows: Tables, unit: MemoryUnit, change: int, why: str) -> tuple[str, ...]:
    """Let a unit direct, and whatever was quarantined for its sake alone; returns their ids.

    Raises:
        InputError: it is revoked.
    """
    if unit.status is Status.REVOKED:
        raise InputError(f"{unit.id} is revoked: its source was taken out; store it anew from a source that is trusted")
    if unit.status is Status.ACTIVE:
        return ()
    set_status(rows, unit, Status.ACTIVE, change, why)
    promoted = [unit.id]
    # Nearest first, so that a child is looked at when its parents are settled.
    for child in _units(rows, below(rows, (unit.id,))[1:]):
        if child.status is Status.QUARANTINED and entry_status(rows, child) is Status.ACTIVE:
            set_status(rows, child, Status.ACTIVE, change, f"{unit.id}, which it was made in sight of, was promoted")
            promoted.append(child.id)
    return tuple(promoted)


def reconsider(rows: Tables, unit_ids: Sequence[str], change: int) -> None:
    """Withhold units whose measured lift is below zero, and let those go that recovered."""
    for unit in _units(rows, unit_ids):
        tally = tally_of(rows, "unit", unit.namespace, unit.id)
        if unit.status in (Status.ACTIVE, Status.QUARANTINED) and harmful(tally):
            set_status(rows, unit, Status.WITHHELD, change, "its measured lift is below zero")
        elif unit.status is Status.WITHHELD and helped_again(tally):
            set_status(rows, unit, entry_status(rows, unit), change, "its measured lift is not below zero any more")


def revoke(rows: Tables, target: str, change: int, *, dry_run: bool = False) -> Revocation:
    """Take out every unit from a source and all that was made in their sight. `target` is a URL, a host, a passage
    id, a unit id, a principal, or the name of an origin ("web"). What comes from that URL, host or passage later is
    revoked at the door; of an origin only what is here.

    Raises:
        InputError: nothing in the bank came from there.
    """
    target = target.strip()
    lasting = [digest_of("source", target), digest_of("host", target.casefold())]
    marks = [*lasting, digest_of("principal", target), digest_of("origin", target.casefold())]
    direct = [
        row[0]
        for mark in marks
        for row in rows.execute("SELECT unit FROM marks WHERE mark = ? ORDER BY unit", (mark,)).fetchall()
    ]
    direct += [row[0] for row in rows.execute("SELECT id FROM units WHERE id = ?", (target,))]
    if not direct:
        raise InputError(f"nothing here came from {target!r}: give a URL, a host, a unit id or an origin such as web")
    reached = [unit for unit in _units(rows, below(rows, direct)) if unit.status is not Status.REVOKED]
    if not dry_run:
        if target.casefold() not in {origin.value for origin in Origin}:
            at = utc_now().isoformat()
            statement = "INSERT INTO revoked VALUES (?, ?) ON CONFLICT DO NOTHING"
            rows.executemany(statement, [(mark, at) for mark in lasting])
        append(rows, "revoke", subject=target if target in direct else "", digest="", detail=f"{len(reached)} units")
        for unit in reached:
            set_status(rows, unit, Status.REVOKED, change, "its source was revoked")
    ids = tuple(unit.id for unit in reached)
    return Revocation(unit_ids=ids, direct=len(set(ids) & set(direct)), dry_run=dry_run)


def trace(rows: Tables, unit_id: str) -> Trace:
    """From a unit back to the runs and sources it came from; ends in circles as in trees.

    Raises:
        UnknownIdError: there is no such unit.
    """
    start = find(rows, unit_id)
    depth = {unit_id: 0}
    lines: list[Ancestor] = []
    todo = [unit_id]
    while todo and len(lines) < TRACED:
        one = todo.pop(0)
        above = tuple(row[0] for row in rows.execute("SELECT parent FROM lineage WHERE child = ? ORDER BY 1", (one,)))
        lines.append(_ancestor(rows, one, depth[one], above))
        for parent in above:
            if parent not in depth:
                depth[parent] = depth[one] + 1
                todo.append(parent)
    told = rows.execute("SELECT number, at, action, detail FROM log WHERE subject = ? ORDER BY number", (unit_id,))
    return Trace(
        trust=least([least(line.origins) for line in lines if line.status is not None]),
        units=tuple(lines),
        uses=start.uses,
        wins=start.wins,
        history=tuple(f"{at[:19]} #{number} {action} {detail}".rstrip() for number, at, action, detail in told),
    )


def take_into_custody(rows: Tables) -> None:
    """Bring units of an older schema under these rules: lineage, quarantine, fingerprints."""
    units = [unit_of(row) for row in rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u ORDER BY seq").fetchall()]
    doubted: list[str] = []
    for unit in units:
        record_lineage(rows, unit)
        if least(unit.provenance.origins) not in TRUSTED:
            doubted.append(unit.id)
            rows.execute("UPDATE units SET tainted = 1 WHERE id = ?", (unit.id,))
    reached = set(below(rows, doubted))
    change = next_change(rows) if units else 0
    append(rows, "upgrade", detail=f"{len(units)} units, {len(reached)} quarantined")
    for unit in units:
        if unit.id in reached:
            set_status(rows, unit, Status.QUARANTINED, change, "its lineage is not trusted")
        else:
            append_unit(rows, "upgrade", unit)


def _units(rows: Tables, unit_ids: Sequence[str]) -> Iterator[MemoryUnit]:
    for unit_id in unit_ids:
        row = rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u WHERE id = ?", (unit_id,)).fetchone()
        if row is not None:
            yield unit_of(row)


def _ancestor(rows: Tables, unit_id: str, depth: int, parents: tuple[str, ...]) -> Ancestor:
    row = rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u WHERE id = ?", (unit_id,)).fetchone()
    if row is None:
        return Ancestor(id=unit_id, depth=depth, parents=parents)
    unit = unit_of(row)
    return Ancestor(
        id=unit_id,
        depth=depth,
        question=unit.question,
        outcome=unit.outcome,
        status=unit.status,
        origins=unit.provenance.origins,
        sources=unit.provenance.sources,
        trail=unit.provenance.trail,
        parents=parents,
    )
