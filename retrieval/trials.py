"""Outcomes of both arms in the bank's tables: one row a judged task, and running tallies beside it."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta

import orjson

from mia_skill.core.types import utc_now
from retrieval.gate import Arm, Draw, LiftReport, LiftRow, Tally, Trial, harmful, lift
from retrieval.tables import Row, Tables

__all__ = ["all_trials", "attempts", "judged_tasks", "keep_draw", "known", "lift_report", "record", "tally_of"]
__all__ += ["take_draw"]

KEPT_DAYS = 30
"""After which a draw whose outcome never came is dropped."""

SCOPES = ("namespace", "category", "unit")


def record(rows: Tables, trial: Trial, change: int) -> tuple[str, ...]:
    """Keep an outcome, in the transaction that stores its run; returns the units whose tally moved."""
    draw = trial.draw
    rows.execute(
        "INSERT INTO trials (task, namespace, category, arm, shown, withheld, randomised, won, judged_by, at, change) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            *(draw.task, draw.namespace, draw.category, draw.arm.value),
            *(orjson.dumps(draw.shown).decode(), orjson.dumps(draw.withheld).decode(), int(draw.randomised)),
            *(int(trial.won), trial.judged_by, trial.at.isoformat(), change),
        ),
    )
    _count(rows, "tasks", draw.namespace, draw.namespace, shown=True, won=trial.won)
    if not draw.randomised:
        return ()
    # Where nothing was left to show because single units are kept back, memory as a whole was not drawn.
    whole = (("namespace", draw.namespace), ("category", draw.category))
    for scope, key in whole if draw.shown or draw.arm is Arm.WITHHELD else ():
        _count(rows, scope, key, draw.namespace, shown=draw.arm is not Arm.WITHHELD, won=trial.won)
    moved = _exposures(draw)
    for unit_id, shown in moved:
        _count(rows, "unit", unit_id, draw.namespace, shown=shown, won=trial.won)
    return tuple(unit_id for unit_id, _ in moved)


def _exposures(draw: Draw) -> list[tuple[str, bool]]:
    """Whose effect an outcome tells of. Without any memory it tells of a single unit only if there was no other."""
    if draw.arm is Arm.WITHHELD:
        return [(draw.withheld[0], False)] if len(draw.withheld) == 1 else []
    return [(one, True) for one in draw.shown] + [(one, False) for one in draw.withheld]


def _count(rows: Tables, scope: str, key: str, namespace: str, *, shown: bool, won: bool) -> None:
    one = Tally().plus(shown=shown, won=won)
    rows.execute(
        "INSERT INTO tallies VALUES (:scope, :namespace, :key, :shown, :shown_wins, :withheld, :withheld_wins) "
        "ON CONFLICT (scope, namespace, key) DO UPDATE SET "
        "shown = tallies.shown + :shown, shown_wins = tallies.shown_wins + :shown_wins, "
        "withheld = tallies.withheld + :withheld, withheld_wins = tallies.withheld_wins + :withheld_wins",
        {"scope": scope, "namespace": namespace, "key": key, **one.model_dump()},
    )


def tally_of(rows: Tables, scope: str, namespace: str, key: str) -> Tally:
    """Outcomes so far of a namespace, a category or a unit."""
    row = rows.execute(
        "SELECT shown, shown_wins, withheld, withheld_wins FROM tallies WHERE scope = ? AND namespace = ? AND key = ?",
        (scope, namespace, key),
    ).fetchone()
    return Tally() if row is None else Tally.model_validate(dict(row))


def judged_tasks(rows: Tables, namespace: str) -> int:
    """How many tasks of a namespace have an outcome."""
    return tally_of(rows, "tasks", namespace, namespace).shown


def attempts(rows: Tables, task: str) -> int:
    """How often a task came to an outcome: the next time it is drawn anew."""
    return int(rows.execute("SELECT count(*) FROM trials WHERE task = ?", (task,)).fetchone()[0])


def lift_report(rows: Tables, namespaces: Sequence[str] = (), units: int | None = None) -> LiftReport:
    """Lift of every namespace, category and unit that has an outcome; of some namespaces, or of all. At most so many
    `units`, those with the most outcomes first."""
    trials, randomised = rows.execute("SELECT count(*), coalesce(sum(randomised), 0) FROM trials").fetchone()
    whole = "SELECT * FROM tallies WHERE scope IN ('namespace', 'category') ORDER BY namespace, scope, key"
    some = f" AND namespace IN ({', '.join('?' * len(namespaces))})" if namespaces else ""
    order = "namespace, key" if units is None else "shown + withheld DESC, namespace, key LIMIT ?"
    given = (*namespaces, *(() if units is None else (units,)))
    single = f"SELECT * FROM tallies WHERE scope = 'unit'{some} ORDER BY {order}"
    found = rows.execute(whole).fetchall() + rows.execute(single, given).fetchall()
    withheld = {row[0] for row in rows.execute("SELECT id FROM units WHERE status = 'withheld'")}
    table = [_row(row, withheld) for row in found if not namespaces or row["namespace"] in namespaces]
    table.sort(key=lambda row: (row.namespace, SCOPES.index(row.scope)))
    return LiftReport(trials=trials, randomised=randomised, rows=tuple(table))


def _row(row: Row, withheld: Iterable[str]) -> LiftRow:
    tally = Tally.model_validate({name: row[name] for name in Tally.model_fields})
    scope, key = row["scope"], row["key"]
    kept_back = key in withheld if scope == "unit" else harmful(tally)
    return LiftRow(
        scope=scope, key=key, namespace=row["namespace"], tally=tally, lift=lift(tally), withheld_now=kept_back
    )


def keep_draw(rows: Tables, key: str, draw: Draw) -> None:
    """Keep what was drawn for a task that is under way; ids only, no text."""
    now = utc_now()
    rows.execute("DELETE FROM draws WHERE at < ?", ((now - timedelta(days=KEPT_DAYS)).isoformat(),))
    row = (key, draw.namespace, draw.model_dump_json(), now.isoformat())
    rows.execute(
        "INSERT INTO draws VALUES (?, ?, ?, ?) "
        "ON CONFLICT (key) DO UPDATE SET namespace = excluded.namespace, draw = excluded.draw, at = excluded.at",
        row,
    )


def take_draw(rows: Tables, key: str) -> Draw | None:
    """The draw of a task, and it is gone."""
    row = rows.execute("DELETE FROM draws WHERE key = ? RETURNING draw", (key,)).fetchone()
    return None if row is None else Draw.model_validate_json(row["draw"])


def all_trials(rows: Tables) -> Iterator[Trial]:
    """Every outcome that was kept, oldest first."""
    names = ("task", "namespace", "category", "arm", "randomised")
    for row in rows.execute("SELECT * FROM trials ORDER BY seq"):
        given = {name: row[name] for name in names} | {name: orjson.loads(row[name]) for name in ("shown", "withheld")}
        yield Trial.model_validate({"draw": given, **{name: row[name] for name in ("won", "judged_by", "at")}})


def known(rows: Tables, trial: Trial) -> bool:
    """Is this very outcome here already?"""
    given = (trial.draw.task, trial.at.isoformat(), trial.draw.arm.value)
    return rows.execute("SELECT 1 FROM trials WHERE task = ? AND at = ? AND arm = ?", given).fetchone() is not None
