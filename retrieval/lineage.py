"""Where trust comes from: the least trusted origin in a unit's whole lineage (pure, and as recursive queries).

Graphs are given as parents by id. A lineage that runs in a circle (a hostile import can hold one) is walked once.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import urlsplit

import orjson

from mia_skill.core.types import MemoryUnit, Origin, Status
from retrieval.chain import digest_of
from retrieval.tables import Tables

__all__ = [
    "TRUSTED",
    "ancestors",
    "below",
    "descendants",
    "least",
    "marks_of",
    "record_lineage",
    "source_marks",
    "tainted",
    "taints",
    "trust_of",
]

TRUSTED = frozenset({Origin.OWN_RUN, Origin.USER})
RANK = {origin: rank for rank, origin in enumerate(Origin)}
Parents = Mapping[str, Sequence[str]]


def ancestors(unit_id: str, parents: Parents, *, past: Callable[[str], bool] = lambda _: True) -> tuple[str, ...]:
    """All ancestors, nearest first, without the unit itself; `past` says beyond which of them to go on."""
    found: dict[str, None] = {}
    todo = list(parents.get(unit_id, ()))
    while todo:
        one = todo.pop(0)
        if one == unit_id or one in found:
            continue
        found[one] = None
        if past(one):
            todo += parents.get(one, ())
    return tuple(found)


def descendants(unit_ids: Iterable[str], parents: Parents) -> tuple[str, ...]:
    """The units and everything that was made in their sight."""
    children: dict[str, list[str]] = {}
    for child, above in parents.items():
        for parent in above:
            children.setdefault(parent, []).append(child)
    found = dict.fromkeys(unit_ids)
    todo = list(found)
    while todo:
        for child in children.get(todo.pop(), ()):
            if child not in found:
                found[child] = None
                todo.append(child)
    return tuple(found)


def least(origins: Iterable[Origin]) -> Origin:
    """The least trusted of them; of none given nothing is known, so it is the least of all."""
    return max(origins, key=RANK.__getitem__, default=Origin.WEB)


def trust_of(unit_id: str, parents: Parents, origins: Mapping[str, Sequence[Origin]]) -> Origin:
    """The minimum over the lineage. Ancestors that are not in the bank any more say nothing."""
    known = [one for one in (unit_id, *ancestors(unit_id, parents)) if one in origins]
    return max((least(origins[one]) for one in known), key=RANK.__getitem__)


def tainted(
    unit_id: str, parents: Parents, origins: Mapping[str, Sequence[Origin]], statuses: Mapping[str, Status]
) -> bool:
    """Must this unit be quarantined? Its own origins or an ancestor's are not trusted. The search ends at units that
    may direct: those were trusted to begin with, or have earned it."""
    if unit_id in origins and least(origins[unit_id]) not in TRUSTED:
        return True
    met = ancestors(unit_id, parents, past=lambda one: statuses.get(one) is not Status.ACTIVE)
    return any(
        statuses.get(one) is not Status.ACTIVE and one in origins and least(origins[one]) not in TRUSTED for one in met
    )


TAINT = """
    WITH RECURSIVE above(id) AS (
        SELECT value FROM json_each(:parents)
        UNION
        SELECT l.parent FROM above a JOIN lineage l ON l.child = a.id
        LEFT JOIN units u ON u.id = a.id WHERE u.status IS NULL OR u.status <> 'active'
    )
    SELECT 1 FROM above a JOIN units u ON u.id = a.id
    WHERE u.status <> 'active' AND u.id <> :id AND u.tainted = 1 LIMIT 1
"""
"""`tainted` as a query; `units.tainted` says whether a unit's own origins are not trusted."""

BELOW = """
    WITH RECURSIVE below(id) AS (
        SELECT value FROM json_each(:ids)
        UNION
        SELECT l.child FROM below b JOIN lineage l ON l.parent = b.id
    )
    SELECT id FROM below
"""


def taints(rows: Tables, unit_id: str, parents: Sequence[str]) -> bool:
    """Does what a unit was made in sight of taint it? Its own origins are not looked at."""
    given = {"parents": orjson.dumps(list(parents)).decode(), "id": unit_id}
    return rows.execute(TAINT, given).fetchone() is not None


def below(rows: Tables, unit_ids: Sequence[str]) -> tuple[str, ...]:
    """`descendants` in the bank, also through units that were forgotten."""
    return tuple(row[0] for row in rows.execute(BELOW, {"ids": orjson.dumps(list(unit_ids)).decode()}))


def source_marks(source: str) -> tuple[str, ...]:
    """Under which marks a source is found again: itself, and its host. Digests, so that what was forgotten cannot be
    read from them."""
    marks = [digest_of("source", source.strip())]
    host = urlsplit(source.strip()).hostname if "://" in source else None
    return (*marks, digest_of("host", host)) if host else tuple(marks)


def marks_of(unit: MemoryUnit) -> tuple[str, ...]:
    """All marks of a unit: its sources, their hosts, its origins, its principal."""
    came = unit.provenance
    marks = [mark for source in came.sources for mark in source_marks(source)]
    marks += [digest_of("origin", origin.value) for origin in came.origins]
    return tuple(dict.fromkeys((*marks, digest_of("principal", came.principal))))


def record_lineage(rows: Tables, unit: MemoryUnit) -> None:
    """Write a unit's parents and marks; they outlive the unit, so that a revocation reaches past what was forgotten."""
    above = [(unit.id, parent) for parent in unit.provenance.parents if parent != unit.id]
    rows.executemany("INSERT INTO lineage VALUES (?, ?) ON CONFLICT DO NOTHING", above)
    marks = [(mark, unit.id) for mark in marks_of(unit)]
    rows.executemany("INSERT INTO marks VALUES (?, ?) ON CONFLICT DO NOTHING", marks)
