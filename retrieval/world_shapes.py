"""The shapes of questions: paths through the relations, contests between two paths, and whether two paths meet."""

from typing import NamedTuple

__all__ = ["BOTH", "CHAINS", "CONTESTS", "SAME", "Contest", "Same"]

CHAINS: tuple[str, ...] = (
    "book author",
    "company founder",
    "city mayor",
    "river length",
    "ship captain",
    "person birthplace",
    "company founder birthplace",
    "company headquarters country",
    "company director university",
    "book author born",
    "book author birthplace",
    "book publisher founder",
    "ship builder headquarters",
    "ship captain birthplace",
    "bridge river length",
    "bridge designer birthplace",
    "team coach teacher",
    "team city river",
    "mineral discoverer university",
    "festival city mayor",
    "university founder birthplace",
    "city mayor university",
    "country ruler birthplace",
    "person teacher birthplace",
    "person successor born",
    "person university founded",
    "person birthplace river",
    "river mouth population",
    "company founder birthplace country",
    "company founder university city",
    "company director birthplace river",
    "book author birthplace river",
    "book publisher headquarters mayor",
    "ship captain birthplace country",
    "ship builder founder birthplace",
    "bridge designer university city",
    "team coach birthplace country",
    "mineral discoverer birthplace population",
    "festival city country capital",
    "person teacher university founder",
    "person birthplace country language",
    "company founder birthplace river length",
    "book author birthplace country independence",
    "ship builder founder birthplace country",
    "bridge designer birthplace country language",
    "city mayor university city founded",
    "person teacher birthplace country capital",
)
"""A kind of entity, then the relations to follow from it."""


class Contest(NamedTuple):
    """Which of two has the larger, or smaller, number at the end of a path?"""

    path: str
    asks: tuple[str, ...]
    largest: bool
    result: str
    """What the workflow compares."""


CONTESTS: tuple[Contest, ...] = (
    Contest(
        "river length",
        (
            "Which is longer, {a} or {b}?",
            "Which is the longer river, {a} or {b}?",
            "What is longer, {a} or {b}?",
        ),
        True,
        "lengths",
    ),
    Contest(
        "city population",
        (
            "Which city has more inhabitants, {a} or {b}?",
            "Which is the more populous city, {a} or {b}?",
            "In which city do more people live, {a} or {b}?",
        ),
        True,
        "populations",
    ),
    Contest(
        "person born",
        ("Who was born earlier, {a} or {b}?", "Who is older, {a} or {b}?", "Who was born first, {a} or {b}?"),
        False,
        "birth years",
    ),
    Contest(
        "company founded",
        (
            "Which company was founded earlier, {a} or {b}?",
            "Which is the older company, {a} or {b}?",
            "Which firm was set up first, {a} or {b}?",
        ),
        False,
        "founding years",
    ),
    Contest(
        "book author born",
        (
            "Which book has the author who was born earlier, {a} or {b}?",
            "Which was written by the older author, {a} or {b}?",
            "Whose author was born first, {a} or {b}?",
        ),
        False,
        "birth years",
    ),
    Contest(
        "bridge river length",
        (
            "Which bridge crosses the longer river, {a} or {b}?",
            "Which spans the longer river, {a} or {b}?",
            "Under which bridge does the longer river flow, {a} or {b}?",
        ),
        True,
        "lengths",
    ),
)


class Same(NamedTuple):
    """Do two lead to the same thing?"""

    path: str
    asks: tuple[str, ...]


SAME: tuple[Same, ...] = (
    Same(
        "person birthplace",
        (
            "Were {a} and {b} born in the same city?",
            "Do {a} and {b} share a birthplace?",
            "Is the birthplace of {a} also that of {b}?",
        ),
    ),
    Same(
        "river country",
        (
            "Do {a} and {b} flow through the same country?",
            "Is the country that {a} crosses also the one that {b} crosses?",
            "Are {a} and {b} rivers of one country?",
        ),
    ),
    Same(
        "company headquarters country",
        (
            "Are {a} and {b} based in the same country?",
            "Do {a} and {b} have their headquarters in one country?",
            "Is the head office of {a} in the same country as that of {b}?",
        ),
    ),
    Same(
        "book publisher",
        (
            "Were {a} and {b} published by the same company?",
            "Do {a} and {b} have the same publisher?",
            "Is the publisher of {a} also that of {b}?",
        ),
    ),
)
BOTH = {True: "yes", False: "no"}
