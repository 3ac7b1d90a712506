"""The marks by which an answer names its sources: is the source there, was it read, does it say so? No network."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mia_skill.core.types import Step
from mia_skill.core.verdict import Citation, CitationStatus
from trust.claims import Statement
from trust.items import Item
from trust.scene import Scene
from trust.support import PRESENT, presence

__all__ = ["MARK", "cited"]

MARK = re.compile(
    r"\[(?P<text>[^\[\]\n]{1,80})\]\((?P<link>https?://[^)\s]{1,2000})\)|\[(?P<numbers>\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]|"
    r"\[(?P<id>[\w.:#/-]{1,200})\]|(?P<bare>https?://[^\s<>\"')\]]{1,2000})"
)
MOST = 60
ADDRESS = re.compile(r"https?://(?:www\.)?", re.IGNORECASE)


@dataclass(frozen=True)
class Named:
    """What a mark points at."""

    marker: str
    start: int
    end: int
    status: CitationStatus | None
    """None: the source is there."""
    item: int = -1


def cited(
    answer: str, items: Sequence[Item], steps: Sequence[Step], scene: Scene, claims: Sequence[Statement]
) -> tuple[Citation, ...]:
    """Every citation of `answer` with its status. `scene` holds the sources that count; a mark belongs to the claim
    it stands in, or else to the one before it."""
    failed = "\n".join(f"{step.query} {step.observation}" for step in steps if step.error is not None)
    made = []
    for named in list(_named(answer, items, failed))[:MOST]:
        number = _claim(named, claims)
        status = named.status or _status(items[named.item], scene, claims[number] if number >= 0 else None)
        made.append(
            Citation(
                marker=named.marker,
                start=named.start,
                end=named.end,
                status=status,
                source_id=items[named.item].id if named.item >= 0 else None,
                claim_id=f"c{number + 1}" if number >= 0 else None,
            )
        )
    return tuple(made)


def _named(answer: str, items: Sequence[Item], failed: str) -> Iterator[Named]:
    ids = {item.id: place for place, item in enumerate(items)}
    urls = {_plain(item.url): place for place, item in enumerate(items) if item.url}
    for match in MARK.finditer(answer):
        marker, (start, end) = match.group(), match.span()
        link = match["link"] or match["bare"] or match["id"] or ""
        if ADDRESS.match(link):
            url = link.rstrip(".,;:")
            place = urls.get(_plain(url), ids.get(url, -1))
            lost = CitationStatus.UNFETCHABLE if url in failed else CitationStatus.NOT_READ
            yield Named(marker, start, end, None if place >= 0 else lost, place)
        elif match["id"] in ids:
            yield Named(marker, start, end, None, ids[match["id"]])
        elif match["numbers"]:
            for one in re.findall(r"\d+", marker):
                place = ids.get(one, int(one) - 1)
                there = 0 <= place < len(items)
                status = None if there else CitationStatus.DANGLING
                yield Named(f"[{one}]", start, end, status, place if there else -1)
        elif any(char.isdigit() for char in marker):  # a word in brackets is an aside, no citation
            yield Named(marker, start, end, CitationStatus.DANGLING)


def _plain(url: str) -> str:
    return ADDRESS.sub("", url).split("#")[0].rstrip("/").casefold()


def _claim(named: Named, claims: Sequence[Statement]) -> int:
    before = [number for number, one in enumerate(claims) if one.start <= named.start]
    return before[-1] if before else -1 if not claims else 0


def _status(item: Item, scene: Scene, claim: Statement | None) -> CitationStatus:
    if claim is None:
        return CitationStatus.UNSUPPORTED
    for place, line in enumerate(scene.lines):
        if scene.items[line.item].id == item.id and presence(scene, place, claim) >= PRESENT:
            return CitationStatus.SUPPORTED
    return CitationStatus.UNSUPPORTED
