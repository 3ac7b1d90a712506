"""Ids as people give them: whole, by their beginning, or as the page of `mia ui` shows them (`mem_…4d30ad25`)."""

import re

from mia_skill.core.errors import AmbiguousIdError, UnknownIdError
from retrieval.probation import waiting_ids
from retrieval.tables import Tables

__all__ = ["SHORTEST", "meant"]

SHORTEST = 12
"""Characters of the shortest abbreviation: what the page shows. Fewer would be one slip away from another unit."""
NAMED = 10
"""Candidates that an error lists."""
CUT = re.compile("…|\\.\\.\\.")


def meant(rows: Tables, given: str) -> str:
    """The id that is meant: itself, or the only one that it abbreviates.

    Raises:
        UnknownIdError: no unit's id is this or begins so.
        AmbiguousIdError: several units' ids do; the message lists them.
    """
    if rows.execute("SELECT 1 FROM units WHERE id = ?", (given,)).fetchone() is not None:
        return given
    held = waiting_ids(rows)
    if given in held:
        return given
    head, *rest = CUT.split(given, maxsplit=1)
    tail = rest[0] if rest else ""
    told = "`mia memory list` shows those that are"
    if len(head) + len(tail) < SHORTEST:
        raise UnknownIdError(
            f"there is no memory unit {given!r} (an id's first {SHORTEST} characters would do): {told}"
        )
    found = _abbreviated(rows, head, tail)
    found += [(one, question) for one, question in held.items() if _fits(one, head, tail)]
    if not found:
        raise UnknownIdError(f"there is no memory unit {given!r}: {told}")
    if len(found) > 1:
        lines = [f"  {one} {' '.join(question.split())[:80]}" for one, question in found[:NAMED]]
        more = ["  and more"] if len(found) > NAMED else []
        raise AmbiguousIdError(
            "\n".join([f"{given!r} may be several memory units, say more of the id:", *lines, *more])
        )
    return found[0][0]


def _abbreviated(rows: Tables, head: str, tail: str) -> list[tuple[str, str]]:
    """Ids and questions, one more than are named."""
    found = rows.execute(
        "SELECT id, question FROM units WHERE length(id) >= :least AND substr(id, 1, :first) = :head "
        "AND substr(id, length(id) - :last + 1) = :tail ORDER BY seq DESC LIMIT :most",
        {
            "least": len(head) + len(tail),
            "first": len(head),
            "head": head,
            "last": len(tail),
            "tail": tail,
            "most": NAMED + 1,
        },
    )
    return [(row["id"], row["question"]) for row in found.fetchall()]


def _fits(one: str, head: str, tail: str) -> bool:
    return len(one) >= len(head) + len(tail) and one.startswith(head) and one.endswith(tail)
