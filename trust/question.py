"""What a question asks for: a person, a year, a place, a number, one of two, or yes or no."""

import re
from dataclasses import dataclass
from enum import StrEnum

from trust.lexicon import STOP
from trust.words import content, words

__all__ = ["Asked", "Kind", "understand"]


class Kind(StrEnum):
    """The type of answer that a question wants."""

    PERSON = "person"
    DATE = "date"
    PLACE = "place"
    NUMBER = "number"
    CHOICE = "choice"
    YES_NO = "yesno"
    OTHER = "other"
    NONE = "none"
    """It asks nothing of its own: "is the statement supported?", "summarise"."""


@dataclass(frozen=True)
class Asked:
    """A question, understood as far as its form goes."""

    text: str
    kind: Kind
    terms: tuple[str, ...]
    names: frozenset[str]
    """Stems of its capitalised words: what it is about."""
    options: tuple[str, ...] = ()
    """The two it lets choose from."""
    wants_most: bool | None = None
    """A comparison: True for more, later, larger; False for fewer, earlier, smaller."""
    measures_time: bool = False
    """The comparison is about dates: age, founding, release."""


YES_NO = re.compile(
    r"(?:^|[.,;:]\s+)(?:is|are|was|were|do|does|did|has|have|had|can|could|will|would|should|may|might|must|am|isn't|"
    r"aren't|wasn't|doesn't|don't|didn't)\b(?!.*\b(?:which|who|what|where|when)\b)|(?:吗|是不是|是否)",
    re.IGNORECASE,
)
GENERIC = re.compile(
    r"\b(?:summar|paraphras|claim|statement|assertion|fact.?check|verify|supported|consistent|faithful|"
    r"hallucinat|ground)",
    re.IGNORECASE,
)
KINDS: tuple[tuple[Kind, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (
            Kind.NUMBER,
            r"\bhow (?:many|much|old|long|tall|high|far|deep|wide|large|big|heavy|fast|often)\b|\bwhat (?:is|"
            r"was) the "
            r"(?:\w+ ){0,3}(?:population|number|length|height|area|distance|weight|size|percentage|amount|price|"
            r"cost|depth)\b"
            r"|\bpopulation of\b|\bcombien\b|\bwie ?viele?\b|\bcu[aá]nt[oa]s?\b|сколько|多少|几个|いくつ|몇",
        ),
        (
            Kind.DATE,
            r"\bwhen\b|\b(?:what|which) (?:\w+ ){0,2}(?:year|date|day|month|decade|century|season)\b|\bwhat year\b|"
            r"\b(?:birth|founding) (?:year|date)\b|\bwann\b|\bquand\b|\bcu[aá]ndo\b|когда|"
            r"何时|什么时候|哪一?年|いつ|언제",
        ),
        (Kind.PERSON, r"\bwho(?:m|se)?\b|\bwer\b|\bqui\b|\bqui[eé]n\b|\bкто\b|谁|誰|누구"),
        (
            Kind.PLACE,
            r"\bwhere\b|\b(?:what|which) (?:\w+ ){0,2}(?:city|country|state|town|county|province|region|"
            r"continent|village|"
            r"island|place|location|district|nation)\b|\bwo\b|\boù\b|\bd[oó]nde\b|где|哪里|在哪|どこ|어디",
        ),
    )
)
OPTIONS = re.compile(
    r"(?:,|:|\b(?:between|which of|first|older|younger|larger|longer|more|was|is|were|are|earlier|later|band|one|"
    r"city|company"
    r"|river|film|person|magazine|born|last|either)\b)\s*(?:the (?:two|rivers|cities|films) )?"
    r"(?P<one>[^,?]{2,80}?),?\s+(?:or|oder|ou)\s+(?P<two>[^,?]{2,80}?)\s*(?:\?|$|,)|"
    r"\bof\s+(?P<three>[^,?]{2,60}?)\s+and\s+(?P<four>[^,?]{2,60}?)\s+(?:is|was|has|have|had|were|are|did|does)\b",
)
LESS = (
    r"\b(?:first|older|oldest|earlier|earliest|fewer|less|least|smaller|smallest|shorter|shortest|lower|lowest|"
    r"elder)\b"
)
MORE = (
    r"\b(?:last|younger|youngest|later|latest|more|most|larger|largest|longer|longest|bigger|biggest|higher|"
    r"highest|newer|"
    r"taller|tallest|greater|recent(?:ly)?|second)\b"
)
TIME = re.compile(
    r"\b(?:born|founded|older|younger|first|earlier|later|began|started|released|published|opened|built|"
    r"established|formed|"
    r"recent(?:ly)?|died|premiered|created|last|elder|newer)\b",
    re.IGNORECASE,
)


def understand(question: str) -> Asked:
    """Read `question`. Never fails: what is not understood is of kind OTHER."""
    text = " ".join(question.split())[:2000]
    terms = content(text)
    names = frozenset(
        word.stem for place, word in enumerate(words(text)) if word.capital and place and word.stem not in STOP
    )
    options = _options(text)
    kind = _kind(text, bool(options), terms)
    wants_most, timed = _comparison(text) if kind is Kind.CHOICE else (None, False)
    return Asked(text, kind, terms, names, options if kind is Kind.CHOICE else (), wants_most, timed)


def _kind(text: str, has_options: bool, terms: tuple[str, ...]) -> Kind:
    if has_options:
        return Kind.CHOICE
    if YES_NO.match(text) or re.search(r"(?:吗|是不是|是否)", text):
        return Kind.NONE if GENERIC.search(text) and len(terms) <= 8 else Kind.YES_NO
    first = [(match.start(), order, kind) for order, (kind, test) in enumerate(KINDS) if (match := test.search(text))]
    if first:
        return min(first)[2]
    if len(terms) < 2 or (GENERIC.search(text) and len(terms) <= 8):
        return Kind.NONE
    return Kind.OTHER


def _options(text: str) -> tuple[str, ...]:
    found = None
    for match in OPTIONS.finditer(text):
        found = match
    if found is None:
        return ()
    pair = (found["one"] or found["three"], found["two"] or found["four"])
    cleaned = tuple(_clean(one) for one in pair)
    return cleaned if all(re.search(r"[A-Z0-9]|[^\x00-\x7f]", one) for one in cleaned) else ()


def _clean(option: str) -> str:
    capital = re.search(r"(?:^|(?<=[\s\"'“‘]))[A-Z0-9]", option)
    return option[capital.start() :].strip(" \"'“”‘’") if capital else option.strip(" \"'“”‘’")


def _comparison(text: str) -> tuple[bool | None, bool]:
    less, more = re.search(LESS, text, re.IGNORECASE), re.search(MORE, text, re.IGNORECASE)
    timed = TIME.search(text) is not None
    if (less is None) == (more is None):
        return None, timed
    return more is not None, timed
