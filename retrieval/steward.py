"""The keeper's verbs over SQLite (`Stewardship`), each in one transaction of the bank."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from retrieval.abbreviation import meant
from retrieval.bank import Consolidation
from retrieval.chain import LogReport
from retrieval.chronicle import Census, LogPage, Sample, UseReport, census, log_page, sample, uses_of
from retrieval.custody import Revocation, Trace, find, promote, revoke, trace
from retrieval.gate import Draw, LiftReport
from retrieval.log import append, verify_log
from retrieval.probation import Held, open_changes, proven, standing, tell
from retrieval.prune import PruneReport, PruneRules, doomed
from retrieval.rows import UNIT_COLUMNS, unit_of
from retrieval.standing import Rules, Standing
from retrieval.stretch import Stretch, verify_stretch
from retrieval.tables import Tables
from retrieval.trials import keep_draw, lift_report, take_draw

if TYPE_CHECKING:
    from retrieval.places import Places
    from retrieval.writer import Writer

__all__ = ["Steward"]


class Steward(ABC):
    """Base of the banks on a database; the bank gives it its transactions, its writers and its vectors."""

    _places: "Places"
    _canaries: Rules

    @abstractmethod
    def _work(self, *, write: bool) -> AbstractContextManager[Tables]: ...

    @abstractmethod
    def _writer(self, rows: Tables) -> "Writer": ...

    @abstractmethod
    def _settle(self, change: Consolidation, number: int) -> None:
        """Apply a change that was held, unless another process has."""

    def meant(self, given: str) -> str:
        with self._work(write=False) as rows:
            return meant(rows, given)

    def lift(self, namespaces: Sequence[str] = (), *, units: int | None = None) -> LiftReport:
        with self._work(write=False) as rows:
            return lift_report(rows, namespaces, units)

    def prune(self, rules: PruneRules, *, dry_run: bool = False) -> PruneReport:
        with self._work(write=not dry_run) as rows:
            found = rows.execute(f"SELECT {UNIT_COLUMNS} FROM units u ORDER BY seq").fetchall()
            units = [unit_of(row) for row in found]
            going = doomed(units, rules)
            if going and not dry_run:
                append(rows, "prune", detail=rules.model_dump_json(exclude_defaults=True))
                self._writer(rows).forget([one.id for one in going])
        return PruneReport(units=going, kept=len(units) - len(going), dry_run=dry_run)

    def revoke(self, target: str, *, dry_run: bool = False) -> Revocation:
        with self._work(write=not dry_run) as rows:
            return revoke(rows, target, 0 if dry_run else self._writer(rows).change, dry_run=dry_run)

    def promote(self, unit_id: str) -> tuple[str, ...]:
        with self._work(write=True) as rows:
            return promote(rows, find(rows, unit_id), self._writer(rows).change, "a person's word")

    def trace(self, unit_id: str) -> Trace:
        with self._work(write=False) as rows:
            return trace(rows, unit_id)

    def keep_draw(self, key: str, draw: Draw) -> None:
        with self._work(write=True) as rows:
            keep_draw(rows, key, draw)

    def take_draw(self, key: str) -> Draw | None:
        with self._work(write=False) as rows:
            if rows.execute("SELECT 1 FROM draws WHERE key = ?", (key,)).fetchone() is None:
                return None
        with self._work(write=True) as rows:
            return take_draw(rows, key)

    def canary(self, judge: str, right: bool) -> Standing:
        with self._work(write=True) as rows:
            now = tell(rows, judge, right, self._canaries)
        with self._work(write=False) as rows:
            waiting: tuple[Held, ...] = proven(rows)
        for one in waiting:
            self._settle(Consolidation.model_validate_json(one.change), one.number)
        return now

    def standing(self, judge: str) -> Standing:
        with self._work(write=False) as rows:
            return standing(rows, judge)

    def held(self, judge: str | None = None) -> int:
        with self._work(write=False) as rows:
            return open_changes(rows, judge)

    def verify_log(self, *, head: str | None = None) -> LogReport:
        with self._work(write=False) as rows:
            return verify_log(rows, head=head)

    def verify_stretch(self, *, limit: int = 20_000, cursor: str | None = None) -> Stretch:
        with self._work(write=False) as rows:
            return verify_stretch(rows, limit, cursor)

    def census(self) -> Census:
        with self._work(write=False) as rows:
            return census(rows)

    def log(self, *, subject: str | None = None, limit: int = 50, cursor: str | None = None) -> LogPage:
        with self._work(write=False) as rows:
            return log_page(rows, subject, limit, cursor)

    def uses(self, unit_id: str, *, limit: int = 50) -> UseReport:
        with self._work(write=False) as rows:
            return uses_of(rows, unit_id, limit)

    def sample(self, count: int, *, namespace: str | None = None, masked: bool = True, seed: int = 0) -> Sample:
        with self._work(write=False) as rows:
            read = self._places.questions
            return sample(rows, count, namespace=namespace, masked=masked, seed=seed, vectors=read)
