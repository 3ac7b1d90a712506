"""Everything that can be found out about a case without a model, gathered once for whoever decides."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mia_skill.core.verdict import Case, Check, CheckState, Citation, CitationStatus, Injection, Source
from trust.age import asked_now, freshness, old_sources
from trust.checks import check_claim
from trust.citations import cited
from trust.claims import Statement, statements
from trust.compare import check_choice
from trust.conflict import altered_copies
from trust.guard import scan, scan_answer, scan_seams, strip_spans
from trust.items import Gathered, Item, collect
from trust.modality import check_modality
from trust.origins import sources_of
from trust.paths import Ways
from trust.process import Signal, signals
from trust.question import Asked, Kind, understand
from trust.refusal import is_question, is_refusal
from trust.rivals import rivals
from trust.scene import Scene, look
from trust.sources import clusters
from trust.support import Ground, Standing, stand
from trust.words import terms

__all__ = ["Facts", "Finding", "gather_facts"]

AS_GOOD = 0.5
"""Another source is about the question too when a line of it holds this share of what the answer's own line does."""
DIRECT = 0.5
"""Share of the question in one line from which on other sources about it are expected to say the same."""


@dataclass(frozen=True)
class Finding:
    """One claim and what the evidence says of it."""

    claim: Statement
    standing: Standing
    checks: tuple[Check, ...]
    voices: int
    """Independent sources it stands in."""
    silent: int = 0
    """Independent sources that speak about the question as well as these do, and do not state it."""
    rivals: int = 0
    """Independent sources about the very thing that was asked that do not state it."""
    altered: tuple[int, ...] = ()
    """Lines of other sources that are the same sentence with another value."""
    lead: float = 0.0
    """How much more of the question the best way to it covers than the best one to another value of its form."""


@dataclass(frozen=True)
class Facts:
    """All that was found."""

    case: Case
    asked: Asked
    gathered: Gathered
    clean: tuple[Item, ...]
    """Items that may support: those that do not try to steer their reader."""
    injections: tuple[Injection, ...]
    ground: Ground
    groups: tuple[int, ...]
    """Cluster of each clean item."""
    findings: tuple[Finding, ...]
    checks: tuple[Check, ...]
    signals: tuple[Signal, ...]
    declined: bool
    """The answer is none."""
    citations: tuple[Citation, ...] = ()
    sources: tuple[Source, ...] = ()

    @property
    def answer_steers(self) -> bool:
        """The answer itself talks to its judge."""
        return any(one.source_id == "answer" for one in self.injections)

    @property
    def scene(self) -> Scene:
        """The lines of the clean evidence."""
        return self.ground.scene


def gather_facts(case: Case) -> Facts:
    """Read the evidence, scan it, cut the answer into claims, and stand each on its best line."""
    gathered = collect(case)
    asked = understand(case.question)
    talk = scan_answer(case.answer[:200_000])
    answer = strip_spans(case.answer[:200_000], talk)
    flagged = tuple(one for item in gathered.items for one in (*scan(item.text, item.id), *_title(item)))
    flagged += scan_seams([(item.id, item.text) for item in gathered.items])
    steering = {one.source_id for one in flagged}
    clean = tuple(item for item in gathered.items if item.id not in steering)
    claims = statements(answer, asked)
    wanted = frozenset(terms(case.question[:2000])) | frozenset(stem for one in claims for stem in one.stems)
    ground = Ground(look(clean, wanted), asked)
    groups = clusters(clean)
    ways = Ways(ground)
    findings = tuple(_find(ground, ways, groups, one) for one in claims)
    findings, old = _aged(case, clean, ground.scene, findings)
    citations = cited(answer, gathered.items, case.steps, ground.scene, claims)
    checks = (*_case_checks(gathered), *_citation_checks(citations))
    if asked.kind is Kind.CHOICE and claims:
        checks = (*checks, check_choice(ground.scene, asked, answer))
    verbatim = bool(answer.strip()) and any(answer.strip() in item.text for item in clean)
    declined = is_refusal(case.answer) or (is_question(case.answer) and not verbatim)
    return Facts(
        case, asked, gathered, clean, (*talk, *flagged), ground, groups, findings, checks,
        signals(case.question, case.steps, case.answer) if case.steps else (), declined,
        citations, sources_of(gathered, clean, groups, steering, old),
    )  # fmt: skip


def _aged(
    case: Case, clean: Sequence[Item], scene: Scene, findings: Sequence[Finding]
) -> tuple[tuple[Finding, ...], dict[str, int]]:
    """The findings with a check of how old their sources are, and the old ones. A claim that stands nowhere rests on
    all that was read: old pages do not refute what is said of today."""
    now = asked_now(case, clean)
    if now is None:
        return tuple(findings), {}
    lines: defaultdict[str, list[str]] = defaultdict(list)
    for place in {place for one in findings for place in (*one.standing.places, one.standing.place) if place >= 0}:
        line = scene.lines[place]
        lines[scene.items[line.item].id].append(scene.text(line))
    old = old_sources(now, clean, lines)
    made = []
    for one in findings:
        held = {scene.items[scene.lines[place].item].id for place in one.standing.places}
        check = freshness(now, held or {item.id for item in clean}, old)
        made.append(replace(one, checks=(*one.checks, *check)))
    return tuple(made), old


def _case_checks(gathered: Gathered) -> tuple[Check, ...]:
    found = []
    if gathered.clashing:
        detail = f"{len(gathered.clashing)} id(s) stand for two different texts; both are read"
        found.append(Check(name="contradicting_ids", state=CheckState.FAIL, detail=detail))
    if gathered.left_out:
        detail = f"{gathered.left_out} text(s) were not read to the end: send what matters, or judge in parts"
        found.append(Check(name="evidence_cut", state=CheckState.UNSURE, detail=detail))
    return tuple(found)


def _citation_checks(citations: Sequence[Citation]) -> tuple[Check, ...]:
    bad = [one for one in citations if one.status is not CitationStatus.SUPPORTED]
    if not citations:
        return ()
    if not bad:
        return (
            Check(name="citations", state=CheckState.OK, detail=f"all {len(citations)} bear out what they stand at"),
        )
    told = ", ".join(f"{one.marker[:60]} is {one.status.value.replace('_', ' ')}" for one in bad[:4])
    return (Check(name="citations", state=CheckState.FAIL, detail=told),)


def _title(item: Item) -> Sequence[Injection]:
    """Steering words in a title are reported at the start of its text."""
    return [
        one.model_copy(update={"start": 0, "end": 0, "rule": f"title:{one.rule}"}) for one in scan(item.title, item.id)
    ]


def _find(ground: Ground, ways: Ways, groups: Sequence[int], claim: Statement) -> Finding:
    standing = stand(ground, claim)
    if standing.place < 0:
        return Finding(claim, standing, (), 0)
    line = ground.scene.lines[standing.place]
    held = {groups[ground.scene.lines[place].item] for place in standing.places}
    checks = (*check_claim(ground.scene, line, claim), *check_modality(ground.scene, claim, standing.places))
    silent = len(_about(ground, groups, standing.place) - held)
    return Finding(
        claim,
        standing,
        checks,
        len(held),
        silent,
        rivals(ground, groups, claim, standing),
        altered_copies(ground, claim, standing),
        ways.lead(claim, standing) if standing.places else 0.0,
    )


def _about(ground: Ground, groups: Sequence[int], place: int) -> set[int]:
    """Voices that speak about the question as line `place` does, and of the same names where pages have titles."""
    scene, best = ground.scene, ground.near[place]
    if best < DIRECT:
        return set()
    own = scene.lines[place]
    named = ground.asked.names & (own.stems | scene.titles[own.item])
    return {
        groups[line.item]
        for other, line in enumerate(scene.lines)
        if ground.near[other] >= AS_GOOD * best
        and (not scene.titles[line.item] or named <= line.stems | scene.titles[line.item])
    }
