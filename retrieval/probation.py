"""Changes on probation: what a watched judge's verdicts teach is kept aside until its canaries prove it.

One row a change, durable when it is acknowledged and applied in the order it came. A doubted change is deleted and the
log says so; the bank is then what it was, for nothing of the change was ever in it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import orjson

from mia_skill.core.types import Feedback, MemoryUnit, Outcome, utc_now
from retrieval.log import append
from retrieval.standing import Rules, Standing, told
from retrieval.tables import Row, Tables

__all__ = ["Held", "hold", "open_changes", "proven", "spoken_of", "standing", "take", "tell", "waiting", "withdraw"]


class Held(NamedTuple):
    """A change that was proven and is not applied yet."""

    number: int
    change: str


def standing(rows: Tables, judge: str) -> Standing:
    """What the canaries said of a judge so far."""
    row = rows.execute("SELECT standing FROM judges WHERE judge = ?", (judge,)).fetchone()
    return Standing() if row is None else Standing.model_validate_json(row["standing"])


def open_changes(rows: Tables, judge: str | None = None) -> int:
    """How many changes wait; of one judge, or of all."""
    where, given = ("", ()) if judge is None else (" WHERE judge = ?", (judge,))
    return int(rows.execute(f"SELECT count(*) FROM held{where}", given).fetchone()[0])


def hold(rows: Tables, judge: str, change: str, about: Sequence[str]) -> None:
    """Keep a change aside; `about` are the ids of the units it brings."""
    seen = standing(rows, judge).seen
    given = (judge, seen, change, utc_now().isoformat())
    rows.execute("INSERT INTO held (judge, seen, proven, change, at) VALUES (?, ?, 0, ?, ?)", given)
    append(rows, "hold", subject=about[0] if about else "", detail=f"until the canaries of {judge} prove it")


def tell(rows: Tables, judge: str, right: bool, rules: Rules) -> Standing:
    """One more canary: changes it proves are marked, changes it leaves no belief in are deleted."""
    before = standing(rows, judge)
    now = told(before, right, rules)
    rows.execute(
        "INSERT INTO judges VALUES (?, ?) ON CONFLICT (judge) DO UPDATE SET standing = excluded.standing",
        (judge, now.model_dump_json()),
    )
    if now.alarm != before.alarm:
        what = "alarm" if now.alarm else "believed again"
        append(rows, what, detail=f"{judge}: {now.wrong} of {now.seen} canaries wrong")
    for row in rows.execute("SELECT * FROM held WHERE judge = ? AND proven = 0 ORDER BY number", (judge,)).fetchall():
        fate = now.fate(row["seen"])
        if fate:
            rows.execute("UPDATE held SET proven = 1 WHERE number = ?", (row["number"],))
        elif fate is False:
            _refuse(rows, row)
    return now


def proven(rows: Tables) -> tuple[Held, ...]:
    """Changes to apply, oldest first: those of a process that was killed in the middle too."""
    found = rows.execute("SELECT number, change FROM held WHERE proven = 1 ORDER BY number")
    return tuple(Held(row["number"], row["change"]) for row in found.fetchall())


def take(rows: Tables, number: int) -> bool:
    """Whoever applies a change takes it in the same transaction; False when another process did."""
    return rows.execute("DELETE FROM held WHERE number = ?", (number,)).rowcount > 0


def waiting(rows: Tables, unit_id: str) -> MemoryUnit | None:
    """A unit of a change on probation."""
    for row in rows.execute("SELECT change FROM held ORDER BY number"):
        if unit_id in row["change"]:
            found = (unit for unit in orjson.loads(row["change"])["units"] if unit["id"] == unit_id)
            if (unit := next(found, None)) is not None:
                return MemoryUnit.model_validate(unit)
    return None


def waiting_ids(rows: Tables) -> dict[str, str]:
    """Ids and questions of all units of changes on probation."""
    changes = (orjson.loads(row["change"]) for row in rows.execute("SELECT change FROM held ORDER BY number"))
    return {unit["id"]: unit["question"] for change in changes for unit in change["units"]}


def spoken_of(unit: MemoryUnit, spoken: Feedback, outcome: Outcome | None) -> MemoryUnit:
    """The unit with a user's word, which needs no canaries."""
    change: dict[str, object] = {"feedback": (*unit.feedback, spoken)}
    if outcome is not None:
        provenance = unit.provenance.model_copy(update={"judged_by": "user"})
        change |= {"outcome": outcome, "provenance": provenance}
    return unit.model_copy(update=change)


def withdraw(rows: Tables, unit_ids: Sequence[str], *, pairs: bool = False) -> tuple[str, ...]:
    """Take units out of what waits, with the pairs of their questions if they are forgotten: those must not come back.
    Returns the ids that were found."""
    gone: list[str] = []
    for row in rows.execute("SELECT number, change FROM held ORDER BY number").fetchall():
        change = orjson.loads(row["change"])
        going = [unit for unit in change["units"] if unit["id"] in unit_ids]
        if not going:
            continue
        change["units"] = [unit for unit in change["units"] if unit not in going]
        if pairs:
            asked = {(unit["namespace"], unit["question"]) for unit in going}
            change["pairs"] = [one for one in change["pairs"] if (one["namespace"], one["question"]) not in asked]
        given = (orjson.dumps(change).decode(), row["number"])
        rows.execute("UPDATE held SET change = ? WHERE number = ?", given)
        for unit in going:
            gone.append(unit["id"])
            append(rows, "forget" if pairs else "withdraw", subject=unit["id"], detail="it was on probation")
    return tuple(gone)


def _refuse(rows: Tables, row: Row) -> None:
    change = orjson.loads(row["change"])
    counts = ", ".join(f"{len(change[name])} {name}" for name in ("units", "pairs", "credits", "trials"))
    subject = change["units"][0]["id"] if change["units"] else ""
    rows.execute("DELETE FROM held WHERE number = ?", (row["number"],))
    append(rows, "refuse", subject=subject, detail=f"{row['judge']} is not believed: {counts} never learnt")
