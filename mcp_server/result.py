"""What leaves the server: structured content and the same thing as text, bounded, clean and equal in every host.

A host that shows both (facts: OpenClaw) drops the text when it equals `JSON.stringify(structured, null, 2)` byte for
byte, so the text is exactly that: integral floats are written as JavaScript writes them, others keep four decimals.
"""

import math
from collections.abc import Iterator
from typing import ClassVar, TypeAlias

import orjson
from mcp.types import CallToolResult, TextContent
from pydantic import BaseModel, ConfigDict

from mia_skill.core.types import clean_text

__all__ = ["Json", "View", "as_text", "fit", "plain", "present", "stringify"]

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"

DECIMALS = 4
RESERVE = 400
"""Characters kept free for saying that something was left out."""
FLOORS = (240, 80, 20)
"""Strings are cut no shorter than the first, so ids stay whole, unless that is not enough."""


class View(BaseModel):
    """Base of all results. Fields at their default are left out, so a result says only what there is to say."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    more: ClassVar[str] = "ask for less"
    """What to do when the result had to be shortened."""


def present(view: View, limit: int) -> CallToolResult:
    """`view` as a tool result of at most `limit` characters (UTF-16 units, as JavaScript counts)."""
    shown = shape(view, limit)
    return CallToolResult(content=[TextContent(type="text", text=stringify(shown))], structured_content=shown)


def as_text(view: View, limit: int) -> str:
    """`view` as text of at most `limit` characters."""
    return stringify(shape(view, limit))


def shape(view: View, limit: int) -> dict[str, Json]:
    """`view` as bounded JSON."""
    tree = plain(view.model_dump(mode="json", by_alias=True, exclude_defaults=True))
    if not isinstance(tree, dict):
        raise TypeError(f"{type(view).__name__} does not dump to an object")
    return fit(tree, limit, more=view.more)


def plain(value: object) -> Json:
    """`value` as JSON that every host reads alike.

    Raises:
        ValueError: a number is not finite: a NaN score is a bug, never a result.
    """
    match value:
        case str():
            return clean_text(value)
        case bool() | int() | None:
            return value
        case float():
            return number(value)
        case dict():
            return {clean_text(str(key)): plain(one) for key, one in value.items()}
        case list() | tuple():
            return [plain(one) for one in value]
        case _:
            raise TypeError(f"{type(value).__name__} is no JSON")


def number(value: float) -> int | float:
    """`value` to four decimals; an integral one as an int."""
    if not math.isfinite(value):
        raise ValueError(f"a result holds {value}")
    rounded = round(value, DECIMALS)
    return int(rounded) if rounded.is_integer() else rounded


def stringify(tree: Json) -> str:
    """`JSON.stringify(tree, null, 2)`."""
    return orjson.dumps(tree, option=orjson.OPT_INDENT_2).decode()


def fit(tree: dict[str, Json], limit: int, *, more: str) -> dict[str, Json]:
    """`tree`, or a shortened copy whose text has at most `limit` characters and says so.

    Long strings are cut first, then the tails of lists go; the JSON itself is never cut.
    """
    if length(tree) <= limit:
        return tree
    room = limit - RESERVE
    for floor in FLOORS:
        short = shorten(tree, room, floor)
        if length(short) <= room:
            break
    short["truncated"] = True
    short["next"] = f"This was too long for one result, so texts or list tails were left out: {more}."
    return short


def shorten(tree: dict[str, Json], room: int, floor: int) -> dict[str, Json]:
    """A copy with strings cut to at least `floor` characters, then with the longest lists cut at their tail."""
    low, high = floor, max((len(text) for text in strings(tree)), default=floor)
    while high - low > floor // 4:
        middle = (low + high) // 2
        low, high = (middle, high) if length(trimmed(tree, middle)) <= room else (low, middle)
    short = trimmed(tree, low)
    while length(short) > room:
        longest = max(lists(short), key=len, default=[])
        if not longest:
            break
        del longest[-max(1, len(longest) // 4) :]
    return short


def trimmed(tree: dict[str, Json], longest: int) -> dict[str, Json]:
    """`cut` for a whole result."""
    return {key: cut(one, longest) for key, one in tree.items()}


def length(tree: Json) -> int:
    """Characters of the text, in UTF-16 units."""
    return len(stringify(tree).encode("utf-16-le")) // 2


def cut(value: Json, longest: int) -> Json:
    """A copy in which every string has at most about `longest` characters."""
    match value:
        case str() if len(value) > longest:
            return f"{value[:longest]}… [{len(value) - longest} characters left out]"
        case dict():
            return {key: cut(one, longest) for key, one in value.items()}
        case list():
            return [cut(one, longest) for one in value]
        case _:
            return value


def strings(value: Json) -> Iterator[str]:
    """All strings inside."""
    match value:
        case str():
            yield value
        case dict():
            for one in value.values():
                yield from strings(one)
        case list():
            for one in value:
                yield from strings(one)
        case _:
            return


def lists(value: Json) -> Iterator[list[Json]]:
    """All lists inside, outermost first."""
    if isinstance(value, dict):
        for one in value.values():
            yield from lists(one)
    elif isinstance(value, list):
        yield value
        for one in value:
            yield from lists(one)
