"""What the evidence shows an answer as. A name that stands in it only as a place ("in Paris, France") designed nothing,
and one of which a trade or a birth is told is no town. English, bare answers, and only where every mention is plain."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from trust.misfit import BARE, TOWN_ASKED, WHERE_ASKED, WHO_ASKED
from trust.question import Asked, Kind

__all__ = ["shown_otherwise", "whereabouts"]

AROUND = 80
"""Characters on each side of a mention that are read."""
MOST = 400
"""Mentions that are looked at; of a name with more, nothing is said."""
LEADING = re.compile(r"^(?i:in|at|from|near|by|the)\s+(?=[A-Z])|[\s.,;!]+$")
PLACE = (
    "city|town|village|capital|country|county|state|province|region|district|suburb|municipality|commune|borough|"
    "parish|island|peninsula|continent|settlement|hamlet|neighbou?rhood|prefecture|canton|territory|metropolis|seaport"
)
PERSON = (
    "accountant|activist|actor|actress|admiral|anthropologist|architect|artist|astronaut|astronomer|athlete|author|"
    "banker|biologist|bishop|botanist|boxer|businessman|businesswoman|captain|cartoonist|chemist|choreographer|"
    "cinematographer|coach|comedian|composer|conductor|cricketer|critic|dancer|designer|diplomat|director|doctor|"
    "drummer|economist|editor|engineer|entrepreneur|explorer|filmmaker|footballer|geologist|golfer|guitarist|historian|"
    "inventor|journalist|judge|jurist|lawyer|mathematician|merchant|model|musician|novelist|nurse|officer|painter|"
    "philosopher|photographer|physician|physicist|pianist|player|playwright|poet|politician|priest|printer|producer|"
    "professor|psychologist|rapper|saxophonist|scholar|scientist|screenwriter|sculptor|singer|singer-songwriter|"
    "soldier|songwriter|surgeon|surveyor|swimmer|teacher|theologian|violinist|wrestler|writer|husband|wife|son|daughter|"
    "brother|sister|father|mother|uncle|aunt|nephew|niece|cousin|widow|grandson|granddaughter|chairman|"
    "founder|mayor|president|king|queen|emperor|pope"
)
TOWN_BEFORE = r"[A-Z][\w'’.-]*(?:\s+[A-Z][\w'’.-]*){0,3}\s*,\s*"
IN = re.compile(
    rf"(?<![\w-])(?P<before>[\w'’-]*)[\s(,]*\b(?:at\s+{TOWN_BEFORE}|(?:[Ii]n|[Nn]ear)\s+(?:the\s+)?(?:{TOWN_BEFORE}|"
    rf"(?:{PLACE})\s+of\s+|(?:central|cent(?:re|er) of|downtown|nearby|northern|southern|eastern|western|ancient|"
    r"medieval|present-day|modern-day)\s+)*)$"
)
"""Also "in Lyon, France" and "in the city of Paris"."""
NOWHERE = re.compile(
    r"(?:believ|trust|faith|confid|interest|invest|star|appear|play|act|role|featur|cast|depict|portray|describ|mention|"
    r"character|drum|s[aiu]ng|vocal|guitar|bass|keyboard|music|lyric|perform|saw|seen|embod|personif|member|succeed|"
    r"success|result|engag|involv|f[io]nd|found|partner|share|stake|hope|delight|rejoic|written|translat|ally|friend|"
    r"match|rival|enem|champion|mentor|patron|hero|genius|god)\w*",
    re.IGNORECASE,
)
"""Words after which "in" is followed by somebody or something, not by where it was."""
ENDS = re.compile(
    r"\s*(?:$|[.;:)!?\]\"”]|,(?!\s+(?:who|whose)\b)|\((?!\w*born)|\d{4}\b|(?:and|from|on|at|with|by|is|was|in|to|as|for|"
    r"where|which|that|during|since|until|when|after|before|while|but|or|between|has|had|were|are|under)\b)"
)
"""What may follow a name that is complete: neither a longer name nor "'s"."""
LONGER = re.compile(r"\s+[A-Z]")
"""The name goes on: "the Paris Commune" is something else."""
AIMED = re.compile(
    r"\b(?:of|from|to|near|around|outside|through|throughout|into|across|within|towards?|at|via)\s+(?:the\s+)?$|"
    r"[A-Z][\w'’-]*\s*,\s*$"
)
"""Places and persons alike: says nothing."""
IS_PLACE = re.compile(
    r"-(?:based|born)\b|\s*(?:\([^()]*\)\s*)?,?\s*(?:is|was)?\s*(?:an?|the)\s+"
    r"(?:(?!of|in|for|to|from|by|that|which)[\w'’-]+\s+){0,4}?"
    rf"(?:{PLACE})\s*(?:[,.;)]|(?:in|of|on|at|near|located|situated)\b)"
)
ACTING = re.compile(
    r"^\W*who(?:m|se)?\s+(?:(?:is|are|was|were|has|have|had|will|would|can|could|also|first|else|currently|originally|"
    r"still|mostly|last)\s+)*(?:host|held|hold|w[io]n\b|beat|defeat|play|own|control|rul|govern|invad|attack|conquer|"
    r"occup|colon|claim|join|vot|grow|grew|eat|export|import|produc|invent|develop|buil[dt]|ma[dk]e|manufactur|los[et]\b|"
    r"qualif|compet|fought|fight|celebrat|speak|us(?:e[sd]?|ing)\b|liv|practi|border|surround|most\b|more\b)|"
    r"^\W*who(?:m)?\s+(?:did|do|does)\b|^\W*whose\b|^\W*who(?:m)?\s+(?:has|have|had|gets?|got)\s+(?:the|an?|more|most)\b|"
    r"^\W*who\s+(?:is|are|was|were)\s+(?:the|an?)\s+(?:[\w-]+\s+){0,3}?(?:winners?|hosts?|champions?|owners?|producers?|"
    r"exporters?|importers?|suppliers?|opponents?|all(?:y|ies)|users?|makers?|manufacturers?|enem(?:y|ies)|rivals?|"
    r"holders?|sellers?|buyers?|neighbou?rs?|sponsors?|operators?|employers?|participants?|members?|losers?|home)\b",
    re.IGNORECASE,
)
"""What towns, countries and their teams do or are: "who hosted the games?" is answered by a place."""
TOLD = re.compile(
    r"\s*(?:\([^()]*\)\s*)?,?\s*(?:(?:is|was)\s+)?(?:an?|the)\s+"
    r"(?:(?!(?:of|in|for|to|from|by|that|which|where|home|birthplace)\b)[\w-]+,?\s+){0,4}?"
    rf"(?:{PERSON})(?:\s*[,.;)]|\s+(?:of|and|who|from|in|for|at|known|best|whose|on|by)\b)|"
    r"\s*\((?:[^()]{0,60}?[;,]\s*)?(?:born|née)\b|\s*\((?:\w+\s+\d{1,2},\s+|\d{1,2}\s+\w+\s+)\d{4}\s*[–—-]|"
    r"\s+(?:(?:is|was)\s+(?:born|married|buried|knighted|educated)\b|(?:died|studied|graduated|married|retired)\b|"
    r"came into the world\b)|,\s+(?:head|chief|director|president|chairman|founder)\s+of\b|"
    r"['’]s\s+(?:wife|husband|father|mother|son|daughter|brother|sister|widow|parents|teacher|pupil)\b"
)
CALLED = re.compile(
    rf"\b(?:{PERSON})s?(?:\s+and\s+(?:{PERSON}))?\s+$|\b(?:written|directed|composed|painted|sung|edited|drawn|authored|"
    r"choreographed|narrated|photographed|sculpted|taught|coached|portrayed)\s+by\s+$"
)
FILLERS = r"(?:an?|the|of|in|on|at|to|for|from|by|with|as|and|or|is|was|are|were|has|had|his|her|its|who|which|that)\b"
NATION = re.compile(
    r"\w+(?:ian|ean|ican|ese|ish)|German|French|Dutch|Greek|Swiss|Welsh|Czech|Thai|Cuban|Roman|Moroccan|Tibetan|"
    r"Israeli|Iraqi|Pakistani|Bangladeshi"
)
"""Looks like the word for people of a country. Some names do too, so the evidence must agree."""
QUALITY = re.compile(
    rf"\s+(?!{FILLERS})(?!(?:\w+ed|\w+s|won|w[oe]nt|wrote|built|made|led|took|began|sang|s[ae]t|dr[ae]w|r[au]n|gave|held|"
    r"found|came|became|beat|fought|said|says|met|lost|left|kept|spoke|sought|grew|flew|knew|can|could|will|would|did|do|"
    r"does|had|have|may|must|might|should|not|also|still|then|later|first|never|once)\b)[a-z][\w-]*"
)
"""What is of a country, after its word: "American comedy", "in French society"."""
WHEREABOUTS = re.compile(
    r"\b(?:in|at|near|from|to|into|around|outside|throughout|across|through|via|towards?)\s+(?:the\s+)?$|"
    rf"\b(?:{PLACE}|north|south|east|west|miles|km|university|battle|people|streets?|mayor|bishop|governor)\s+of\s+"
    r"(?:the\s+)?$",
    re.IGNORECASE,
)
TOWN_HEAD = re.compile(
    rf"(?:{TOWN_ASKED.pattern})(?=\W*$|\W*\s(?:is|was|are|were|do|does|did|has|had|have|can|could|will|would|in|of|on|at|"
    r"with|by|where|which|that|the|lies|located|and|more)\b)",
    re.IGNORECASE,
)
"""Not "which country singer"."""


@dataclass(frozen=True)
class Mention:
    """The answer as it stands in the evidence."""

    before: str
    after: str


def shown_otherwise(asked: Asked, answer: str, texts: Sequence[str]) -> str:
    """Why it cannot be an answer, by what the texts show it as; empty when it may be one, or is shown as nothing."""
    name = LEADING.sub("", " ".join(answer.split()))
    if asked.options or not name[:1].isupper() or not (name + asked.text).isascii() or len(name.split()) > BARE:
        return ""
    found = list(islice(_mentions(name, texts), MOST + 1))
    if len(found) > MOST:
        return ""
    if asked.kind is Kind.PERSON and WHO_ASKED.search(asked.text) and _only_a_nation(name, found):
        return "it asks who, and the evidence shows the answer only as what somebody or something is"
    if asked.kind is Kind.PERSON and WHO_ASKED.search(asked.text) and not ACTING.search(asked.text):
        return "it asks who, and the evidence shows the answer only as a place" if _only_a_place(found) else ""
    if asked.kind is Kind.PLACE and (WHERE_ASKED.search(asked.text) or TOWN_HEAD.search(asked.text)):
        return "it asks for a place, and the evidence shows the answer as a person" if _a_person(found) else ""
    return ""


def whereabouts(sentence: str, start: int) -> bool:
    """Does the name at `start` only say where: "it was designed in Paris"?"""
    return IN.search(sentence[max(0, start - AROUND) : start]) is not None


def _only_a_nation(name: str, found: Sequence[Mention]) -> bool:
    """The word for people of a country, and nowhere for those who act ("the Chinese invented paper")."""
    plain = [one.after.startswith("-") or QUALITY.match(one.after) is not None for one in found]
    return (
        NATION.fullmatch(name) is not None
        and any(plain)
        and all(sure or LONGER.match(one.after) for sure, one in zip(plain, found, strict=True))
    )


def _mentions(name: str, texts: Sequence[str]) -> Iterator[Mention]:
    form = re.compile(r"(?<![\w-])" + r"\s+".join(re.escape(word) for word in name.split()) + r"(?!\w)")
    for text in texts:
        for found in form.finditer(text):
            start, end = found.span()
            yield Mention(text[max(0, start - AROUND) : start], text[end : end + AROUND])


def _only_a_place(found: Sequence[Mention]) -> bool:
    """At least one mention is plainly a place, and none can be somebody who acts."""
    plain = [_in_a_place(one) for one in found]
    return any(plain) and all(
        sure or LONGER.match(one.after) or (AIMED.search(one.before) and ENDS.match(one.after))
        for sure, one in zip(plain, found, strict=True)
    )


def _in_a_place(one: Mention) -> bool:
    """ "in Paris", "a Paris-based studio", "Paris is the capital of France"."""
    if IS_PLACE.match(one.after):
        return True
    inside = IN.search(one.before)
    return bool(inside and not NOWHERE.fullmatch(inside["before"]) and ENDS.match(one.after))


def _a_person(found: Sequence[Mention]) -> bool:
    """Somebody's trade, birth or family is told of it, and nothing is or goes anywhere by its name."""
    told = any(TOLD.match(one.after) or CALLED.search(one.before) for one in found)
    return told and not any(WHEREABOUTS.search(one.before) or IS_PLACE.match(one.after) for one in found)
