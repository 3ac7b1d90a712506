"""The page's questions about a bank, answered over the `Bank` protocol: bounded, and off the event loop."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mia_skill import __version__
from mia_skill.agents.manager import query_of
from mia_skill.core.asgi import Refusal
from mia_skill.core.config import MiaConfig
from mia_skill.core.errors import InputError
from mia_skill.core.json_service import Route
from mia_skill.core.types import Question
from mia_skill.ui.forms import (
    ForgetForm,
    LogForm,
    MapForm,
    Nothing,
    OverviewForm,
    PromoteForm,
    RecallForm,
    UnitForm,
    UnitsForm,
    VerifyForm,
)
from mia_skill.ui.questions import posts
from mia_skill.ui.scatter import flat
from mia_skill.ui.views import LINE_CHARS, bounded, cut, line_of, view_of
from retrieval.bank import Bank
from retrieval.chronicle import CensusRow

__all__ = ["Keeper"]

LIFT_UNITS = 40
"""Single units on the chart of lifts, those with the most outcomes."""
NAMESPACES = 30
"""On the chart of outcomes, the largest."""
COUNTS = ("units", "uses", "wins")
LINEAGE = 60
"""Ancestors and children that one unit's page lists."""
USES = 50
AUDITED = 50_000
"""Units up to which the page audits: every unit is read, and compared with those beside it."""
STRETCH = 20_000
"""Entries of the log, or units, that one question checks."""


@dataclass(frozen=True)
class Keeper:
    """One bank, seen from the page."""

    bank: Bank
    config: MiaConfig
    read_only: bool = False

    def routes(self) -> Sequence[Route]:
        """What the page can ask."""
        return posts(
            (
                ("session", self.session, Nothing, "what is served, and what may be changed"),
                ("overview", self.overview, OverviewForm, "counts, lift, the newest entries of the log"),
                ("units", self.units, UnitsForm, "a page of units"),
                ("recall", self.recall, RecallForm, "what an agent would be shown for a question"),
                ("unit", self.unit, UnitForm, "one unit with its lineage, its uses and its log"),
                ("log", self.log, LogForm, "a page of the log"),
                ("map", self.map, MapForm, "units in a plane"),
                ("audit", self.audit, Nothing, "what a person should look at"),
                ("verify", self.verify, VerifyForm, "the log's chain, and every unit against it, a stretch at a time"),
                ("health", self.health, Nothing, "the state of the bank"),
                ("promote", self.promote, PromoteForm, "let a unit direct"),
                ("forget", self.forget, ForgetForm, "delete units for good"),
            )
        )

    # -- looking ------------------------------------------------------------------------------------------------

    def session(self, _: Nothing) -> object:
        memory = self.config.memory
        where = str(self.config.bank_path) if memory.url is None else "PostgreSQL"
        return {
            "version": __version__,
            "bank": where,
            "namespace": memory.namespace,
            "read_only": self.read_only,
            "withhold": memory.withhold,
        }

    def overview(self, form: OverviewForm) -> object:
        rows = [row for row in self.bank.census().rows if form.namespace in (None, row.namespace)]
        sizes: Counter[str] = Counter()
        for row in rows:
            sizes[row.namespace] += row.units
        listed = {name for name, _ in sizes.most_common(NAMESPACES)}
        lift = self.bank.lift(() if form.namespace is None else (form.namespace,), units=LIFT_UNITS)
        return {
            "census": totals(rows),
            "namespaces": [row for row in rows if row.namespace in listed],
            "more_namespaces": len(sizes) - len(listed),
            "lift": bounded(lift.model_dump(mode="json"), LINE_CHARS),
            "log": bounded(self.bank.log(limit=8).model_dump(mode="json"), LINE_CHARS),
        }

    def units(self, form: UnitsForm) -> object:
        page = self.bank.list(**form.model_dump(exclude={"text"}), text=form.text.strip() or None)
        return {"units": [line_of(unit) for unit in page.units], "next": page.next_cursor, "total": page.total}

    def recall(self, form: RecallForm) -> object:
        memory = self.config.memory
        wanted = {"namespace": form.namespace or memory.namespace, "k_success": form.k, "k_failure": form.k}
        found = self.bank.recall(query_of(Question(text=form.question), memory, **wanted))
        return {
            "successes": [view_of(hit) for hit in found.successes],
            "failures": [view_of(hit) for hit in found.failures],
            "considered": found.considered,
            "note": found.note,
        }

    def unit(self, form: UnitForm) -> object:
        unit = self.bank.get(form.id)
        trace = self.bank.trace(form.id)
        uses = self.bank.uses(form.id, limit=USES)
        return {
            "unit": bounded(unit.model_dump(mode="json")),
            "trust": trace.trust,
            "ancestors": [bounded(one.model_dump(mode="json"), LINE_CHARS) for one in trace.units[1 : LINEAGE + 1]],
            "more_ancestors": max(0, len(trace.units) - 1 - LINEAGE),
            "uses": bounded(uses.model_dump(mode="json"), LINE_CHARS),
            "log": bounded(self.bank.log(subject=form.id, limit=USES).model_dump(mode="json"), LINE_CHARS),
        }

    def log(self, form: LogForm) -> object:
        return bounded(self.bank.log(**form.model_dump()).model_dump(mode="json"), LINE_CHARS)

    def map(self, form: MapForm) -> object:
        drawn = self.bank.sample(form.count, namespace=form.namespace, masked=form.by == "procedure")
        places = flat(drawn.vectors_ND).astype(float).round(4).tolist()
        points = [
            {
                "id": unit.id,
                "x": x,
                "y": y,
                "question": cut(unit.question, LINE_CHARS),
                "outcome": unit.outcome,
                "status": unit.status,
                "namespace": unit.namespace,
                "category": cut(unit.category, LINE_CHARS),
                "uses": unit.uses,
                "wins": unit.wins,
            }
            for unit, (x, y) in zip(drawn.units, places, strict=True)
        ]
        return {"points": points, "total": drawn.total, "without": drawn.without}

    def audit(self, _: Nothing) -> object:
        count = self.bank.census().units
        if count > AUDITED:
            raise InputError(f"the page audits up to {AUDITED:,} units and this bank holds {count:,}: run the command "
                             "`mia memory audit` in a terminal")  # fmt: skip
        report = self.bank.audit()
        findings = [
            {"kind": one.kind, "detail": one.detail, "count": len(one.unit_ids), "ids": one.unit_ids[:20]}
            for one in report.findings[:500]
        ]
        return {"units": report.units, "findings": findings, "more": max(0, len(report.findings) - 500)}

    def verify(self, form: VerifyForm) -> object:
        found = self.bank.verify_stretch(limit=STRETCH, cursor=form.cursor)
        report = found.report
        told = {"changed_units": report.changed_units[:100], "changed": len(report.changed_units)}
        return {**report.model_dump(), **told, "sound": report.sound, "next": found.next_cursor}

    def health(self, _: Nothing) -> object:
        return bounded(self.bank.health().model_dump(mode="json"))

    # -- changing -----------------------------------------------------------------------------------------------

    def promote(self, form: PromoteForm) -> object:
        self._may_change()
        return {"promoted": self.bank.promote(form.id)}

    def forget(self, form: ForgetForm) -> object:
        self._may_change()
        return {"forgotten": self.bank.forget(form.ids)}

    def _may_change(self) -> None:
        """Raises: Refusal: this page only looks."""
        if self.read_only:
            raise Refusal(403, "this page was started to look only: run `mia ui` without --read-only (and with "
                               "server.read_only unset) to change the bank")  # fmt: skip


def totals(rows: Sequence[CensusRow]) -> list[CensusRow]:
    """All namespaces together."""
    sums: dict[tuple[object, object], CensusRow] = {}
    for row in rows:
        known = sums.get((row.outcome, row.status))
        more = {} if known is None else {name: getattr(known, name) + getattr(row, name) for name in COUNTS}
        sums[row.outcome, row.status] = row.model_copy(update={"namespace": "", **more})
    return list(sums.values())
