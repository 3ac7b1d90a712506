"""What a bank's keeper can ask of it: measure, prune, revoke, promote, trace, verify."""

from collections.abc import Sequence
from typing import Protocol

from retrieval.chain import LogReport
from retrieval.chronicle import Census, LogPage, Sample, UseReport
from retrieval.custody import Revocation, Trace
from retrieval.gate import Draw, LiftReport
from retrieval.prune import PruneReport, PruneRules
from retrieval.standing import Standing
from retrieval.stretch import Stretch

__all__ = ["Census", "LiftReport", "LogPage", "LogReport", "PruneReport", "PruneRules", "Revocation", "Sample"]
__all__ += ["Standing", "Stewardship", "Trace", "UseReport"]


class Stewardship(Protocol):
    """Part of every `Bank`."""

    def meant(self, given: str) -> str:
        """The id of the unit that is meant by an id, by its beginning, or by `HEAD…TAIL` as the page shows it.

        Raises:
            UnknownIdError: there is no such unit.
            AmbiguousIdError: several units are abbreviated so; the message lists them.
        """
        ...

    def lift(self, namespaces: Sequence[str] = (), *, units: int | None = None) -> LiftReport:
        """What random withholding has shown: success with memory less success without, with intervals; of at most so
        many `units`, those with the most outcomes first."""
        ...

    def prune(self, rules: PruneRules, *, dry_run: bool = False) -> PruneReport:
        """Forget what the rules let go, in one transaction."""
        ...

    def revoke(self, target: str, *, dry_run: bool = False) -> Revocation:
        """Take out all units of a source (URL, host, passage id, unit id, principal or origin) and their descendants.

        Raises:
            InputError: nothing came from there.
        """
        ...

    def promote(self, unit_id: str) -> tuple[str, ...]:
        """A person lets a quarantined or withheld unit direct; returns it and what was quarantined for its sake.

        Raises:
            UnknownIdError: there is no such unit.
            InputError: it is revoked.
        """
        ...

    def trace(self, unit_id: str) -> Trace:
        """The lineage of a unit, back to the runs and sources it came from.

        Raises:
            UnknownIdError: there is no such unit.
        """
        ...

    def keep_draw(self, key: str, draw: Draw) -> None:
        """Remember what the gate did for a task until its outcome is known, also over a restart; for `KEPT_DAYS`."""
        ...

    def take_draw(self, key: str) -> Draw | None:
        """The draw kept under `key`, once: an outcome counts one time."""
        ...

    def canary(self, judge: str, right: bool) -> Standing:
        """A case of known verdict came back from `judge`. What that proves is applied; after an alarm, what was held
        is deleted, and the log says so."""
        ...

    def standing(self, judge: str) -> Standing:
        """What the canaries said of a judge so far."""
        ...

    def held(self, judge: str | None = None) -> int:
        """Changes that wait for canaries; of one judge, or of all."""
        ...

    def verify_log(self, *, head: str | None = None) -> LogReport:
        """Check the log's chain and every unit against it; `head` is a hash kept elsewhere."""
        ...

    def verify_stretch(self, *, limit: int = 20_000, cursor: str | None = None) -> Stretch:
        """The same a stretch at a time: at most `limit` entries or units.

        Raises:
            InputError: a limit outside 1..20,000, or a cursor that is none of ours.
        """
        ...

    def census(self) -> Census:
        """How many units of which namespace, outcome and status there are, and how often they were used."""
        ...

    def log(self, *, subject: str | None = None, limit: int = 50, cursor: str | None = None) -> LogPage:
        """A page of the log, newest first; of one unit, if named.

        Raises:
            InputError: a limit outside 1..200, or a cursor that is none of ours.
        """
        ...

    def uses(self, unit_id: str, *, limit: int = 50) -> UseReport:
        """The outcomes that tell of a unit, and the units that were made in its sight.

        Raises:
            InputError: a limit outside 1..200.
        """
        ...

    def sample(self, count: int, *, namespace: str | None = None, masked: bool = True, seed: int = 0) -> Sample:
        """Units drawn evenly with their vectors, of masked or plain questions: what a map of the bank is drawn from.

        Raises:
            InputError: a count outside 2..2000.
        """
        ...
