"""Which sources are too old for what is asked. A question about "now" needs to know when now is: from the case, from
the question, or at least as late as the newest source that was read. No clock is read here."""

import re
from collections.abc import Collection, Mapping, Sequence

from mia_skill.core.verdict import Case, Check, CheckState, Claim
from trust.items import Item

__all__ = ["asked_now", "freshness", "old_sources", "outdated"]

FRESHNESS = "freshness"
"""Name of the check: unsure on a claim that stands only in sources too old for the question; never a failure."""
GRACE = 1
"""Whole years that a source may lie behind the time that is asked about."""
YEAR = r"(?:1[5-9]\d\d|20\d\d)"
NOW = (
    r"(?:\b(?:current(?:ly)?|now|nowadays|today|latest|newest|recent(?:ly)?|at present|presently|these days|"
    r"this (?:year|month|week|season)|incumbent|to date|so far|aktuell\w*|derzeit\w*|actuel\w*|actualmente|"
    r"сейчас|нынешн\w*|текущ\w*)\b|现在|目前|当前|最新|現在|如今)"
)
ASKS_NOW = re.compile(NOW, re.IGNORECASE)
OFFICE = re.compile(
    r"\b(?:who(?:.s| is| are| holds| leads| runs)|(?:what|which)\b[^?]{0,30}\b(?:is|are|has|holds))\b[^?]{0,60}?"
    r"\b(?:president|prime minister|ceo|chief executive|chair(?:man|woman|person)|mayor|governor|chancellor|"
    r"secretary|king|queen|monarch|pope|head coach|world record|record holder|champions?|population)\b",
    re.IGNORECASE,
)
"""In the present tense, of what somebody else holds sooner or later."""
THEN = re.compile(rf"\b{YEAR}\b")
"""A year in a question that does not say "now" puts it into the past."""
AS_OF = re.compile(
    rf"\b(?:as of|as at)\s[^?.;]{{0,20}}?\b(?P<year>{YEAR})\b|(?P<now>{NOW})\W{{0,3}}(?:(?:in|of|for)\s)?\W?"
    rf"(?P<next>{YEAR})\b|\bin (?P<last>{YEAR})\W*$",
    re.IGNORECASE,
)
DATED = re.compile(
    rf"\b(?:as of|as at|until|till|up to)\s(?:\w+\.?,?\s){{0,2}}?(?P<year>{YEAR})\b|"
    rf"\b(?P<count>{YEAR})\s(?:census|estimates?|figures|data|rankings?)\b|"
    rf"\b{YEAR}\s?(?:-|–|—|to|and|until)\s?(?P<end>{YEAR})\b",
    re.IGNORECASE,
)
"""A year that says how old a statement is. One that says when something began ("since 2009", "in 2009") does not."""
AGO = re.compile(r"\b(?P<years>\d{1,2})\s+years?\s+ago\b", re.IGNORECASE)


def asked_now(case: Case, items: Sequence[Item]) -> int | None:
    """The year from which a question about the present looks; None where it asks about none, or none is known."""
    said = AS_OF.search(case.question)
    timed = said is not None and (said["last"] is None or ASKS_NOW.search(case.question) is not None)
    office = OFFICE.search(case.question) is not None and not THEN.search(case.question)
    if not (timed or office or ASKS_NOW.search(case.question)):
        return None
    if said is not None and timed:
        return int(said["year"] or said["next"] or said["last"])
    if given := _years(case.as_of):
        return max(given)
    return max((year for item in items for year in _years(item.published)), default=None)


def old_sources(now: int | None, items: Sequence[Item], lines: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Id and year of every source too old for a question of the year `now`. `lines` are those of each source that the
    answer's claims stand in; a date in them weighs more than that of the page."""
    if now is None:
        return {}
    found = {item.id: _dated(item, lines.get(item.id, ()), now) for item in items}
    return {one: year for one, year in found.items() if year is not None and year < now - GRACE}


def freshness(now: int | None, holding: Collection[str], old: Mapping[str, int]) -> tuple[Check, ...]:
    """The check of one claim, by the ids of the sources that it rests on; nothing where time does not matter."""
    if now is None or not holding:
        return ()
    if not all(one in old for one in holding):
        return (Check(name=FRESHNESS, state=CheckState.OK),) if old else ()
    told = ", ".join(f"{one} ({old[one]})" for one in sorted(holding)[:4])
    return (Check(name=FRESHNESS, state=CheckState.UNSURE, detail=f"asked about {now}, read only in {told}"),)


def outdated(claim: Claim) -> Check | None:
    """The check that says so, of a claim that rests only on sources too old for the question."""
    return next((one for one in claim.checks if one.name == FRESHNESS and one.state is CheckState.UNSURE), None)


def _dated(item: Item, lines: Sequence[str], now: int) -> int | None:
    told = [int(match["year"] or match["count"] or match["end"]) for line in lines for match in DATED.finditer(line)]
    if known := [year for year in told if year <= now] or _years(item.published):
        return max(known)
    ago = AGO.search(item.published)
    return now - int(ago["years"]) if ago else None


def _years(text: str) -> list[int]:
    return [int(year) for year in re.findall(rf"(?<!\d){YEAR}(?!\d)", text)]
