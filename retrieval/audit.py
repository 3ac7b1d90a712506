"""What in a bank a person should look at (spec section 9: junk memory). Pure: units and duplicates in, findings out."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum

import numpy as np

from mia_skill.core.types import MemoryUnit, Origin, Value
from retrieval.echo import echoed
from retrieval.generalise import is_general
from retrieval.vectors import Rows

__all__ = ["AuditReport", "Finding", "FindingKind", "audit_units", "near_duplicates", "twins_of"]

LOSING_USES = 3
LOSING_RATE = 1 / 3
SHORT_WORKFLOW = 20
BLOCK = 512
"""Rows compared at a time: bounds memory to BLOCK x N similarities."""


class FindingKind(StrEnum):
    """What is the matter."""

    DUPLICATE = "duplicate"
    NEVER_USED = "never_used"
    LOSING = "losing"
    EMPTY_WORKFLOW = "empty_workflow"
    NO_PROVENANCE = "no_provenance"
    UNTRUSTED = "untrusted"
    ECHO = "echo"
    PENDING = "pending"


class Finding(Value):
    """One kind of trouble and who has it."""

    kind: FindingKind
    unit_ids: tuple[str, ...]
    detail: str


class AuditReport(Value):
    """The findings of one audit. Duplicates come as one finding per group."""

    units: int
    findings: tuple[Finding, ...] = ()

    def of(self, kind: FindingKind) -> tuple[Finding, ...]:
        """The findings of one kind."""
        return tuple(finding for finding in self.findings if finding.kind is kind)


RULES: tuple[tuple[FindingKind, str, Callable[[MemoryUnit], bool]], ...] = (
    (FindingKind.NEVER_USED, "never shown to a judged run", lambda unit: unit.uses == 0),
    (
        FindingKind.LOSING,
        f"shown {LOSING_USES} times or more, and at most one run in three was right",
        lambda unit: unit.uses >= LOSING_USES and unit.wins <= unit.uses * LOSING_RATE,
    ),
    (
        FindingKind.EMPTY_WORKFLOW,
        f"the workflow has fewer than {SHORT_WORKFLOW} characters",
        lambda unit: len(unit.workflow.strip()) < SHORT_WORKFLOW,
    ),
    (
        FindingKind.NO_PROVENANCE,
        "no source, no parent and no judge is known",
        lambda unit: (
            not unit.provenance.sources and not unit.provenance.parents and unit.provenance.judged_by == "none"
        ),
    ),
    (
        FindingKind.UNTRUSTED,
        "came from another agent, a file, an import or the web",
        lambda unit: not set(unit.provenance.origins) <= {Origin.OWN_RUN, Origin.USER},
    ),
    (FindingKind.PENDING, "waits for somebody to say whether it was right", lambda unit: unit.outcome is None),
)


def audit_units(units: Iterable[MemoryUnit], duplicates: Sequence[Sequence[str]]) -> AuditReport:
    """Apply every rule; `duplicates` are groups of ids found by their vectors."""
    ids: dict[FindingKind, list[str]] = defaultdict(list)
    held = {unit.id: unit for unit in units}
    for unit in held.values():
        for kind, _, holds in RULES:
            if holds(unit):
                ids[kind].append(unit.id)
    echoes = tuple(unit.id for unit in held.values() if _echoes(unit, held))
    groups = [
        Finding(kind=FindingKind.DUPLICATE, unit_ids=tuple(group), detail="nearly the same question and outcome")
        for group in duplicates
    ]
    rest = [Finding(kind=kind, unit_ids=tuple(ids[kind]), detail=detail) for kind, detail, _ in RULES if ids[kind]]
    if echoes:
        rest.append(Finding(kind=FindingKind.ECHO, unit_ids=echoes, detail="says again what its run was shown"))
    return AuditReport(units=len(held), findings=(*groups, *rest))


def _echoes(unit: MemoryUnit, held: Mapping[str, MemoryUnit]) -> bool:
    parents = [held[one] for one in unit.provenance.parents if one in held]
    return not is_general(unit) and echoed(unit, parents) is not None


def near_duplicates(rows_ND: Rows, threshold: float) -> list[list[int]]:
    """Groups of positions that are connected by similarities of at least `threshold`."""
    root = list(range(len(rows_ND)))

    def find(position: int) -> int:
        while root[position] != position:
            root[position] = root[root[position]]
            position = root[position]
        return position

    for start in range(0, len(rows_ND), BLOCK):
        block = rows_ND[start : start + BLOCK] @ rows_ND[start:].T
        for left, right in zip(*np.nonzero(block >= threshold), strict=True):
            if left < right:
                root[find(start + int(right))] = find(start + int(left))
    groups: dict[int, list[int]] = defaultdict(list)
    for position in range(len(rows_ND)):
        groups[find(position)].append(position)
    return [group for group in groups.values() if len(group) > 1]


def twins_of(
    by_seq: Mapping[int, MemoryUnit], groups: Sequence[tuple[Sequence[int], Rows]], threshold: float
) -> Sequence[Sequence[str]]:
    """Ids of near-identical units, bucket by bucket; a group is the seqs and question vectors of one."""
    found = []
    for seqs, questions_ND in groups:
        # Questions about different pictures are different questions.
        by_caption: dict[str | None, list[int]] = defaultdict(list)
        for position, seq in enumerate(seqs):
            by_caption[by_seq[seq].caption].append(position)
        for positions in by_caption.values():
            for twins in near_duplicates(questions_ND[positions], threshold):
                found.append([by_seq[seqs[positions[twin]]].id for twin in twins])
    return found
