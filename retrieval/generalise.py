"""Several successes of one shape become one workflow: the shortest, with the variants of its steps (pure)."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime

from mia_skill.core.types import MemoryUnit, Outcome, Provenance, Status, utc_now
from retrieval.chain import digest_of
from retrieval.lineage import RANK
from retrieval.prune import proven

__all__ = ["FEWEST", "covered", "family", "general_id", "generalised", "is_general", "shape_of", "shapes"]

FEWEST = 3
"""Successes of one shape that make a workflow general: two may agree by accident."""
VARIANTS = 4
"""Wordings of a step that are kept beside the shortest workflow's own."""
NUMBER = re.compile(r"^\s*\d+[.)]\s*")
FLOW = re.compile(r"\(([^()]*->[^()]*)\)\s*$")
WORD = re.compile(r"[a-z]+")
SMALL = frozenset("a an and are at by did do does for from how in is it of on or the to was were with".split())
ALIKE = 0.5
"""Share of the words of two questions, names aside, that must be the same."""


def steps_of(workflow: str) -> list[str]:
    return [NUMBER.sub("", line).strip() for line in workflow.splitlines() if line.strip()]


def shape_of(unit: MemoryUnit) -> tuple[str, ...]:
    """What goes into each step and what comes out; steps that do not say count as themselves."""
    found = ((step, FLOW.search(step)) for step in steps_of(unit.workflow))
    return tuple(" ".join((match.group(1) if match else step).casefold().split()) for step, match in found)


def kind_of(question: str) -> frozenset[str]:
    """The words of a question that are no names: they start small."""
    return frozenset(word for word in question.split() if WORD.fullmatch(word.strip("?.,")) and word not in SMALL)


def family(one: frozenset[str], other: frozenset[str]) -> bool:
    """Do two questions ask for the same kind of thing?"""
    return len(one & other) >= ALIKE * len(one | other)


def shapes(units: Iterable[MemoryUnit]) -> list[tuple[MemoryUnit, ...]]:
    """Groups of at least `FEWEST` trusted successes that solved questions of one kind in the same steps. What is
    quarantined, withheld or general already takes no part."""
    alike: dict[tuple[object, ...], list[MemoryUnit]] = defaultdict(list)
    for unit in units:
        if unit.status is Status.ACTIVE and unit.outcome is Outcome.CORRECT and not is_general(unit):
            key = (unit.namespace, unit.modality, unit.category, unit.caption is None, shape_of(unit))
            alike[key].append(unit)
    groups = [group for members in alike.values() for group in _families(members)]
    return [tuple(group) for group in groups if len(group) >= FEWEST]


def _families(members: Sequence[MemoryUnit]) -> list[list[MemoryUnit]]:
    groups: list[list[MemoryUnit]] = []
    for unit in members:
        kind = kind_of(unit.question)
        home = next((group for group in groups if family(kind_of(group[0].question), kind)), None)
        if home is None:
            groups.append([unit])
        else:
            home.append(unit)
    return groups


def is_general(unit: MemoryUnit) -> bool:
    """Was it made of several successes?"""
    return unit.id.startswith("gen_")


def general_id(group: Sequence[MemoryUnit]) -> str:
    """The same members give the same id, so nothing is made twice."""
    return f"gen_{digest_of(*sorted(unit.id for unit in group))[:32]}"


def covered(group: Sequence[MemoryUnit], units: Iterable[MemoryUnit]) -> bool:
    """Is there a general workflow of more than half of these already? A new one waits until they have doubled."""
    members = {unit.id for unit in group}
    return any(2 * len(members & set(unit.provenance.parents)) > len(members) for unit in units if is_general(unit))


def generalised(group: Sequence[MemoryUnit], *, workflow: str | None = None, now: datetime | None = None) -> MemoryUnit:
    """One unit for a group. Without a `workflow` (a model's), it is that of the proven, shortest member, and each of
    its steps lists how others put it. Its members are its parents; it starts with no uses: it has to earn its own."""
    first = min(group, key=lambda unit: (not proven(unit), unit.steps, len(unit.workflow), unit.id))
    origins = sorted({origin for unit in group for origin in unit.provenance.origins}, key=RANK.__getitem__)
    sources = dict.fromkeys(source for unit in group for source in unit.provenance.sources)
    judges = Counter(unit.provenance.judged_by for unit in group)
    at = now or utc_now()
    return MemoryUnit(
        id=general_id(group),
        question=first.question,
        workflow=workflow or _with_variants(first, group),
        caption=first.caption,
        modality=first.modality,
        category=first.category,
        outcome=Outcome.CORRECT,
        namespace=first.namespace,
        steps=first.steps,
        provenance=Provenance(
            origins=tuple(origins),
            parents=tuple(unit.id for unit in group),
            sources=tuple(sources)[:50],
            judged_by=judges.most_common(1)[0][0],
        ),
        created_at=at,
        updated_at=at,
    )


def _with_variants(first: MemoryUnit, group: Sequence[MemoryUnit]) -> str:
    own = steps_of(first.workflow)
    columns = list(zip(*(steps_of(unit.workflow) for unit in group), strict=True))
    lines = []
    for number, (step, column) in enumerate(zip(own, columns, strict=True), 1):
        lines.append(f"{number}. {step}")
        others = [one for one in dict.fromkeys(column) if one != step]
        lines += [f"   or: {other}" for other in others[:VARIANTS]]
    return "\n".join(lines)
