"""Numbers with their units and scale, and dates as far as they are given, read from text with their places."""

import re
from dataclasses import dataclass
from functools import lru_cache

from trust.lexicon import MONTHS, NUMBER_WORDS, STOP

__all__ = ["Date", "Quantity", "dates", "quantities", "same_date", "same_quantity"]

SCALES = {
    "hundred": 1e2, "thousand": 1e3, "million": 1e6, "millions": 1e6, "mn": 1e6, "billion": 1e9, "billions": 1e9,
    "bn": 1e9, "trillion": 1e12, "dozen": 12, "k": 1e3, "万": 1e4, "亿": 1e8, "mio": 1e6, "mrd": 1e9, "crore": 1e7,
    "lakh": 1e5,
}  # fmt: skip
_UNITS = (
    ("m", 1, "m metre metres meter meters 米"), ("m", 1e3, "km kilometre kilometres kilometer kilometers 公里 千米"),
    ("m", 1e-2, "cm centimetre centimetres centimeter centimeters"),
    ("m", 1e-3, "mm millimetre millimetres millimeter"),
    ("m", 1609.344, "mile miles mi"), ("m", 0.3048, "ft foot feet"), ("m", 0.0254, "inch inches"),
    ("m", 0.9144, "yard yards yd"), ("m2", 1e6, "km2 km²"), ("m2", 1e4, "hectare hectares ha"),
    ("m2", 4046.856, "acre acres"), ("kg", 1, "kg kilogram kilograms kilo kilos"), ("kg", 1e-3, "g gram grams"),
    ("kg", 1e3, "tonne tonnes ton tons"), ("kg", 0.45359237, "lb lbs pound pounds"),
    ("kg", 0.0283495, "ounce ounces oz"),
    ("s", 1, "second seconds sec secs"), ("s", 60, "minute minutes min mins"), ("s", 3600, "hour hours hr hrs"),
    ("s", 86400, "day days"), ("s", 604800, "week weeks"), ("s", 2629800, "month months"),
    ("s", 31557600, "year years"),
    ("s", 315576000, "decade decades"), ("%", 1, "% percent per\u00a0cent pct"), ("$", 1, "$ usd dollar dollars"),
    ("€", 1, "€ eur euro euros"), ("£", 1, "£ gbp"), ("¥", 1, "¥ yen yuan rmb"), ("°", 1, "°c °f ° degrees degree"),
    ("l", 1, "litre litres liter liters"), ("km/h", 1, "km/h kph"), ("km/h", 1.609344, "mph"), ("w", 1, "watt watts"),
    ("w", 1e6, "mw megawatt megawatts"), ("b", 1e9, "gb gigabyte gigabytes"), ("b", 1e6, "mb megabyte megabytes"),
)  # fmt: skip
UNITS = {name: (dimension, factor) for dimension, factor, names in _UNITS for name in names.split()}
ONES = "|".join(sorted(NUMBER_WORDS, key=len, reverse=True))
NUMBER = re.compile(
    r"(?P<cur>[$€£¥])?\s?(?<![a-zA-Z0-9_.,])(?P<sign>[-−](?=\d))?"
    rf"(?P<num>\d{{1,3}}(?:[,\u00a0\u202f]\d{{3}}){{1,5}}(?:\.\d{{1,9}})?|\d{{1,15}}(?:\.\d{{1,9}})?|"
    rf"\b(?:{ONES})(?:[-\s](?:{ONES}))?\b)"
    r"(?!\d)(?P<ord>(?:st|nd|rd|th)\b)?"
    r"(?:[-\s\u00a0]?(?P<scale>hundred|thousand|millions?|billions?|trillion|dozen|crore|lakh|mio|mrd|mn|bn|k\b|"
    r"万|亿))?"
    r"(?:[-\s\u00a0]?(?P<unit>km/h|kph|mph|km²|km2|°[cf]|[%°€]|[^\W\d_]{1,12}))?",
    re.IGNORECASE,
)
MONTH_NAMES = "|".join(sorted(MONTHS, key=len, reverse=True))
DATE = re.compile(
    rf"\b(?P<d1>\d{{1,2}})(?:st|nd|rd|th|\.)?\s+(?:of\s+|"
    rf"de\s+)?(?P<m1>{MONTH_NAMES})\b\.?(?:,?\s+(?:de\s+)?(?P<y1>\d{{4}}))?"
    rf"|\b(?P<m2>{MONTH_NAMES})\b\.?\s+(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?\b(?!\d)(?:,?\s+(?P<y2>\d{{4}}))?"
    rf"|\b(?P<m3>{MONTH_NAMES})\b\.?,?\s+(?:of\s+)?(?P<y3>\d{{4}})\b"
    r"|\b(?P<y4>\d{4})-(?P<m4>\d{2})-(?P<d4>\d{2})\b"
    r"|(?P<y5>\d{4})年(?:(?P<m5>\d{1,2})月(?:(?P<d5>\d{1,2})日)?)?"
    r"|(?<![\d.,$€£-])(?P<y6>1[0-9]\d\d|20\d\d)(?![\d%]|[.,]\d|\s?(?:km|kilomet|met|miles|feet|people|"
    r"inhabitants|men|women))s?\b",
    re.IGNORECASE,
)
RANGE = re.compile(r"\s*(?:to|and|-|–|—|bis|à|a)\s*", re.IGNORECASE)
CLOSE = 0.005
"""Relative difference up to which two measures are the same: conversions and rounding."""


@dataclass(frozen=True)
class Quantity:
    """A number in base units."""

    value: float
    dimension: str
    """"m", "kg", "s", "%", "$", ...; empty without a known unit."""
    noun: str
    """The word after the number when it is no unit: what is counted."""
    start: int
    end: int
    raw: float = 0.0
    """The number as written, scale applied and unit not."""


@dataclass(frozen=True)
class Date:
    """A date, as far as it is given."""

    year: int | None
    month: int | None
    day: int | None
    start: int
    end: int


def quantities(text: str) -> tuple[Quantity, ...]:
    """The numbers in `text` that are no dates."""
    taken = [(one.start, one.end) for one in dates(text)]
    found = []
    for match in NUMBER.finditer(text):
        start, end = match.start("num"), match.end("num")
        if not any(low <= start < high for low, high in taken):
            found.append((match, _quantity(match, start, end)))
    return tuple(_with_scale(text, found, place) for place in range(len(found)))


def _with_scale(text: str, found: list[tuple[re.Match[str], Quantity]], place: int) -> Quantity:
    """The number, with the scale and unit of the next one when both share them: "from 3.2 to 4.7 million"."""
    match, one = found[place]
    if place + 1 == len(found) or match["scale"] or one.dimension:
        return one
    following, other = found[place + 1]
    if not RANGE.fullmatch(text[one.end : following.start("cur") if following["cur"] else other.start]):
        return one
    scale = SCALES.get((following["scale"] or "").casefold(), 1.0)
    factor = other.value / other.raw if other.raw else 1.0
    raw = one.raw * scale
    return Quantity(raw * factor, other.dimension, other.noun, one.start, one.end, raw)


def dates(text: str) -> tuple[Date, ...]:
    """The dates in `text`."""
    found = []
    for match in DATE.finditer(text):
        given = match.groupdict()
        year = next((int(given[f"y{n}"]) for n in range(1, 7) if given[f"y{n}"]), None)
        named = next((given[f"m{n}"] for n in range(1, 6) if given.get(f"m{n}")), None)
        day = next((int(given[f"d{n}"]) for n in (1, 2, 4, 5) if given.get(f"d{n}")), None)
        month = (int(named) if named.isdigit() else MONTHS[named.casefold()]) if named else None
        if year is None and (day is None or (not match.group()[0].isdigit() and not _real_month(match.group()))):
            continue
        found.append(Date(year, month, day, match.start(), match.end()))
    return tuple(found)


def same_quantity(one: Quantity, other: Quantity) -> bool:
    """Do both say the same amount, units converted? A missing unit fits any."""
    if one.dimension and other.dimension:
        return one.dimension == other.dimension and _close(one.value, other.value)
    return _close(one.raw, other.raw) or (bool(one.dimension or other.dimension) and _close(one.value, other.value))


def same_date(one: Date, other: Date) -> bool:
    """Can both be the same day? Parts that one of them leaves open do not count, but one part must be shared."""
    pairs = [(one.year, other.year), (one.month, other.month), (one.day, other.day)]
    shared = [(left, right) for left, right in pairs if left is not None and right is not None]
    return bool(shared) and all(left == right for left, right in shared)


def _quantity(match: re.Match[str], start: int, end: int) -> Quantity:
    raw = _number(match["num"].casefold())
    scale = (match["scale"] or "").casefold()
    raw *= SCALES.get(scale, 1.0)
    end = match.end("scale") if scale else end
    raw = -raw if match["sign"] else raw
    unit = (match["unit"] or "").casefold()
    if match["cur"]:
        return Quantity(raw, match["cur"], "", start, end, raw)
    if match["ord"]:
        return Quantity(raw, "nth", "", start, match.end("ord"), raw)
    if unit in UNITS:
        dimension, factor = UNITS[unit]
        return Quantity(raw * factor, dimension, "", start, match.end("unit"), raw)
    return Quantity(raw, "", "" if unit in STOP else unit, start, end, raw)


@lru_cache(maxsize=4096)
def _number(text: str) -> float:
    if text[0].isdigit():
        return float(re.sub(r"[,\u00a0\u202f]", "", text))
    return float(sum(NUMBER_WORDS[part] for part in re.split(r"[-\s]", text)))


def _close(one: float, other: float) -> bool:
    return abs(one - other) <= CLOSE * max(abs(one), abs(other))


def _real_month(text: str) -> bool:
    """ "May 5" is a date; "may 5" and "mar 5" are not."""
    return text[0].isupper()
