"""An answer that cannot be one to the question, by its kind alone: a year to "who" or to "how tall", a college to
"which city", no time at all to "when". Only where that is plain; anything else fits. English questions only."""

import re

from trust.question import Asked, Kind

__all__ = ["misfit"]

BARE = 6
"""Words up to which an answer is a bare one, whose last word says what it is."""
WORD = re.compile(r"[A-Za-z][\w'’-]*")
DIGIT = re.compile(r"\d")
FIGURE = re.compile(
    r"(?:about|around|circa|c\.|in|since|on|the|year|ad|bc|ce|bce|approximately|some|over|nearly|"
    r"[\d.,:/\s%$€£–—-])+\.?",
    re.IGNORECASE,
)
"""Nothing but a number or a year."""
TIMES = re.compile(
    r"\b(?:mon|tues|wednes|thurs|fri|satur|sun)day\b|\b(?:january|february|march|april|may|june|july|august|september|"
    r"october|november|december|spring|summer|autumn|fall|winter|morning|noon|evening|night|midnight|dawn|dusk|today|"
    r"tonight|yesterday|tomorrow|now|never|always|once|when\w*|while|until|till|since|before|after\w*|during|later|"
    r"earlier|early|late|ago|soon|every|annual\w*|daily|weekly|monthly|yearly|centur\w+|decades?|years?|months?|weeks?|"
    r"days?|hours?|minutes?|age\w*|eras?|period\w*|epochs?|reigns?|wars?|dynasty|middle|ancient|medieval|prehistor\w*|"
    r"upon|start|end|beginning|birth\w*|death|time\w*|season\w*|christmas|easter|eve|halloween|thanksgiving|ramadan|"
    r"jurassic|cretaceous|triassic|devonian|permian|holocene|pleistocene|revolution|renaissance|depression|first|"
    r"second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|\w+teenth|twentieth|twenties|thirties|forties|fifties|"
    r"sixties|seventies|eighties|nineties|teens)\b",
    re.IGNORECASE,
)
AMOUNTS = re.compile(
    r"\b(?:no|none|nobody|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|\w+teen|twenty|thirty|"
    r"forty|fifty|sixty|seventy|eighty|ninety|hundreds?|thousands?|millions?|billions?|trillions?|dozens?|score|couple|"
    r"pair|both|half|halves|third|quarter|all|most|many|several|few\w*|some|single|once|twice|triple|double|unlimited|"
    r"infinit\w*|every|any|a lot|much|little|more|less|enough|first|second|fourth|fifth|sixth|seventh|eighth|ninth|"
    r"tenth|[ivxlc]+)\b",
    re.IGNORECASE,
)
COUNT = re.compile(r"\bhow (?:many|old|tall)\b|\bwhat (?:is|was) the (?:population|number)\b", re.IGNORECASE)
MEASURE = re.compile(r"\bhow (?:tall|high|long|wide|deep|far|heavy|large|big|fast|thick)\b", re.IGNORECASE)
YEAR = re.compile(r"(?:in |about |around )?(?:1[5-9]\d\d|20\d\d)\.?", re.IGNORECASE)
TIME_ASKED = re.compile(
    r"^\W*when\b|\bwhen (?:did|was|were|is|are|will|does|do|has|had|would)\b|\b(?:what|which) (?:year|date)\b",
    re.IGNORECASE,
)
WHO_ASKED = re.compile(r"^\W*who(?:m|se)?\b(?!.*\b(?:when|how|what|which|where)\b)", re.IGNORECASE)
WHERE_ASKED = re.compile(r"^\W*where\b(?!.*\b(?:when|how|what|which|who)\b)", re.IGNORECASE)
TOWN_ASKED = re.compile(
    r"\b(?:what|which)\s+(?:\w+\s+){0,2}?(?:city|town|village|country|nation|continent|province|county)\b",
    re.IGNORECASE,
)
HOUSES = frozenset(
    (
        "college university academy institute school seminary conservatory museum hospital shipyard foundry "
        "corporation company inc ltd orchestra laboratory"
    ).split()
)
"""Last words of names that are no town's and no country's."""


def misfit(asked: Asked, answer: str) -> str:
    """Why it cannot be an answer to this question; empty when it may be one."""
    text = " ".join(answer.split())
    if not text or not (text + asked.text).isascii():
        return ""
    words = WORD.findall(text)
    bare = len(text.split()) <= BARE
    figure = bare and bool(DIGIT.search(text)) and FIGURE.fullmatch(text) is not None
    if figure and (WHO_ASKED.search(asked.text) or WHERE_ASKED.search(asked.text)):
        return f"it asks {asked.text.split()[0].lower()}, and the answer is a number"
    if MEASURE.search(asked.text) and YEAR.fullmatch(text):
        return "it asks for a measure, and the answer has no unit and looks like a year"
    if asked.kind is Kind.DATE and TIME_ASKED.search(asked.text) and not (DIGIT.search(text) or TIMES.search(text)):
        return "it asks when, and the answer names no time"
    if asked.kind is Kind.NUMBER and COUNT.search(asked.text) and not (DIGIT.search(text) or AMOUNTS.search(text)):
        return "it asks how many, and the answer names no number"
    if asked.kind is Kind.PLACE and TOWN_ASKED.search(asked.text) and bare and words and words[-1].lower() in HOUSES:
        return f"it asks for a town or country, and the answer is a {words[-1].lower()}"
    return ""
