"""What a bank's keeper can ask of it: measure, prune, revoke, promote, trace, verify."""

from collections.abc import Sequence
from typing import Protocol

from retrieval.chain import LogReport
from retrieval.custody import Revocation, Trace
from retrieval.gate import Draw, LiftReport
from retrieval.prune import PruneReport, PruneRules

__all__ = ["LiftReport", "LogReport", "PruneReport", "PruneRules", "Revocation", "Stewardship", "Trace"]


class Stewardship(Protocol):
    """Part of every `Bank`."""

    def lift(self, namespaces: Sequence[str] = ()) -> LiftReport:
        """What random withholding has shown: success with memory less success without, with intervals."""
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

    def verify_log(self, *, head: str | None = None) -> LogReport:
        """Check the log's chain and every unit against it; `head` is a hash kept elsewhere."""
        ...
