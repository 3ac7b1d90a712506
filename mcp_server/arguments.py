"""Arguments as models send them: names mended where the meaning is plain, refused with the nearest name elsewhere."""

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import ValidationError
from pydantic_core import ErrorDetails

__all__ = ["mend", "problems"]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "question": ("query", "user_query", "user_question", "q", "task", "prompt", "text", "input"),
    "queries": ("query", "q", "search_query", "question", "keywords"),
    "answer": ("final_answer", "response"),
    "steps": ("trajectory", "history"),
    "memory_ids": ("memories", "used_memory_ids"),
    "id": ("memory_id", "unit_id", "uid"),
    "ids": ("id", "memory_ids", "memory_id", "unit_ids"),
    "k": ("top_k", "limit", "n", "num_results", "max_results"),
    "limit": ("k", "top_k", "n", "page_size"),
    "min_score": ("threshold", "min_similarity"),
    "source": ("url", "id", "link", "page", "address"),
    "image": ("image_url", "img", "data_id", "url"),
    "start": ("offset", "start_index", "cursor"),
    "good": ("is_good", "positive"),
    "text": ("query", "q", "contains"),
}
"""Names that models invent, for the ones that the tools have."""
MOST = 5
LONGEST = 1000
CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def mend(given: Mapping[str, object], known: Sequence[str]) -> dict[str, object]:
    """`given` with invented names mapped, and nulls taken for "not given".

    Raises:
        ToolError: an argument is unknown; the message names the nearest.
    """
    mended: dict[str, object] = {name: value for name, value in given.items() if name in known}
    for name, value in given.items():
        if name in known:
            continue
        meant = _meant(name, known)
        if meant is None or meant in mended:
            raise ToolError(_unknown(name, known))
        mended[meant] = value
    return {name: value for name, value in mended.items() if value is not None}


def _meant(name: str, known: Sequence[str]) -> str | None:
    snake = CAMEL.sub("_", name[:64]).replace("-", "_").lower()
    if snake in known:
        return snake
    return next((own for own in known if snake in ALIASES.get(own, ())), None)


def _unknown(name: str, known: Sequence[str]) -> str:
    nearest = get_close_matches(name[:64], known, n=1, cutoff=0)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return f"Unknown argument {name[:64]!r}.{hint} This tool takes: {', '.join(known) or 'nothing'}."


def problems(refused: ValidationError) -> str:
    """What is wrong with the arguments, one `field: problem` a line: at most five, without echoing what was sent."""
    found = refused.errors(include_url=False, include_input=False)
    lines = [f"{'.'.join(str(part) for part in one['loc'])[:120] or 'arguments'}: {_problem(one)}" for one in found]
    shown = list(dict.fromkeys(lines))
    if len(shown) > MOST:
        shown = [*shown[:MOST], f"and {len(shown) - MOST} more"]
    return "\n".join(shown)[:LONGEST]


def _problem(one: ErrorDetails) -> str:
    limits = one.get("ctx", {})
    match one["type"]:
        case "missing":
            return "is required"
        case "extra_forbidden":
            return "is not a field here"
        case "too_long" | "string_too_long":
            return f"is too long, at most {limits.get('max_length')}"
        case "too_short" | "string_too_short":
            return f"is too short, at least {limits.get('min_length')}"
        case _:
            return one["msg"].removeprefix("Value error, ").removeprefix("Input ").strip()
